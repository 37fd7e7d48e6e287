"""What is timed. Each work runs every system once per repetition, one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg

from bench import debezium_jdbc, headrace_way, native, pipes
from bench.ground import TABLE, Ends, Ground, until

LOAD_ROWS = 5_000_000
LOAD_ROWS_JDBC = 300_000
STREAM_ROWS = 500_000
STREAM_ROWS_JDBC = 100_000
RATE = 500
WARM_SECONDS, LATENCY_SECONDS = 10, 60
WRITERS = 4
READER_SECONDS = 0.002
LATENCY = "bench_latency"
COMMITS = f"SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM {LATENCY} WHERE n = 1"


@dataclass(slots=True)
class Run:
    """One measurement. seconds: of the work, for latency the median. rows: rows or changes moved in that time.

    cpu: CPU seconds per component. more: further figures.
    """

    work: str
    system: str
    seconds: float
    rows: int
    cpu: dict[str, float] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)


def _in_turn(
    ground: Ground, systems: Sequence[tuple[str, Callable[[Ends], Run]]], number: int
) -> Iterator[Run]:
    """Run each system on a fresh target; every repetition begins with another one."""
    first = number % len(systems)
    for source, measure in [*systems[first:], *systems[:first]]:
        with ground.fresh_target(source) as ends:
            run = measure(ends)
        yield run


# -- load -----------------------------------------------------------------------------------------------


class Load:
    """A whole table with its primary key into an empty database; nobody writes meanwhile."""

    def __init__(self, ground: Ground, scale: float) -> None:
        self._ground = ground
        self._rows = max(int(LOAD_ROWS * scale), 1000)
        self._few = max(int(LOAD_ROWS_JDBC * scale), 1000)
        ground.make_source("load_all", self._rows)
        ground.make_source("load_few", self._few)

    def runs(self, number: int) -> Iterator[Run]:
        """One repetition."""
        systems = [
            ("load_all", self._headrace),
            ("load_all", self._native),
            ("load_all", self._pipes),
            ("load_few", self._jdbc),
        ]
        return _in_turn(self._ground, systems, number)

    def _native(self, ends: Ends) -> Run:
        """From CREATE SUBSCRIPTION until the copy is committed; the table and its key were made before."""
        ground = self._ground
        ground.make_target_table(ends, key=True)
        with native.publication(ground, ends.source, TABLE), ground.cpu() as cpu, ExitStack() as stack:
            began = time.monotonic()
            stack.enter_context(native.subscription(ground, ends))
            native.copied(ground, ends)
            seconds = time.monotonic() - began
            ground.must_be_equal(ends)
        return Run("load", native.NAME, seconds, self._rows, cpu)

    def _pipes(self, ends: Ends) -> Run:
        """From the start of both pipes until the key is built; the table was made before, without its key."""
        ground = self._ground
        ground.make_target_table(ends, key=False)
        with ground.cpu() as cpu:
            began = time.monotonic()
            pipes.copy(ground, ends)
            seconds = time.monotonic() - began
        ground.must_be_equal(ends)
        return Run("load", pipes.NAME, seconds, self._rows, cpu)

    def _headrace(self, ends: Ends) -> Run:
        """From ``headrace apply`` until every row and the key are in place: preflight, capture and cut included."""
        ground = self._ground
        with headrace_way.pipeline(ground, ends, TABLE) as pipeline:
            with ground.cpu() as cpu:
                began = time.monotonic()
                pipeline.apply()
                self._in_place(ends)
                seconds = time.monotonic() - began
            ground.must_be_equal(ends)
            pipeline.reaches("incremental")
            whole = time.monotonic() - began
        return Run("load", headrace_way.NAME, seconds, self._rows, cpu, {"incremental": round(whole, 2)})

    def _in_place(self, ends: Ends) -> None:
        """Headrace makes the key when the last row is in, in a transaction that shows both."""
        query = f"SELECT 1 FROM pg_index WHERE indrelid = to_regclass('{TABLE}') AND indisprimary".encode()
        with psycopg.connect(self._ground.target.conninfo_of(ends.target), autocommit=True) as conn:
            until(lambda: conn.execute(query).fetchone(), 3600, "the load")

    def _jdbc(self, ends: Ends) -> Run:
        """From the creation of both connectors until every row is there; the table and its key were made before."""
        ground = self._ground
        ground.make_target_table(ends, key=True)
        with (
            debezium_jdbc.pair(ground, ends) as pair,
            psycopg.connect(ground.target.conninfo_of(ends.target), autocommit=True) as conn,
        ):
            with ground.cpu() as cpu:
                began = time.monotonic()
                pair.create("initial")
                until(lambda: _count(conn) >= self._few, 3600, "the Debezium snapshot", 0.25)
                seconds = time.monotonic() - began
            ground.must_be_equal(ends)
        return Run("load", debezium_jdbc.NAME, seconds, self._few, cpu)


def _count(conn: psycopg.Connection) -> int:
    row = conn.execute(f"SELECT count(*) FROM {TABLE}".encode()).fetchone()
    assert row is not None
    return int(row[0])


# -- stream ---------------------------------------------------------------------------------------------


class Stream:
    """A backlog of single-row update transactions, written while nothing reads, then drained.

    The time runs from the command that starts replication again until the last update is in the target: start of
    processes or connectors, decoding and applying are all in it.
    """

    def __init__(self, ground: Ground, scale: float) -> None:
        self._ground = ground
        self._rows = max(int(STREAM_ROWS * scale), 1000)
        self._few = max(int(STREAM_ROWS_JDBC * scale), 1000)
        self._round = 0
        ground.make_source("stream_all", self._rows)
        ground.make_source("stream_few", self._few)

    def runs(self, number: int) -> Iterator[Run]:
        """One repetition."""
        systems = [
            ("stream_all", self._headrace),
            ("stream_all", self._native),
            ("stream_few", self._jdbc),
        ]
        return _in_turn(self._ground, systems, number)

    def _native(self, ends: Ends) -> Run:
        """ALTER SUBSCRIPTION ENABLE until caught up."""
        ground = self._ground
        ground.make_target_table(ends, key=True)
        with native.publication(ground, ends.source, TABLE), native.subscription(ground, ends):
            native.copied(ground, ends)
            self._one_arrives(ends)
            native.disable(ground, ends)
            last = self._backlog(ends, self._rows)
            with ground.cpu() as cpu:
                began = time.monotonic()
                native.enable(ground, ends)
                self._arrives(ends, last)
                seconds = time.monotonic() - began
            ground.must_be_equal(ends)
        return Run("stream", native.NAME, seconds, self._rows, cpu)

    def _headrace(self, ends: Ends) -> Run:
        """``headrace start`` of a stopped pipeline until caught up."""
        ground = self._ground
        with headrace_way.pipeline(ground, ends, TABLE) as pipeline:
            pipeline.apply()
            pipeline.reaches("incremental")
            self._one_arrives(ends)
            pipeline.stop()
            last = self._backlog(ends, self._rows)
            with ground.cpu() as cpu:
                began = time.monotonic()
                pipeline.start()
                self._arrives(ends, last)
                seconds = time.monotonic() - began
            ground.must_be_equal(ends)
        return Run("stream", headrace_way.NAME, seconds, self._rows, cpu)

    def _jdbc(self, ends: Ends) -> Run:
        """Resuming both stopped connectors until caught up."""
        ground = self._ground
        ground.make_target_table(ends, key=False)
        pipes.copy(ground, ends)
        with debezium_jdbc.pair(ground, ends) as pair:
            pair.create("no_data")
            pair.running()
            self._one_arrives(ends)
            pair.stop()
            last = self._backlog(ends, self._few)
            with ground.cpu() as cpu:
                began = time.monotonic()
                pair.resume()
                self._arrives(ends, last)
                seconds = time.monotonic() - began
            ground.must_be_equal(ends)
        return Run("stream", debezium_jdbc.NAME, seconds, self._few, cpu)

    def _backlog(self, ends: Ends, rows: int) -> str:
        """``rows`` transactions of one update each, the last of them marked; the mark."""
        ground = self._ground
        ground.changed(ends.source)
        script = (
            f"\\set aid random(1, {rows})\n"
            f"UPDATE {TABLE} SET abalance = abalance + 1 + :client_id WHERE aid = :aid;\n"
        )
        each = str(max((rows - 1) // WRITERS, 1))
        ground.pgbench(ends.source, script, "-c", str(WRITERS), "-j", "1", "-t", each, commit="off")
        mark = self._mark(ends)
        ground.sql(ground.source, ends.source, "CHECKPOINT")
        return mark

    def _one_arrives(self, ends: Ends) -> None:
        """Everything runs and a change goes through, before it is stopped again."""
        self._arrives(ends, self._mark(ends), 120)

    def _mark(self, ends: Ends) -> str:
        self._round += 1
        mark = f"mark {self._round}"
        self._ground.sql(
            self._ground.source, ends.source, f"UPDATE {TABLE} SET filler = '{mark}' WHERE aid = 1"
        )
        return mark

    def _arrives(self, ends: Ends, mark: str, seconds: float = 3600) -> None:
        query = f"SELECT rtrim(filler) = '{mark}' FROM {TABLE} WHERE aid = 1".encode()
        with psycopg.connect(self._ground.target.conninfo_of(ends.target), autocommit=True) as conn:
            until(lambda: conn.execute(query).fetchone() == (True,), seconds, "the last update")


# -- latency --------------------------------------------------------------------------------------------


class Latency:
    """Single-row update transactions at a fixed rate, each of a row of its own.

    Per transaction: the time at which a reader of the target first sees the row, less ``pg_xact_commit_timestamp`` on
    the source (taken just before the commit is flushed), by the clock that all share. The reader looks every few
    milliseconds and adds that much. The target's own commit timestamps would not do: PostgreSQL's apply worker
    writes the source's there.
    """

    def __init__(self, ground: Ground, scale: float) -> None:
        self._ground = ground
        self._seconds = max(int(LATENCY_SECONDS * scale), 10)
        self._warm = WARM_SECONDS if scale >= 1 else 3
        ground.sql(ground.source, "postgres", "CREATE DATABASE latency")

    def runs(self, number: int) -> Iterator[Run]:
        """One repetition."""
        return _in_turn(self._ground, [("latency", self._headrace), ("latency", self._native)], number)

    def _prepare(self, ends: Ends) -> None:
        rows = int(RATE * (self._seconds + self._warm) * 1.5)
        self._ground.sql(
            self._ground.source,
            ends.source,
            f"DROP TABLE IF EXISTS {LATENCY}",
            "DROP SEQUENCE IF EXISTS bench_next",
            f"CREATE TABLE {LATENCY} (id bigint PRIMARY KEY, n int NOT NULL, filler text)",
            f"INSERT INTO {LATENCY} SELECT i, 0, repeat('x', 60) FROM generate_series(1, {rows}) i",
            "CREATE SEQUENCE bench_next CACHE 1",
            f"VACUUM ANALYZE {LATENCY}",
        )

    def _headrace(self, ends: Ends) -> Run:
        self._prepare(ends)
        with headrace_way.pipeline(self._ground, ends, LATENCY) as pipeline:
            pipeline.apply()
            pipeline.reaches("incremental")
            return self._measured(ends, headrace_way.NAME)

    def _native(self, ends: Ends) -> Run:
        ground = self._ground
        self._prepare(ends)
        ground.sql(
            ground.target,
            ends.target,
            f"CREATE TABLE {LATENCY} (id bigint PRIMARY KEY, n int NOT NULL, filler text)",
        )
        with native.publication(ground, ends.source, LATENCY), native.subscription(ground, ends):
            native.copied(ground, ends)
            return self._measured(ends, native.NAME)

    def _measured(self, ends: Ends, system: str) -> Run:
        ground = self._ground
        script = f"UPDATE {LATENCY} SET n = n + 1 WHERE id = (SELECT nextval('bench_next'));\n"
        length = str(self._seconds + self._warm)
        with Reader(ground, ends) as reader, ground.cpu() as cpu:
            ground.pgbench(ends.source, script, "-c", str(WRITERS), "-j", "1", "-R", str(RATE), "-T", length)
            sent = dict(ground.sql(ground.source, ends.source, COMMITS))
            until(lambda: len(reader.seen) >= len(sent), 120, "the last update", 0.2)
        ground.must_be_equal(ends, LATENCY)
        begin = min(sent.values()) + self._warm
        delays = sorted(reader.seen[id_] - at for id_, at in sent.items() if at >= begin)
        figures = {
            "p50_ms": _percentile(delays, 0.5) * 1000,
            "p95_ms": _percentile(delays, 0.95) * 1000,
            "p99_ms": _percentile(delays, 0.99) * 1000,
            "max_ms": delays[-1] * 1000,
            "transactions_per_s": len(delays) / self._seconds,
        }
        more = {name: round(value, 1) for name, value in figures.items()}
        return Run("latency", system, _percentile(delays, 0.5), len(delays), cpu, more)


class Reader:
    """Notes when each changed row of the target is first seen, in a thread; ``seen``: id -> seconds since the epoch."""

    WINDOW = 1000

    def __init__(self, ground: Ground, ends: Ends) -> None:
        self.seen: dict[int, float] = {}
        self._conninfo = ground.target.conninfo_of(ends.target)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        low = 0
        query = f"SELECT id FROM {LATENCY} WHERE id > %s AND id <= %s AND n = 1".encode()
        with psycopg.connect(self._conninfo, autocommit=True) as conn:
            conn.prepare_threshold = 0
            pause = READER_SECONDS
            while not self._stop.wait(pause):
                found = conn.execute(query, [low, low + self.WINDOW]).fetchall()
                now = time.time()
                new = [id_ for (id_,) in found if id_ not in self.seen]
                self.seen.update(dict.fromkeys(new, now))
                pause = READER_SECONDS if len(new) < self.WINDOW // 2 else 0
                while low + 1 in self.seen:
                    low += 1


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
