"""One table as the applier holds it: its route, where it stands, and how its records become a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Message

from headrace.apply.fold import KeyedFold, KeylessFold
from headrace.engines.model import MISSING, Key, KeyedBatch, KeylessBatch, Progress, Route, Row
from headrace.engines.postgres import cut as cuts
from headrace.engines.postgres.events import Decoder
from headrace.engines.postgres.masks import mask_function
from headrace.errors import Precondition

# What one query asks for, and how much of its answer is held before it is written.
KEYS_PER_QUERY = 2000
PIECE_BYTES = 8 * 1024 * 1024

OLD_KEY, NEW_KEY = "__debezium.oldkey", "__debezium.newkey"


@dataclass(slots=True)
class Batch:
    """What a run of records folds into, and the progress it stands for.

    steps: folded batches and truncates (None) in order. messages: the records it was made of. xids: the source's
    transactions they come from.
    """

    steps: list[KeyedBatch | KeylessBatch | None]
    next_offset: int
    last_offset: int
    last_position: int
    ts_ms: int
    events: int
    first_ts_ms: int
    covered: int
    messages: Sequence[Message]
    xids: frozenset[int]


@dataclass(slots=True)
class TableApply:
    """State of one live table.

    reached: every record below this offset was applied (control records included). kept: records read but
    not yet applied. stalled: since when (monotonic seconds) the kept records have been refused. recent: source
    transactions that were applied last.
    """

    route: Route
    progress: Progress
    token: str
    lenient: frozenset[str] = frozenset()
    reached: int = 0
    kept: list[Message] = field(default_factory=list)
    stalled: float | None = None
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=20_000))
    decoder: Decoder = field(init=False)
    _covered: Callable[[int, int], bool] | None = field(init=False, default=None)
    _limit: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        self.rebuild()
        self.reached = self.progress.next_offset

    def rebuild(self) -> None:
        """Make the decoder anew after the route changed."""
        self.decoder = Decoder(
            self.route, self.token, lambda m: mask_function(m.mask) if m.mask else None, self.lenient
        )
        cut = self.progress.cut
        self._covered = cuts.coverage(cut) if cut else None
        self._limit = cut.position if cut else -1

    def batch(self, messages: Sequence[Message]) -> Batch | None:
        """Fold records, in order, into a batch; None when nothing can be closed yet.

        Raises SchemaDrift when a record does not fit the known columns; nothing is lost then.
        """
        steps: list[KeyedBatch | KeylessBatch | None] = []
        fold: KeyedFold | KeylessFold = self._new_fold()
        position, ts_ms, events, covered, first_ts = self.progress.last_position, 0, 0, 0, 0
        limit, is_covered, loads = self._limit, self._covered, orjson.loads
        half: int | None = None
        xids: set[int] = set()
        for index, message in enumerate(messages):
            value = message.value()
            if value is None:
                continue
            event = loads(value)
            source = event["source"]
            position, ts_ms = source["lsn"], source["ts_ms"]
            if position < limit and is_covered is not None and is_covered(position, source["txId"]):
                covered += 1
                continue
            events += 1
            xids.add(source["txId"])
            first_ts = first_ts or ts_ms
            if event["op"] == "u":
                fold.write(event["after"], event["before"], False)
            else:
                fold = self._feed(fold, steps, event, message)
                half = index if fold.pending else None
        if half is not None:
            # The second half of a change of key is still to come: close before the first.
            return self.batch(messages[:half])
        if not messages:
            return None
        steps.append(fold.batch())
        last = messages[-1].offset() or 0
        return Batch(
            steps, last + 1, last, position, ts_ms, events, first_ts, covered, list(messages), frozenset(xids)
        )

    def _new_fold(self) -> KeyedFold | KeylessFold:
        return KeyedFold(self.decoder) if self.route.key else KeylessFold(self.decoder)

    def _feed(
        self,
        fold: KeyedFold | KeylessFold,
        steps: list[KeyedBatch | KeylessBatch | None],
        event: dict[str, Any],
        message: Message,
    ) -> KeyedFold | KeylessFold:
        op = event["op"]
        if op in ("c", "r"):
            fold.write(event["after"], event["before"], _has(message, OLD_KEY))
        elif op == "d":
            if event["before"] is None:
                raise Precondition(
                    "no_old_image",
                    f"a delete of {self.route.source.name} carries no old row",
                    "Its replica identity was changed; resync the table.",
                )
            fold.remove(event["before"], _has(message, NEW_KEY))
        elif op == "t":
            steps += [fold.batch(), None]
            return self._new_fold()
        else:
            raise Precondition("unknown_event", f"event with operation {op!r}", "Report this.")
        return fold


def _has(message: Message, header: str) -> bool:
    headers = message.headers()
    return bool(headers) and header in dict(headers)  # type: ignore[arg-type]


def pieces(
    decoder: Decoder,
    step: KeyedBatch,
    fetch: Callable[[Sequence[int], Sequence[Key]], Iterable[tuple[Key, tuple[str | None, ...]]]],
) -> Iterator[KeyedBatch]:
    """The batch in pieces of bounded size, what its partial rows lack being fetched from the source.

    Everything they lack, not only what has to be re-read: a row that was taken from the source is from the
    future, and an unchanged value must not be taken from it for a row that has another key by then. A row the
    source no longer has goes; the event that removed it, or moved it elsewhere, is still to come.
    """
    yield KeyedBatch(rows=step.rows, gone=step.gone)
    groups: dict[tuple[int, ...], dict[Key, Row]] = {}
    for row, _ in step.partial:
        lacking = tuple(i for i, value in enumerate(row) if value is MISSING)
        groups.setdefault(lacking, {})[decoder.key_of(row)] = row
    for lacking, rows in groups.items():
        for keys in batched(list(rows), KEYS_PER_QUERY):
            left = set(keys)
            piece = KeyedBatch()
            size = 0
            for key, values in fetch(lacking, keys):
                left.discard(key)
                piece.rows.append(_filled(rows[key], lacking, values))
                size += sum(len(value) for value in values if value is not None)
                if size > PIECE_BYTES:
                    yield piece
                    piece, size = KeyedBatch(), 0
            piece.gone += left
            yield piece


def joined(parts: Iterable[KeyedBatch]) -> KeyedBatch:
    """Pieces put together again."""
    out = KeyedBatch()
    for part in parts:
        out.rows += part.rows
        out.gone += part.gone
    return out


def _filled(row: Row, lacking: Sequence[int], values: Sequence[str | None]) -> Row:
    filled = list(row)
    for position, value in zip(lacking, values, strict=True):
        filled[position] = value
    return tuple(filled)


def batched(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    """Runs of at most ``size`` keys."""
    return (keys[start : start + size] for start in range(0, len(keys), size))
