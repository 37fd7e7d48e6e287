"""One table as the applier holds it: its route, where it stands, and how its records become a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Message

from headrace.apply.fold import KeyedFold, KeylessFold
from headrace.engines.model import MISSING, Key, KeyedBatch, KeylessBatch, Progress, Route
from headrace.engines.postgres import cut as cuts
from headrace.engines.postgres.events import Decoder
from headrace.engines.postgres.masks import mask_function
from headrace.errors import Precondition

OLD_KEY, NEW_KEY = "__debezium.oldkey", "__debezium.newkey"


@dataclass(slots=True)
class Batch:
    """What a run of records folds into, and the progress it stands for.

    steps: folded batches and truncates (None) in order. messages: the records it was made of.
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


@dataclass(slots=True)
class TableApply:
    """State of one live table.

    reached: every record below this offset was applied (control records included). kept: records read but
    not yet applied. stalled: since when (monotonic seconds) the kept records have been refused.
    """

    route: Route
    progress: Progress
    token: str
    lenient: frozenset[str] = frozenset()
    reached: int = 0
    kept: list[Message] = field(default_factory=list)
    stalled: float | None = None
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
        end = 0
        safe = (0, self.progress.last_offset, position, 0)
        for index, message in enumerate(messages):
            value = message.value()
            if value is not None:
                event = orjson.loads(value)
                source = event["source"]
                at = source["lsn"]
                if at < self._limit and self._covered is not None and self._covered(at, source["txId"]):
                    covered += 1
                else:
                    fold = self._feed(fold, steps, event, message)
                    events += 1
                    first_ts = first_ts or source["ts_ms"]
                position, ts_ms = at, source["ts_ms"]
            if not fold.pending:
                end = index + 1
                safe = (end, message.offset() or 0, position, ts_ms)
        if end == 0:
            return None
        if end < len(messages):
            # The second half of a change of key is still to come: close before the first.
            return self.batch(messages[:end])
        steps.append(fold.batch())
        return Batch(steps, safe[1] + 1, safe[1], safe[2], safe[3], events, first_ts, covered, messages[:end])

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
        if op == "u":
            fold.write(event["after"], event["before"], False)
        elif op in ("c", "r"):
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


def fill_reread(
    route: Route,
    batch: KeyedBatch,
    columns: Sequence[int],
    values: Mapping[Key, tuple[str | None, ...]],
    keys: Mapping[int, Key],
) -> KeyedBatch:
    """Put re-read values into the partial rows of a batch.

    keys: key of each partial row by its index. A row the source no longer has stays partial (a later event
    tells what became of it), or goes when a row filter decides which rows there are.
    """
    out = KeyedBatch(rows=batch.rows, gone=batch.gone, moved=False)
    for index, (row, origin) in enumerate(batch.partial):
        key = keys[index]
        found = values.get(key)
        if found is None:
            if route.where is not None:
                out.gone.append(key)
            else:
                out.partial.append((row, origin))
                out.moved = out.moved or (origin != key and None not in origin)
            continue
        filled = list(row)
        for position, value in zip(columns, found, strict=True):
            filled[position] = value
        _place(out, tuple(filled), key, origin)
    return out


def _place(out: KeyedBatch, row: tuple[Any, ...], key: Key, origin: Key) -> None:

    if MISSING in row:
        out.partial.append((row, origin))
        out.moved = out.moved or (origin != key and None not in origin)
    else:
        out.rows.append(row)
