"""The applier of one pipeline: reads Kafka, folds, writes; exactly once, whatever is killed.

Progress in the target decides everything. After any doubt - a lost connection, a refused compare-and-set, a
rebalanced table - the applier forgets what it has read, reads its progress again and goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from headrace.apply.table import Batch, TableApply, joined, pieces
from headrace.capture.markers import Reader
from headrace.capture.topics import Topics, kafka_error
from headrace.engines.model import Key, KeyedBatch, KeylessBatch, Progress, Route, TableName
from headrace.engines.postgres import progress as progress_rows
from headrace.engines.postgres.connection import Connection, Login, connect
from headrace.engines.postgres.events import SchemaDrift
from headrace.engines.postgres.merge import Mode, Target, UniqueViolation
from headrace.engines.postgres.read import invisible, reread
from headrace.entering import Cluster
from headrace.errors import Bug, Conflict, HeadraceError, Unavailable

MAX_RECORDS = 20_000
MAX_BYTES = 24 * 1024 * 1024
# A batch that a unique index refuses may only lack the rest of its source transaction.
STALL_SECONDS = 10.0
GONE_SECONDS = 3.0
# How long a commit that is streamed may take to become visible before the applier starts over.
VISIBLE_SECONDS = 5.0


@dataclass(slots=True)
class Counters:
    """What the applier has done since it started.

    latencies: of recent batches: (when, seconds from source commit to ours).
    """

    events: int = 0
    batches: int = 0
    bytes: int = 0
    errors: int = 0
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=20_000))


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the applier tells its owner.

    route: the route of a live table, None when it is not known (yet). broken: a table cannot go on; the
    owner decides what happens. evolve: a record has unknown columns; True when the owner mended the route.
    lenient: added columns that records from before them lack.
    """

    route: Callable[[TableName], Route | None]
    lenient: Callable[[TableName], frozenset[str]]
    broken: Callable[[TableName, HeadraceError], None]
    evolve: Callable[[TableName, SchemaDrift], bool]
    log: Callable[[str, str], None]


