"""Merging two ordered streams of rows, block by block, with sets instead of a loop over rows."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from headrace.engines.compare import Key, StreamRow, weight
from headrace.verify.report import Totals


@dataclass(slots=True)
class Window:
    """What a stretch of keys showed: totals of the rows both sides have, and the keys where they differ."""

    agreed: Totals
    differing: set[Key]


@dataclass(slots=True)
class _Reader:
    """One stream. Of the rows read, only those before ``limit`` are known to be complete."""

    blocks: Iterator[Sequence[StreamRow]]
    rows: list[StreamRow] = field(default_factory=list)
    ended: bool = False

    def more(self) -> None:
        block = next(self.blocks, None)
        if block is None:
            self.ended = True
        else:
            self.rows.extend(block)

    @property
    def limit(self) -> Key | None:
        """Rows of this key may go on in the next block; None at the end of the stream."""
        return None if self.ended else _key(self.rows[-1])

    def take(self, bound: Key | None) -> list[StreamRow]:
        """Remove and return the rows before ``bound``; all without one."""
        end = len(self.rows) if bound is None else bisect_left(self.rows, bound, key=_key)
        taken, self.rows = self.rows[:end], self.rows[end:]
        return taken


def windows(source: Iterator[Sequence[StreamRow]], target: Iterator[Sequence[StreamRow]]) -> Iterator[Window]:
    """Compare two streams in the same order. Holds about two blocks of each."""
    left, right = _Reader(source), _Reader(target)
    while True:
        for reader in (left, right):
            if not reader.rows and not reader.ended:
                reader.more()
        bound = _lower(left.limit, right.limit)
        ours, theirs = left.take(bound), right.take(bound)
        if ours or theirs:
            yield _compared(ours, theirs)
        if bound is None:
            return
        for reader in (left, right):
            if reader.limit == bound:
                reader.more()


def _lower(one: Key | None, other: Key | None) -> Key | None:
    if one is None or other is None:
        return one or other
    return min(one, other)


def _compared(ours: list[StreamRow], theirs: list[StreamRow]) -> Window:
    mine, yours = set(ours), set(theirs)
    differing = {_key(row) for row in mine ^ yours}
    if len(mine) != len(ours) or len(yours) != len(theirs):
        differing |= _repeated(ours) | _repeated(theirs)
    agreed = mine & yours
    if differing:
        agreed = {row for row in agreed if _key(row) not in differing}
    return Window(_totals(agreed), differing)


def _repeated(rows: list[StreamRow]) -> set[Key]:
    """Keys that stand for several rows, which a set would hide."""
    return {key for key, count in Counter(map(_key, rows)).items() if count > 1}


def _totals(rows: set[StreamRow]) -> Totals:
    return Totals(
        sum(cast(int, row[-1]) for row in rows),
        sum(weight(cast(str, row[-2])) * cast(int, row[-1]) for row in rows),
    )


def _key(row: StreamRow) -> Key:
    return cast(Key, row[:-2])
