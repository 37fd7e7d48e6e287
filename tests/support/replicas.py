"""API servers as processes of their own, and clients that watch them live."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx
import websockets
from websockets.sync.client import connect

from support.lab import until

How = Literal["websocket", "sse"]
JSON = dict[str, Any]


class Replica:
    """One server with a data folder of its own; ``env``: what it shares with the others."""

    def __init__(self, data: Path, env: Mapping[str, str]) -> None:
        self.data = data
        self.env = {**os.environ, **env}
        self._process: subprocess.Popen[str] | None = None
        self._told = ""

    def start(self) -> Replica:
        """Start it; it serves once ``url`` was asked for."""
        self.data.mkdir(exist_ok=True)
        words = ["-m", "headrace", "server", "--port", "0", "--json", "--data", str(self.data)]
        with (self.data / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words], env=self.env, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._told = ""
        return self

    @property
    def url(self) -> str:
        """Its address, as it tells it."""
        assert self._process is not None
        assert self._process.stdout is not None
        while not self._told.rstrip().endswith("}"):
            line = self._process.stdout.readline()
            assert line, self.log
            self._told += line
        return str(json.loads(self._told)["url"])

    @property
    def log(self) -> str:
        """What it wrote into its log."""
        return (self.data / "log").read_text()

    def client(self, token: str = "", address: str = "") -> httpx.Client:
        """Who calls it. address: the client's, as a proxy tells it."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if address:
            headers["x-forwarded-for"] = address
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30)

    def serving(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/api/v1/health/live", timeout=30).is_success
        except httpx.HTTPError:
            return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._end(subprocess.Popen.kill)

    def stop(self) -> None:
        """Orderly, at most for 20 seconds."""
        self._end(subprocess.Popen.terminate)

    def _end(self, how: Callable[[subprocess.Popen[str]], None]) -> None:
        if self._process is None:
            return
        how(self._process)
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@dataclass(frozen=True)
class Seen:
    """A message, and when it came (time.monotonic)."""

    at: float
    message: JSON


class Watching:
    """Somebody who watches one replica from an event on; a context manager. seen: what came, without pings."""

    def __init__(self, replica: Replica, token: str, how: How, after: int, kinds: tuple[str, ...]) -> None:
        self._replica, self._token, self._after, self._kinds = replica, token, after, kinds
        self._body = {"websocket": self._watch_socket, "sse": self._watch_stream}[how]
        self._ready = threading.Event()
        self._close: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._watch)
        self.seen: list[Seen] = []

    @property
    def ids(self) -> list[int]:
        """The numbers of the events that came, as they came."""
        return [seen.message["id"] for seen in self.seen if seen.message["type"] == "event"]

    def wait(self, many: int, seconds: float = 10.0) -> None:
        """Until so many came."""
        until(lambda: len(self.seen) >= many, seconds, f"event {many} after {len(self.seen)}")

    def ended(self) -> bool:
        """Whether the server has let them go."""
        return not self._thread.is_alive()

    def _watch(self) -> None:
        try:
            self._body()
        except (websockets.ConnectionClosed, httpx.HTTPError, httpx.StreamError, OSError):
            pass
        finally:
            self._ready.set()

    def _watch_socket(self) -> None:
        address = self._replica.url.replace("http", "ws") + "/api/v1/live"
        headers = {"authorization": f"Bearer {self._token}"}
        with connect(address, additional_headers=headers, compression=None) as live:
            self._close = live.close
            assert json.loads(live.recv())["type"] == "hello"
            live.send(json.dumps({"type": "subscribe", "after": self._after, "kinds": self._kinds}))
            self._ready.set()
            while True:
                self._note(live.recv())

    def _watch_stream(self) -> None:
        query: JSON = {"kinds": self._kinds}
        headers = {"last-event-id": str(self._after)}
        with self._replica.client(self._token) as client:
            with client.stream("GET", "live/events", params=query, headers=headers) as stream:
                # Only so can another thread end the reading.
                raw: socket.socket = stream.extensions["network_stream"].get_extra_info("socket")
                self._close = lambda: raw.shutdown(socket.SHUT_RDWR)
                for line in stream.iter_lines():
                    self._ready.set()
                    if line.startswith("data: "):
                        self._note(line.removeprefix("data: "))

    def _note(self, text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] != "ping":
            self.seen.append(Seen(time.monotonic(), message))

    def __enter__(self) -> Watching:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._close()
        self._thread.join(10)
        assert not self._thread.is_alive()
