"""Those who watch live in this process, and what each of them still has to be told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool

from headrace.errors import HeadraceError, Unavailable
from headrace.store import Store
from headrace.store.events import Event

QUEUE = 1000
CLIENTS = 2000
_POLL_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_BATCH = 1000
_log = logging.getLogger(__name__)
# Kinds that need more than the right to watch.
_NEEDS = {"logs": "logs:read", "changes": "audit:read", "alerts": "alerts:read"}


@dataclass(eq=False, slots=True)
class Client:
    """Somebody who watches. owner: the account in whose name. kinds, pipelines: what they want, None for all."""

    owner: str
    may: frozenset[str]
    kinds: frozenset[str] | None = None
    pipelines: frozenset[str] | None = None
    waiting: deque[Told] = field(default_factory=deque)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def slow(self) -> bool:
        """Whether they did not keep up."""
        return self.dropped.is_set()

    def wants(self, event: Event) -> bool:
        """Whether the event is for them."""
        if event.damaged or (self.kinds is not None and event.kind not in self.kinds):
            return False
        if self.pipelines is not None and event.pipeline not in self.pipelines:
            return False
        return _NEEDS.get(event.kind, "monitoring:read") in self.may

    def offer(self, told: Told) -> None:
        """Put it into their queue, unless that is full: then they are dropped, and can resume later."""
        if self.slow or not self.wants(told.event):
            return
        if len(self.waiting) >= QUEUE:
            self.dropped.set()
            self.waiting.clear()
        else:
            self.waiting.append(told)
        self.ready.set()


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and its text, made once for all who want it."""

    event: Event
    text: str


def told(event: Event) -> Told:
    """An event in the form that is sent."""
    form = {
        "type": "event",
        "id": event.id,
        "ts": event.ts,
        "kind": event.kind,
        "pipeline": event.pipeline,
        "data": event.data,
    }
    try:
        return Told(event, orjson.dumps(form).decode())
    except TypeError:
        # A number of more than 64 bits, half of a character: nothing that was stored may stop all the others.
        return Told(event, json.dumps({**form, "ts": event.ts.isoformat()}))


class Hub:
    """Reads events once for all who watch here. It belongs to the loop that ``start`` ran in.

    each: how many may watch in the name of one account.
    """

    def __init__(self, store: Store, each: int) -> None:
        self._store, self._each = store, each
        self._clients: set[Client] = set()
        self._position = 0
        self._nudge = asyncio.Event()
        self._entering = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._end: Any = None
        self.closed = False

    def start(self) -> None:
        """Begin; there is work only while somebody watches."""
        loop = asyncio.get_running_loop()

        def nudge() -> None:
            loop.call_soon_threadsafe(self._nudge.set)

        self._end = self._store.wake.listen(nudge)
        self._task = loop.create_task(self._read())

    async def close(self) -> None:
        """Everybody who watches is let go."""
        self.closed = True
        for client in self._clients:
            client.ready.set()
        if self._end is not None:
            self._end()
            self._end = None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @property
    def watching(self) -> int:
        """How many watch."""
        return len(self._clients)

    async def enter(self, client: Client) -> int:
        """Let somebody watch: from the number that is answered on, they miss nothing. Unavailable ``live_full``."""
        async with self._entering:
            if len(self._clients) >= CLIENTS or self.closed:
                raise Unavailable(
                    "live_full", "Too many watch already", "Try again later, or at another replica."
                )
            if sum(other.owner == client.owner for other in self._clients) >= self._each:
                why = f"{self._each} watch in this account's name already"
                raise Unavailable("live_full", why, "Close one, or set HEADRACE_LIVE_EACH.")
            if not self._clients:
                self._position = (await run_in_threadpool(self._store.event_bounds))[1]
            self._clients.add(client)
            self._nudge.set()
            return self._position

    def leave(self, client: Client) -> None:
        """They watch no longer."""
        self._clients.discard(client)

    async def _read(self) -> None:
        while True:
            full = False
            if self._clients:
                try:
                    full = await self._deliver()
                except HeadraceError:
                    # The database is away; whoever watches keeps waiting.
                    await asyncio.sleep(_PAUSE_SECONDS)
                except Exception:
                    _log.exception("events cannot be told")
                    await asyncio.sleep(_PAUSE_SECONDS)
            if not full:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._nudge.wait(), _POLL_SECONDS if self._clients else None)
                self._nudge.clear()

    async def _deliver(self) -> bool:
        found = await run_in_threadpool(self._store.events, self._position, _BATCH)
        # Nothing is awaited from here on, so that whoever enters sees a position that is wholly delivered.
        for event in found:
            if event.id <= self._position:
                # Somebody entered meanwhile, and the position with them.
                continue
            self._position = event.id
            if event.damaged:
                _log.warning("event %d cannot be read and is left out", event.id)
                continue
            one = told(event)
            for client in self._clients:
                client.offer(one)
        return len(found) == _BATCH

    async def missed(self, client: Client, after: int, until: int) -> AsyncIterator[str]:
        """What they have not seen since ``after``, up to where ``enter`` begins; first a gap, where some is not kept."""
        oldest, _ = await run_in_threadpool(self._store.event_bounds)
        if after > until or (oldest and after < oldest - 1):
            # A number that was never given is of another installation (or of one that was restored).
            yield orjson.dumps({"type": "gap", "after": after, "oldest": oldest}).decode()
        while after < until:
            found = await run_in_threadpool(self._store.events, after, _BATCH)
            for event in found:
                if event.id <= until and client.wants(event):
                    yield told(event).text
            if not found:
                return
            after = found[-1].id


# --- WebSocket
