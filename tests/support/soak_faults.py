"""Faults of the soak: parts are killed, frozen, cut off, or told to rest, and come back."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import psycopg

from headrace.local.postgres import PostgresServer
from support.lab import Lab, Pair
from support.soak_schema import Table


class Faults:
    """Does one random thing to the installation at a time; afterwards everything runs again."""

    def __init__(self, lab: Lab, pair: Pair, tables: list[Table], rng: random.Random) -> None:
        self._lab, self._pair, self._tables, self._rng = lab, pair, tables, rng
        self.done: Counter[str] = Counter()
        only = os.environ.get("HEADRACE_SOAK_FAULTS")
        every: list[Callable[[], None]] = [
            self.kill_worker, self.kill_connect, self.kill_kafka, self.kill_server, self.kill_target, self.kill_source,
            self.freeze_worker, self.freeze_connect, self.freeze_kafka, self.freeze_target, self.freeze_source,
            self.cut_target, self.cut_source, self.pause, self.stop, self.resync, self.kill_all, self.nothing,
        ]  # fmt: skip
        self._every = [f for f in every if only is None or f.__name__ in only.split(",")]

    def one(self) -> str:
        """Inject one and take it back; its name."""
        fault = self._rng.choice(self._every)
        fault()
        self.done[fault.__name__] += 1
        return fault.__name__

    def _moment(self, most: float = 3.0) -> None:
        time.sleep(self._rng.random() * most)

    def _dead(self, *names: str) -> None:
        for name in names:
            self._lab.kill(name)
        # Longer than any patience of ten seconds, sometimes.
        self._moment(15.0 if self._rng.random() < 0.15 else 2.0)
        for name in names:
            self._lab.restart(name)

    def kill_worker(self) -> None:
        self._dead("worker")

    def kill_connect(self) -> None:
        self._dead("connect")

    def kill_kafka(self) -> None:
        self._dead("kafka")

    def kill_server(self) -> None:
        self._dead("server")

    def kill_target(self) -> None:
        self._dead_server(self._lab.target)

    def kill_source(self) -> None:
        self._dead_server(self._lab.source)

    def _dead_server(self, server: PostgresServer) -> None:
        server.kill()
        self._moment()
        server.restart()

    def kill_all(self) -> None:
        for name in ("worker", "connect", "kafka"):
            self._lab.kill(name)
        self._lab.target.kill()
        self._lab.target.restart()
        for name in ("kafka", "connect", "worker"):
            self._lab.restart(name)

    def freeze_worker(self) -> None:
        with _stopped([self._lab.worker_pid()]):
            self._moment(8)

    def freeze_connect(self) -> None:
        with _stopped(_group(self._lab.stack.services["connect"].process)):
            self._moment(8)

    def freeze_kafka(self) -> None:
        with _stopped(_group(self._lab.stack.services["kafka"].process)):
            self._moment(8)

    def freeze_target(self) -> None:
        with _stopped(_group(self._lab.target.service.process)):
            self._moment(8)

    def freeze_source(self) -> None:
        with _stopped(_group(self._lab.source.service.process)):
            self._moment(8)

    def cut_target(self) -> None:
        self._cut(self._lab.target)

    def cut_source(self) -> None:
        self._cut(self._lab.source)

    def _cut(self, server: PostgresServer) -> None:
        with psycopg.connect(server.conninfo, autocommit=True) as admin:
            for _ in range(self._rng.randint(1, 5)):
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = %s AND (application_name ILIKE 'headrace%%' OR backend_type = 'walsender')",
                    [self._pair.name],
                )
                self._moment(0.5)

    def pause(self) -> None:
        self._ask("pause")
        self._moment(6)
        self._ask("resume")

    def stop(self) -> None:
        self._ask("stop")
        self._moment(8)
        self._ask("start")

    def resync(self) -> None:
        table = self._rng.choice(self._tables)
        self.load_again(table)

    def load_again(self, table: Table) -> None:
        """Ask for a resync; what it does is seen later."""
        self._ask(f"tables/{_in_path(table.pattern)}/resync")

    def _ask(self, what: str) -> None:
        answer = self._lab.api("POST", f"/pipelines/{self._pair.name}/{what}")
        assert answer.is_success or answer.status_code in (409, 503), (
            f"{what}: {answer.status_code} {answer.text}"
        )

    def nothing(self) -> None:
        self._moment()


def _in_path(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _group(process: object) -> list[int]:
    parent = psutil.Process(process.pid)  # type: ignore[attr-defined]
    return [parent.pid, *(c.pid for c in parent.children(recursive=True))]


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
