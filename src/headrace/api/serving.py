"""How the application is served: uvicorn, with a bound on everything that a client could take its time with."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import ipaddress
import socket
import sys
import termios
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.auth.attempts import neighbourhood
from headrace.settings import Settings

HEAD_BYTES = 64 * 1024
HEADERS = 200
MESSAGE_BYTES = 64 * 1024
CONNECTIONS = 8000
# Who takes less of what waits for them in so many seconds is gone, or may as well be.
TAKEN_SECONDS = 60.0
TAKEN_BYTES = 4096


def config(app: Any, settings: Settings, **more: Any) -> uvicorn.Config:
    """The server's configuration; more: of uvicorn, e.g. ``port``."""
    proxies = settings.web.trusted_proxies
    crowd = Crowd(settings.web.connections_each, proxies)
    chosen: dict[str, Any] = {
        "http": _timed(settings.web.receive_seconds, crowd),
        "loop": "uvloop",
        "ws": type("Counted", (Socket,), {"crowd": crowd}),
        "ws_max_size": MESSAGE_BYTES,
        "ws_per_message_deflate": False,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": list(proxies),
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": 5,
    }
    return uvicorn.Config(app, **{**chosen, **more})


def _timed(seconds: float, crowd: Crowd) -> type[HttpToolsProtocol]:
    return type("Timed", (TimedProtocol,), {"seconds": seconds, "crowd": crowd})


class Crowd:
    """How many connections each address has, so that no stranger takes the places of all. trusted: who brings many people's.

    It belongs to one event loop.
    """

    def __init__(self, each: int, trusted: Iterable[str]) -> None:
        self._each = each
        self._counts: Counter[str] = Counter()
        self._everybody = "*" in trusted
        self._networks = [n for t in trusted if (n := _network(t)) is not None]

    def enter(self, client: tuple[str, int] | None) -> str | None:
        """One more: under what it is counted, "" where it is not; None when there are too many."""
        if client is None or self._trusts(client[0]):
            return ""
        place = neighbourhood(client[0])
        if self._counts[place] >= self._each:
            return None
        self._counts[place] += 1
        return place

    def leave(self, place: str) -> None:
        """One less."""
        if not place:
            return
        self._counts[place] -= 1
        if self._counts[place] <= 0:
            del self._counts[place]

    def _trusts(self, address: str) -> bool:
        if self._everybody or not self._networks:
            return self._everybody
        found = ipaddress.ip_address(address)
        return any(found in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        # A name, which uvicorn compares letter by letter; no connection comes from one.
        return None


class Taken:
    """A connection that is cut when the other side does not take what it is sent: whoever sends it would wait for ever."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _taking: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Much waits for them."""
        super().pause_writing()  # type: ignore[misc]
        self._await_taking()

    def resume_writing(self) -> None:
        """They took it."""
        self._stop_awaiting()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._stop_awaiting()
        super().connection_lost(exc)  # type: ignore[misc]

    def _await_taking(self) -> None:
        self._taking = self.loop.call_later(TAKEN_SECONDS, self._require_taken, self._untaken())

    def _stop_awaiting(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _require_taken(self, waiting: int) -> None:
        if waiting - self._untaken() < TAKEN_BYTES:
            self.transport.abort()
        else:
            self._await_taking()

    def _untaken(self) -> int:
        """How many bytes wait, here and in the kernel: that one takes more of ours only when much of its own is gone."""
        kept = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kept)
        return self.transport.get_write_buffer_size() + int.from_bytes(kept, sys.byteorder)


class TimedProtocol(Taken, HttpToolsProtocol):
    """A connection whose requests' heads have to come within ``seconds``, and are no longer than ``HEAD_BYTES``.

    uvicorn only bounds how long a connection may lie idle between requests.
    """

    seconds = 20.0
    crowd = Crowd(CONNECTIONS, ())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = self._fields = 0
        self._place = ""

    def connection_made(self, transport: Any) -> None:
        """A client is there; its first head is awaited."""
        super().connection_made(transport)
        place = self.crowd.enter(self.client)
        if place is None:
            self._refuse(429)
            return
        self._place = place
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._disarm()
        self.crowd.leave(self._place)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """From here on it is the socket's."""
        self.crowd.leave(self._place)
        self._place = ""
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes came; those of a head are counted."""
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; many together may be too long as well."""
        super().on_header(name, value)
        self._fields += len(name) + len(value)
        if len(self.headers) > HEADERS or self._fields > HEAD_BYTES:
            raise ValueError("too much of a head")

    def _await_head(self) -> None:
        self._in_head, self._head, self._fields = True, 0, 0
        self._disarm()
        self._timer = self.loop.call_later(self.seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.transport is not None and not self.transport.is_closing() and self._in_head:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        # A head that is not whole cannot be answered by the application.
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class Socket(Taken, WebSocketsSansIOProtocol):
    """A WebSocket whose end does not wait for a client that reads nothing; it counts as a connection of its address."""

    crowd = Crowd(CONNECTIONS, ())
    _place = ""

    def connection_made(self, transport: Any) -> None:
        """It takes the place of the connection that it was."""
        super().connection_made(transport)
        self._place = self.crowd.enter(self.client) or ""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.crowd.leave(self._place)
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        """Run the application; what it could not send is not sent."""
        await super().run_asgi()
        if not self.writable.is_set():
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn, which on its way out first lets those go who watch live: it would wait for them."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin. What the application is made of stays: to look through it for garbage makes long pauses for nothing."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # A request leaves little behind that goes in circles; every 700 objects is a fifth of its processor.
        gc.set_threshold(50_000, 20, 50)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End orderly."""
        await self.config.app.state.hub.close()  # type: ignore[union-attr]
        await super().shutdown(sockets)
