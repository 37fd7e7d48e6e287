"""Which parts of the installation live: asked of them, not believed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from headrace.entering import http_arguments, reachable
from headrace.errors import HeadraceError
from headrace.settings import Settings
from headrace.store import Store

JSON = dict[str, Any]

# A worker beats every few seconds; silence for longer than this means it is gone or stuck.
_SILENCE = timedelta(seconds=15)
_PATIENCE = 2.0
# What was found is good for so long.
_FRESH_SECONDS = 1.0


class Probes:
    """Asks Kafka and Connect whether they live, once for all who want to know at the same time."""

    def __init__(self, settings: Settings) -> None:
        self._all = {
            "kafka": _Probe(lambda: reachable(settings.kafka, _PATIENCE)),
            "connect": _Probe(lambda: _connect(settings)),
        }

    async def lives(self) -> dict[str, bool]:
        """Whether ``kafka`` and ``connect`` answer, within some seconds; who waits for it holds no thread."""
        asked = {name: asyncio.wrap_future(probe.asked()) for name, probe in self._all.items()}
        await asyncio.wait(asked.values(), timeout=_PATIENCE + 1)
        return {name: answer.done() and answer.result() for name, answer in asked.items()}


class _Probe:
    """One question, put by one thread at a time."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._answer: Future[bool] | None = None
        self._until = 0.0

    def asked(self) -> Future[bool]:
        """The answer that is fresh or on its way."""
        with self._lock:
            if self._answer is None or (self._answer.done() and time.monotonic() > self._until):
                self._answer = Future()
                # A daemon: a service that drips must not hold up the end of this process.
                threading.Thread(target=self._run, args=(self._answer,), daemon=True).start()
            return self._answer

    def _run(self, answer: Future[bool]) -> None:
        try:
            found = self._ask()
        except BaseException as error:
            answer.set_exception(error)
        else:
            self._until = time.monotonic() + _FRESH_SECONDS
            answer.set_result(found)


def components(
    settings: Settings,
    store: Store,
    lives: Mapping[str, bool],
    server_url: str | None = None,
    supervised: Sequence[JSON] = (),
) -> list[JSON]:
    """``{"name", "pid", "state", "url"}`` of kafka, connect, server and worker.

    state: ``running``, else the supervisor's word for it, else ``unreachable``. lives: of ``Probes``. supervised: what
    a supervisor on this machine says of the processes it started, in the same form; it alone knows pids of Kafka and
    Connect.
    """
    said = {row["name"]: row for row in supervised}
    return [
        _component("kafka", said, lives["kafka"], settings.kafka),
        _component("connect", said, lives["connect"], settings.connect),
        {"name": "server", "pid": os.getpid(), "state": "running", "url": server_url},
        _worker(store, said),
    ]


def _component(name: str, said: Mapping[str, JSON], lives: bool, url: str) -> JSON:
    return {
        "name": name,
        "pid": said.get(name, {}).get("pid"),
        "state": "running" if lives else _word(said.get(name, {})),
        "url": url,
    }


def _word(row: JSON) -> str:
    # Our own probe failed, so a supervisor that still says "running" is behind.
    word = str(row.get("state", "unreachable"))
    return "unreachable" if word in ("running", "external", "stopped") else word


def _worker(store: Store, said: Mapping[str, JSON]) -> JSON:
    row = said.get("worker", {})
    since = datetime.now(UTC) - _SILENCE
    last = next((beat for beat in store.beats("worker") if beat.seen_at > since), None)
    return {
        "name": "worker",
        "pid": last.pid if last else row.get("pid"),
        "state": "running" if last else _word(row),
        "url": last.url if last else None,
    }


def _connect(settings: Settings) -> bool:
    try:
        how = http_arguments(settings.connect_security)
        with httpx.stream("GET", settings.connect, timeout=_PATIENCE, trust_env=False, **how) as answer:
            return answer.status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL, HeadraceError):
        return False
