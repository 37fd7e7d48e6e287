"""Which parts of the installation live: asked of them, not believed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def components(
    settings: Settings, store: Store, server_url: str | None = None, supervised: Sequence[JSON] = ()
) -> list[JSON]:
    """``{"name", "pid", "state", "url"}`` of kafka, connect, server and worker.

    state: ``running``, else the supervisor's word for it, else ``unreachable``. supervised: what a supervisor
    on this machine says of the processes it started, in the same form; it alone knows pids of Kafka and Connect.
    """
    said = {row["name"]: row for row in supervised}
    with ThreadPoolExecutor(max_workers=2) as pool:
        kafka = pool.submit(reachable, settings.kafka, _PATIENCE)
        connect = pool.submit(_connect, settings)
        return [
            _component("kafka", said, kafka.result(), settings.kafka),
            _component("connect", said, connect.result(), settings.connect),
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
        answer = httpx.get(settings.connect, timeout=_PATIENCE, trust_env=False, **how)
    except (httpx.HTTPError, httpx.InvalidURL, HeadraceError):
        return False
    return answer.status_code == httpx.codes.OK
