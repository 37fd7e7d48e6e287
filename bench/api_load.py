"""The API under a constant 200 requests a second, with a thousand pipelines and a month of figures: ``python -m bench.api_load``.

Latency counts from the moment a request was due, so that a slow answer does not hide those behind it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.store import Store
from headrace.store.samples import RESOLUTIONS
from headrace.store.schema import pipeline_metrics, pipelines

PIPELINES = 1000
RATE = 200
SECONDS = 30
PATHS = (
    "pipelines?limit=100",
    "pipelines/p{n}",
    "pipelines/p{n}/metrics",
    "pipelines/p{n}/status",
    "pipelines/p{n}/metrics?start_time={day}",
)


def build(settings: Settings) -> None:
    """A thousand pipelines, each with samples as they are kept for a month."""
    store = Store(settings)
    for name in ("a", "b"):
        data = {"engine": "postgres", "host": "h", "database": name, "user": "u", "password": "p"}
        store.put_connection(name, ConnectionSpec.model_validate(data))
    first = store.put_pipeline("p0", PipelineSpec(source="a", target="b"))
    at = datetime.now(UTC)
    with store._writing() as transaction:
        row = dict(transaction.execute(pipelines.select()).one()._mapping)
        ids = [first.id, *(f"{n:036d}" for n in range(1, PIPELINES))]
        more = [{**row, "id": id_, "name": f"p{n}"} for n, id_ in enumerate(ids) if n]
        transaction.execute(insert(pipelines), more)
        for step, kept in RESOLUTIONS.items():
            coarser = [s for s in RESOLUTIONS if s > step]
            span = min(kept, timedelta(days=31)) if coarser else timedelta(days=31)
            times = [at - timedelta(seconds=n) for n in range(0, int(span.total_seconds()), step)]
            for id_ in ids:
                transaction.execute(insert(pipeline_metrics), [_sample(id_, step, t) for t in times])
    store.close()


def _sample(id_: str, step: int, at: datetime) -> dict[str, object]:
    figures = {"throughput_events_per_sec": 12.5, "lag_seconds": 0.1, "lag_events": 3, "lag_bytes": 4096}
    counts = {"events_processed": 125, "error_count": 0, "bytes_processed": 65536}
    return {"pipeline_id": id_, "resolution": step, "timestamp": at, **figures, **counts}


class Client:
    """As little of an HTTP client as will do: it shares the processors with the server that it measures."""

    def __init__(self, url: str, token: str) -> None:
        self._host, _, port = url.removeprefix("http://").rpartition(":")
        self._port = int(port)
        self._head = f"host: {self._host}\r\nauthorization: Bearer {token}\r\n\r\n"
        # The longest idle one goes first: the server closes those that lie idle for long.
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        reader, writer = self._idle.popleft() if self._idle else await self._open()
        writer.write(f"GET /api/v1/{path} HTTP/1.1\r\n{self._head}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, limit=2**20)

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()


async def storm(url: str, token: str) -> dict[str, list[float]]:
    """Path -> seconds of each answer."""
    took: dict[str, list[float]] = defaultdict(list)
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    client = Client(url, token)
    # A server's first answers take longer: each path is asked for some times before it counts.
    for path in PATHS * 10:
        await client.get(path.format(n=0, day=day))
    # Making the tasks takes a tenth of a second: it is not to count as the server's.
    began = time.perf_counter() + 1

    async def one(n: int) -> None:
        due = began + n / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        path = PATHS[n % len(PATHS)]
        status, body = await client.get(path.format(n=n * 7 % PIPELINES, day=day))
        assert status == 200, body
        took[path].append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as group:
        for n in range(RATE * SECONDS):
            group.create_task(one(n))
    client.close()
    return took


def main() -> None:
    """Build, serve, measure, write ``bench/api.json``."""
    with tempfile.TemporaryDirectory(prefix="headrace-load-") as folder:
        settings = Settings(Path(folder), kafka="127.0.0.1:1", connect="http://127.0.0.1:1")
        build(settings)
        words = [sys.executable, "-m", "headrace", "server", "--port", "0", "--json", "--data", folder]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            told = "".join(iter(server.stdout.readline, "}\n")) + "}"
            try:
                took = asyncio.run(storm(json.loads(told)["url"], settings.token_file.read_text().strip()))
            finally:
                server.terminate()
    rows = [
        _row(path, times) for path, times in [*took.items(), ("all", [t for x in took.values() for t in x])]
    ]
    Path("bench/api.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(row)


def _row(path: str, times: list[float]) -> dict[str, object]:
    ordered = sorted(times)
    pick = {
        p: round(ordered[min(int(len(ordered) * s), len(ordered) - 1)] * 1000, 1)
        for p, s in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }
    return {"path": path, "requests": len(ordered), "rate": RATE, **{f"{k}_ms": v for k, v in pick.items()}}


if __name__ == "__main__":
    main()
