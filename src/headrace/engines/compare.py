"""Neutral words of comparing two sides of a table, and what an engine offers for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

# The key of a row as text, one part per key column; of a keyless table: the hash of the whole row.
Key = tuple[str, ...]

# One row of a stream: the parts of its key, then the hash of the row (32 hex digits), then how many there are.
StreamRow = tuple[str | int, ...]

# What stands under one key: (hash of the row, how many), sorted. () is nothing, one pair is the usual case.
Version = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at a key saw.

    stamp: changes whenever the rows under the key are written anew, even with the same values; 0 when
    there is nothing.
    """

    version: Version
    stamp: int


ABSENT = Found((), 0)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Count and sum of ``weight`` of the rows whose key hashes to the same number."""

    rows: int
    checksum: int


def weight(row_hash: str) -> int:
    """What one row adds to a checksum: the first 120 bits of its MD5 (two pieces of 60, as SQL sums them)."""
    return int(row_hash[:30], 16)


class Side(Protocol):
    """One side of one table, as an engine offers it. Every call sees committed data of its own moment.

    All raise HeadraceError, with the driver's error translated.
    """

    def estimate(self) -> int:
        """About how many rows there are."""

    def buckets(self, count: int) -> Iterator[tuple[int, Bucket]]:
        """Every non-empty bucket of ``count`` (a power of two, at most 65536), from one snapshot."""

    def stream(
        self, count: int, wanted: Sequence[int]
    ) -> AbstractContextManager[Iterator[Sequence[StreamRow]]]:
        """Blocks of rows of the wanted buckets in the byte order of their keys' UTF-8, from one snapshot.

        The snapshot is taken on entering.
        """

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Found]:
        """What stands under these keys now; absent ones are left out."""

    def columns(self, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """For each key one hash per compared column, in the order of ``Pair.names``; absent keys left out."""

    def excerpt(self, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        """For each key the values of the compared columns as text for people, long ones cut."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two sides of one table.

    names: the compared columns in source names. key: the key columns in source names, () when keyless.
    repairable: whether the key's text, as compared, finds the row on the source (a masked key does not).
    """

    source: Side
    target: Side
    names: tuple[str, ...]
    key: tuple[str, ...]
    repairable: bool
