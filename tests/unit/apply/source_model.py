"""A source table as a dict, the events that Debezium makes of its changes, and a target that takes batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from headrace.apply.table import NEW_KEY, OLD_KEY, TableApply, joined, pieces
from headrace.engines.model import (
    MISSING,
    Column,
    Key,
    KeyedBatch,
    KeylessBatch,
    Mapped,
    Progress,
    Route,
    Row,
    Table,
    TableName,
)

TOKEN = "token-4711"
NAME = TableName("public", "t")


@dataclass
class Record:
    """A record of a topic as confluent_kafka shows it."""

    event: dict[str, Any]
    at: int
    marks: list[tuple[str, bytes]] | None = None

    def value(self) -> bytes:
        return orjson.dumps(self.event)

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.marks

    def offset(self) -> int:
        return self.at

    def __len__(self) -> int:
        return 1


def table(keyed: bool, lossy: bool) -> Table:
    columns = (
        Column("id", "integer", "int4", "bN", 1, nullable=False),
        Column("n", "integer", "int4", "bN", 2),
        Column("big", "text", "text", "bS", 3),
        Column("list", "integer[]", "_int4", "bA", 4, carriage="reread"),
    )
    return Table(
        NAME, 1, columns if lossy else columns[:3], ("id",) if keyed else (), "t_pkey" if keyed else None
    )


def apply_of(keyed: bool, lossy: bool = False) -> TableApply:
    source = table(keyed, lossy)
    route = Route(source, NAME, tuple(Mapped(c, c.name) for c in source.columns))
    return TableApply(route, Progress("p", "g", "topic", NAME, NAME), TOKEN)


@dataclass
class Source:
    """The source: rows by key, the events so far, and the rows as they were after each event."""

    rows: dict[int, Row] = field(default_factory=dict)
    lossy: bool = False
    records: list[Record] = field(default_factory=list)
    history: list[dict[int, Row]] = field(default_factory=list)

    def emit(self, op: str, before: Row | None, after: Row | None, header: str | None = None) -> None:
        event = {
            "op": op,
            "before": self._image(before),
            "after": self._image(after),
            "source": {"lsn": len(self.records), "txId": 1, "ts_ms": 1},
        }
        self.records.append(Record(event, len(self.records), [(header, b"")] if header else None))
        self.history.append(dict(self.rows))

    def _image(self, row: Row | None) -> dict[str, Any] | None:
        if row is None:
            return None
        image = dict(zip(("id", "n", "big"), row, strict=False))
        return {**image, "list": "what an event makes of it"} if self.lossy else image

    def _key_only(self, key: int) -> Row:
        return (key, None, None, None)

    def insert(self, key: int, value: tuple[Any, ...]) -> None:
        if key not in self.rows:
            self.rows[key] = (key, *value)
            self.emit("c", None, self.rows[key])

    def update(self, key: int, value: tuple[Any, ...], unchanged: bool) -> None:
        if key in self.rows:
            old = self.rows[key]
            self.rows[key] = (key, value[0], old[2] if unchanged else value[1], value[2])
            self.emit("u", None, self._sent(self.rows[key], unchanged))

    def _sent(self, row: Row, unchanged: bool) -> Row:
        return (*row[:2], TOKEN, row[3]) if unchanged else row

    def delete(self, key: int) -> None:
        if self.rows.pop(key, None) is not None:
            self.emit("d", self._key_only(key), None)

    def rekey(self, key: int, new: int, value: tuple[Any, ...], unchanged: bool) -> None:
        if key in self.rows and new not in self.rows:
            old = self.rows.pop(key)
            row = (new, value[0], old[2] if unchanged else value[1], value[2])
            # Both halves are one change: no state of the source lies between them.
            self.rows[new] = row
            self.emit("d", self._key_only(key), None, NEW_KEY)
            self.emit("c", None, self._sent(row, unchanged), OLD_KEY)

    def swap(self, one: int, other: int, unchanged: bool) -> None:
        if one in self.rows and other in self.rows and one != other:
            for a, b in ((one, -1), (other, one), (-1, other)):
                row = self.rows[a]
                self.rekey(a, b, (row[1], row[2], row[3]), unchanged)

    def truncate(self) -> None:
        self.rows.clear()
        self.emit("t", None, None)


def write(rows: dict[Key, Row], step: KeyedBatch, mode: str) -> list[Key]:
    """Merge a batch as ``merge.Target`` does, by ``upsert`` or ``replace``; keys that were absent."""
    replace = mode == "replace" or step.moved
    absent: list[Key] = []
    staged = [((row[0],), row) for row in step.rows]
    partial = list(step.partial)
    if replace:
        partial, absent = _filled(rows, partial)
        staged += [((row[0],), row) for row, _ in partial]
    for key in step.gone:
        rows.pop(key, None)
    for key, row in staged:
        rows[key] = row
    if not replace:
        filled, absent = _filled(rows, partial)
        for row, origin in filled:
            rows[origin] = row
    return absent


def _filled(
    rows: dict[Key, Row], partial: Sequence[tuple[Row, Key]]
) -> tuple[list[tuple[Row, Key]], list[Key]]:
    found, absent = [], []
    for row, origin in partial:
        if origin in rows:
            old = rows[origin]
            found.append((tuple(o if v is MISSING else v for v, o in zip(row, old, strict=True)), origin))
        else:
            absent.append((row[0],))
    return found, absent


@dataclass
class Target:
    """The target of a keyed table; ``now`` is what the source holds while a batch is applied."""

    rows: dict[Key, Row]
    applier: TableApply

    def take(self, records: Sequence[Record], now: dict[int, Row], mode: str) -> int:
        """Apply what can be applied of the records; how many that were."""
        batch = self.applier.batch(records)
        if batch is None:
            return 0
        for step in batch.steps:
            if step is None:
                self.rows.clear()
                continue
            assert isinstance(step, KeyedBatch)
            for part in self._steps(step, now, mode):
                absent = write(self.rows, part, mode)
                assert not absent, "nobody else writes into the target"
        self.applier.progress.next_offset = batch.next_offset
        return len(batch.messages)

    def _steps(self, step: KeyedBatch, now: dict[int, Row], mode: str) -> Iterable[KeyedBatch]:
        def fetch(columns: Sequence[int], keys: Sequence[Key]) -> Iterator[tuple[Key, Row]]:
            return ((k, tuple(now[k[0]][c] for c in columns)) for k in keys if k[0] in now)

        if not (self.applier.decoder.reread and step.partial):
            return [step]
        read = pieces(self.applier.decoder, step, fetch)
        return read if mode == "upsert" else [joined(read)]


def take_keyless(rows: Counter[Row], applier: TableApply, records: Sequence[Record]) -> None:
    """Apply all records to a keyless target; a row to remove has to be there."""
    batch = applier.batch(records)
    assert batch is not None
    assert len(batch.messages) == len(records)
    for step in batch.steps:
        if step is None:
            rows.clear()
            continue
        assert isinstance(step, KeylessBatch)
        for row, count in step.removed:
            assert rows[row] >= count, f"{row} is not there"
            rows[row] -= count
        for row, count in step.added:
            rows[row] += count