class Applier:
    """Applies every live table of a pipeline. ``run`` is the body of one thread."""

    def __init__(
        self, *, pipeline: str, kafka: Cluster, source: Login, target: Login, token: str, hooks: Hooks
    ) -> None:
        self._pipeline, self._kafka, self._token, self._hooks = pipeline, kafka, token, hooks
        self._source_login, self._target_login = source, target
        self._tables: dict[str, TableApply] = {}
        self._stop, self._again = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._target: Target | None = None
        self._source: Connection | None = None
        self._consumer: Reader | None = None
        self._topics = Topics(kafka)
        self._next_look = 0.0
        self._burst = False
        self._broken: set[TableName] = set()
        self._gone_since: dict[str, float] = {}
        self._repairs: deque[tuple[TableName, list[Key], threading.Event]] = deque()
        self.counters = Counters()
        self.trouble: HeadraceError | None = None

    def stop(self) -> None:
        """Ask ``run`` to end after the current batch."""
        self._stop.set()

    def look_again(self, *, forgive: TableName | None = None) -> None:
        """Read progress rows again soon: a table was put on hold, made live or added."""
        if forgive is not None:
            self._broken.discard(forgive)
        self._again.set()

    def reached(self) -> dict[TableName, int]:
        """Per live table: every record below this offset is applied."""
        with self._lock:
            return {t.progress.source: t.reached for t in self._tables.values()}

    def repair(self, source: TableName, keys: list[Key], patience: float = 60.0) -> bool:
        """Take these rows anew from the source, between two batches; whether it was done in time.

        Events still in the log may be older than what is written here; they are followed by newer ones, so
        that the rows converge.
        """
        done = threading.Event()
        self._repairs.append((source, keys, done))
        return done.wait(patience)

    def _repair(self, source: TableName, keys: list[Key]) -> None:
        assert self._target is not None
        table = next((t for t in self._tables.values() if t.progress.source == source), None)
        if table is None:
            return
        row = table.progress
        # A row from before a change that is applied already would take it back.
        self._await_visible(table.recent)
        found = self._from_source(table.route, range(len(table.decoder.columns)), keys)
        gone = [k for k in keys if k not in found]
        self._target.advance(row, row.next_offset, row.last_offset, row.last_position, 0)
        batch = KeyedBatch(rows=[tuple(v) for v in found.values()], gone=gone)
        self._target.apply_keyed(table.route, batch, "replace")
        self._target.commit()

    def run(self) -> None:
        """Apply until stopped. Trouble that may pass is waited out; see ``trouble``."""
        pause = 0.2
        while not self._stop.is_set():
            try:
                self._cycle()
                self.trouble, pause = None, 0.2
            except HeadraceError as error:
                self._trouble(error)
                pause = min(pause * 2, 5.0)
                self._stop.wait(pause)
            except Exception as error:
                self._trouble(Bug("applier", f"{type(error).__name__}: {error}", "Report this; see the log."))
                pause = min(pause * 2, 5.0)
                self._stop.wait(pause)
        self._drop_all()

    def _trouble(self, error: HeadraceError) -> None:
        if self.trouble is None or self.trouble.code != error.code:
            self._hooks.log("warning", f"applying is interrupted: {error.message}")
        self.trouble = error
        self.counters.errors += 1
        self._drop_all()

    def _drop_all(self) -> None:
        with self._lock:
            self._tables.clear()
        for closable in (self._target, self._source, self._consumer):
            if closable is not None:
                closable.close()
        self._target = self._source = self._consumer = None
        self._next_look = 0.0

    def _cycle(self) -> None:
        if self._target is None:
            self._target = Target(self._target_login)
        if self._consumer is None:
            self._consumer = Reader(
                self._kafka, f"headrace-{self._pipeline}", **{"enable.partition.eof": True}
            )
        if self._again.is_set() or time.monotonic() >= self._next_look:
            self._again.clear()
            self._look()
        while self._repairs:
            source, keys, done = self._repairs[0]
            self._repair(source, keys)
            self._repairs.popleft()
            done.set()
        by_topic, ends = self._collect()
        if by_topic:
            self._apply(by_topic)
        for topic, offset in ends.items():
            table = self._tables.get(topic)
            if table is not None and not table.kept:
                table.reached = max(table.reached, offset)

    # -- which tables are live ------------------------------------------------------------------------

    def _look(self) -> None:
        assert self._target is not None
        rows = progress_rows.load_all(self._target.conn, self._pipeline)
        self._target.commit()
        live = {p.topic: p for p in rows.values() if p.state == "live" and p.source not in self._broken}
        for topic, table in list(self._tables.items()):
            now = live.get(topic)
            if (
                now is None
                or now.topic_id != table.progress.topic_id
                or now.generation != table.progress.generation
                or now.cut != table.progress.cut
            ):
                self._detach(topic)
        wanted = [p for topic, p in live.items() if topic not in self._tables]
        for progress in self._sound(wanted):
            route = self._hooks.route(progress.source)
            if route is not None:
                self._attach(progress, route)
        waiting = len(rows) > len(self._tables)
        self._next_look = time.monotonic() + (0.3 if waiting or not rows else 5.0)

    def _attach(self, progress: Progress, route: Route) -> None:
        assert self._consumer is not None
        table = TableApply(route, progress, self._token, self._hooks.lenient(progress.source))
        with self._lock:
            self._tables[progress.topic] = table
        self._consumer.incremental_assign([TopicPartition(progress.topic, 0, progress.next_offset)])

    def _detach(self, topic: str) -> None:
        with self._lock:
            table = self._tables.pop(topic, None)
        if table is not None and self._consumer is not None:
            self._consumer.incremental_unassign([TopicPartition(topic, 0)])
            if self._target is not None:
                self._target.forget(table.route)

    def _sound(self, rows: Sequence[Progress]) -> Iterable[Progress]:
        """Those whose log is the one they were made with; the others are broken as ``log_lost``."""
        if not rows:
            return
        names = [p.topic for p in rows]
        ids, starts, ends = self._topics.ids(names), self._topics.starts(names), self._topics.ends(names)
        for progress in rows:
            if progress.topic not in ids and not self._surely_gone(progress.topic):
                continue
            why = self._why_lost(progress, ids, starts, ends)
            if progress.topic in ids:
                self._gone_since.pop(progress.topic, None)
            if why is None:
                yield progress
            else:
                self._break(progress.source, log_lost(why, progress.source, progress.topic))

    def _surely_gone(self, topic: str) -> bool:
        """A broker that has just started may not know its topics for a moment."""
        if topic not in self._gone_since:
            self._gone_since[topic] = time.monotonic()
        if time.monotonic() - self._gone_since[topic] < GONE_SECONDS:
            return False
        del self._gone_since[topic]
        return True

    def _why_lost(
        self, progress: Progress, ids: dict[str, str], starts: dict[str, int], ends: dict[str, int]
    ) -> str | None:
        topic, next_offset = progress.topic, progress.next_offset
        if topic not in ids:
            return f"topic {topic} is gone"
        if ids[topic] != progress.topic_id:
            return f"topic {topic} was deleted and made again"
        if not starts[topic] <= next_offset:
            return f"topic {topic} now starts at {starts[topic]}, behind the next record {next_offset}"
        if next_offset > ends[topic]:
            return f"topic {topic} ends at {ends[topic]}, before the next record {next_offset}"
        if progress.last_offset >= 0 and progress.last_offset >= starts[topic]:
            found = self._position_at(topic, progress.last_offset)
            if found != progress.last_position:
                return f"record {progress.last_offset} of topic {topic} is not the one that was applied"
        return None

    def _position_at(self, topic: str, offset: int) -> int | None:
        reader = Reader(self._kafka, "headrace-check", **{"enable.partition.eof": True})
        try:
            reader.assign([TopicPartition(topic, 0, offset)])
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                message = reader.poll(1.0)
                if message is None:
                    reader.ear.require_entered()
                    continue
                if (error := message.error()) is not None:
                    if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                        return None
                    continue
                value = message.value()
                if message.offset() != offset or value is None:
                    return None
                return int(orjson.loads(value)["source"]["lsn"])
        finally:
            reader.close()
        raise Unavailable("kafka_slow", f"record {offset} of {topic} could not be read", "Check Kafka.")

    def _break(self, source: TableName, error: HeadraceError) -> None:
        self._broken.add(source)
        self.counters.errors += 1
        for topic, table in list(self._tables.items()):
            if table.progress.source == source:
                self._detach(topic)
        self._hooks.broken(source, error)

    # -- reading --------------------------------------------------------------------------------------

    def _collect(self) -> tuple[dict[str, list[Message]], dict[str, int]]:
        assert self._consumer is not None
        stalled = any(t.kept for t in self._tables.values())
        if not self._tables:
            self._again.wait(0.1)
            return {}, {}
        try:
            first = self._consumer.poll(0.02 if stalled else 0.2)
            if first is None:
                self._consumer.ear.require_entered()
                self._burst = False
                return ({t.progress.topic: [] for t in self._tables.values() if t.kept}, {})
            read = [first, *self._more()]
        except KafkaException as error:
            raise kafka_error(error, self._kafka, self._consumer.ear) from error
        return self._sorted(read)

    def _more(self) -> list[Message]:
        """What is there already, in one batch of bounded size; under load a little more is waited for."""
        assert self._consumer is not None
        read: list[Message] = []
        size = 0
        deadline = time.monotonic() + (0.15 if self._burst else 0.004)
        while len(read) < MAX_RECORDS and size < MAX_BYTES:
            left = deadline - time.monotonic()
            part = self._consumer.consume(2000, max(left, 0.0) if self._burst else 0.001)
            if not part:
                break
            read += part
            size += sum(len(m) for m in part)
            if left <= 0:
                break
        self._burst = len(read) >= 1500
        return read

    def _sorted(self, read: Sequence[Message]) -> tuple[dict[str, list[Message]], dict[str, int]]:
        by_topic: dict[str, list[Message]] = {}
        ends: dict[str, int] = {}
        for message in read:
            topic = message.topic() or ""
            if (error := message.error()) is None:
                if topic in by_topic:
                    by_topic[topic].append(message)
                else:
                    by_topic[topic] = [message]
                continue
            code = error.code()
            if code == KafkaError._PARTITION_EOF:
                ends[topic] = message.offset() or 0
            elif code in (
                KafkaError._AUTO_OFFSET_RESET,
                KafkaError.OFFSET_OUT_OF_RANGE,
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError._UNKNOWN_TOPIC,
                KafkaError.UNKNOWN_TOPIC_ID,
                KafkaError._LOG_TRUNCATION,
            ):
                self._hooks.log("warning", f"topic {topic}: {error.str()}")
                self._detach(topic)
                self._again.set()
        return by_topic, ends

    # -- writing --------------------------------------------------------------------------------------

    def _apply(self, by_topic: dict[str, list[Message]]) -> None:
        batches: list[tuple[TableApply, Batch]] = []
        for topic, messages in by_topic.items():
            table = self._tables.get(topic)
            if table is None:
                continue
            table.kept += messages
            batch = self._folded(table)
            if batch is not None:
                batches.append((table, batch))
        if not batches:
            return
        try:
            self._write(batches, "upsert")
        except HeadraceError as error:
            if _passes(error):
                raise
            self._target_rollback()
            for one in batches:
                self._apply_one(*one)

    def _folded(self, table: TableApply) -> Batch | None:
        for _ in range(3):
            try:
                return table.batch(table.kept)
            except SchemaDrift as drift:
                source = table.progress.source
                if not self._hooks.evolve(source, drift):
                    self._break(source, drift)
                    return None
                self._rebuild(table)
            except HeadraceError as error:
                self._break(table.progress.source, error)
                return None
            except (ValueError, KeyError, TypeError) as error:
                self._break(table.progress.source, _undecodable(table.progress.source, error))
                return None
        self._break(
            table.progress.source,
            Conflict("schema_changed", "the events do not fit the table's columns", "Resync the table."),
        )
        return None

    def _rebuild(self, table: TableApply) -> None:
        assert self._target is not None
        self._target.forget(table.route)
        route = self._hooks.route(table.progress.source)
        if route is not None:
            table.route = route
        table.lenient = self._hooks.lenient(table.progress.source)
        table.rebuild()

    def _apply_one(self, table: TableApply, batch: Batch) -> None:
        modes: tuple[Mode, ...] = ("upsert", "replace")
        for mode in modes:
            try:
                self._write([(table, batch)], mode)
                return
            except UniqueViolation as error:
                self._target_rollback()
                if mode == "replace":
                    self._stall(table, error)
            except HeadraceError as error:
                if _passes(error):
                    raise
                self._target_rollback()
                if error.code == "zombie":
                    self._detach(table.progress.topic)
                    self._again.set()
                else:
                    self._break(table.progress.source, error)
                return

    def _stall(self, table: TableApply, error: HeadraceError) -> None:
        now = time.monotonic()
        if table.stalled is None:
            table.stalled = now
        elif now - table.stalled > STALL_SECONDS or len(table.kept) > 10 * MAX_RECORDS:
            self._break(table.progress.source, error)

    def _target_rollback(self) -> None:
        assert self._target is not None
        self._target.rollback()
        if self._target.conn.closed:
            raise Unavailable("connection_lost", "the target closed the connection", "It is tried again.")

    def _write(self, batches: Sequence[tuple[TableApply, Batch]], mode: Mode) -> None:
        assert self._target is not None
        for table, batch in batches:
            self._target.advance(
                table.progress, batch.next_offset, batch.last_offset, batch.last_position, batch.ts_ms
            )
        for table, batch in batches:
            for step in self._steps(table, batch, mode):
                if step is None:
                    self._target.truncate(table.route)
                elif isinstance(step, KeyedBatch):
                    absent = self._target.apply_keyed(table.route, step, mode)
                    if absent:
                        self._await_visible(batch.xids)
                        self._fetch_absent(table, absent)
                else:
                    self._target.apply_keyless(table.route, step)
        self._target.commit()
        for table, batch in batches:
            self._advanced(table, batch)

    def _advanced(self, table: TableApply, batch: Batch) -> None:
        progress = table.progress
        progress.next_offset, progress.last_offset = batch.next_offset, batch.last_offset
        progress.last_position = batch.last_position
        del table.kept[: len(batch.messages)]
        table.stalled = None
        table.recent.extend(batch.xids)
        table.reached = batch.next_offset
        counters = self.counters
        counters.events += batch.events
        counters.batches += 1
        counters.bytes += sum(len(m) for m in batch.messages)
        if batch.first_ts_ms:
            now = time.time()
            counters.latencies.append((now, now - batch.first_ts_ms / 1000))
            counters.latencies.append((now, now - batch.ts_ms / 1000))

    def _steps(
        self, table: TableApply, batch: Batch, mode: Mode
    ) -> Iterator[KeyedBatch | KeylessBatch | None]:
        """The batch's steps, with what has to be re-read from the source filled in."""
        for step in batch.steps:
            if not (isinstance(step, KeyedBatch) and step.partial and table.decoder.reread):
                yield step
                continue
            self._await_visible(batch.xids)
            read = pieces(table.decoder, step, partial(self._read, table.route))
            if mode == "upsert":
                yield from read
            else:
                # Values that changed places need all their rows at once.
                yield joined(read)

    def _fetch_absent(self, table: TableApply, absent: Sequence[Key]) -> None:
        """Rows that the target lacks are taken whole from the source, if it still has them."""
        assert self._target is not None
        keys = [tuple(k) for k in absent]
        every = range(len(table.decoder.columns))
        found = self._from_source(table.route, every, keys)
        rows = [tuple(values) for values in found.values()]
        if rows:
            self._target.apply_keyed(table.route, KeyedBatch(rows=rows), "replace")

    def _from_source(
        self, route: Route, columns: Sequence[int], keys: Sequence[Key]
    ) -> dict[Key, tuple[str | None, ...]]:
        return dict(self._read(route, columns, keys))

    def _read(
        self, route: Route, columns: Sequence[int], keys: Sequence[Key]
    ) -> Iterator[tuple[Key, tuple[str | None, ...]]]:
        return reread(self._from(), route, columns, keys)

    def _from(self) -> Connection:
        if self._source is None or self._source.closed:
            self._source = connect(self._source_login, name="headrace reread", statement_timeout="60s")
        return self._source

    def _await_visible(self, xids: Collection[int]) -> None:
        """Return once the source shows what these transactions wrote: a commit is streamed before it is visible."""
        deadline = time.monotonic() + VISIBLE_SECONDS
        while left := invisible(self._from(), xids):
            if time.monotonic() > deadline or self._stop.is_set():
                raise Unavailable(
                    "commit_waits",
                    f"transaction {left[0]} of the source is in the log but not visible yet",
                    "Its commit waits, as for a synchronous standby; it is applied once it is visible.",
                )
            time.sleep(0.005)


def log_lost(why: str, source: TableName, topic: str) -> Conflict:
    """The error of a table whose log is not what it was."""
    return Conflict(
        "log_lost",
        f"{why}, so changes of {source} may be missing",
        "The table is loaded again from a new cut.",
        {"topic": topic},
    )


def _passes(error: HeadraceError) -> bool:
    """Whether waiting helps: something is out of reach, or somebody holds a lock."""
    return isinstance(error, Unavailable) or error.code == "in_use"


def _undecodable(source: TableName, error: Exception) -> HeadraceError:
    return Bug(
        "undecodable_event",
        f"an event of {source} cannot be read: {type(error).__name__}: {error}",
        "Report this; exclude the column, or resync the table once it no longer holds the value.",
    )
