"""Folding: many events of one table become the least that has to be written.

Within a batch the last state of each key wins; values an event leaves out are kept from earlier in the batch
or stay out; changes of key are followed through chains and swaps. Pure: no driver, no Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from headrace.engines.model import MISSING, Key, KeyedBatch, KeylessBatch, Row

Image = Mapping[str, Any]


class Decoder(Protocol):
    """What folding needs of an engine's decoder."""

    key_of: Callable[[Row], Key]

    def row(self, image: Image) -> Row:
        """Values of the written columns, MISSING where the event carries none."""

    def key(self, image: Image) -> Key:
        """The key of an image."""

    def with_key(self, row: Row, key: Key) -> Row:
        """The row with the MISSING parts of its key taken from ``key``."""


class _Gone:
    def __repr__(self) -> str:
        return "GONE"


_GONE: Final = _Gone()


class KeyedFold:
    """Folds the events of a keyed table."""

    def __init__(self, decoder: Decoder) -> None:
        self._row, self._key, self._key_of = decoder.row, decoder.key, decoder.key_of
        self._with_key = decoder.with_key
        self._state: dict[Key, Row | _Gone] = {}
        self._origin: dict[Key, Key | None] = {}
        self._pending: Key | None = None

    @property
    def pending(self) -> bool:
        """The first half of a change of key was seen, the second not yet: no batch may end here."""
        return self._pending is not None

    @property
    def size(self) -> int:
        """Keys touched so far."""
        return len(self._state)

    def write(self, after: Image, before: Image | None, moved: bool) -> None:
        """A row was created or updated. moved: it is the second half of a change of key."""
        row = self._row(after)
        key = self._key_of(row)
        if before is None and not moved and MISSING not in row:
            self._state[key] = row
            return
        old = key
        if moved and self._pending is not None:
            old, self._pending = self._pending, None
        elif before is not None:
            old = self._key(before)
            if None in old:
                old = key
        if MISSING in key:
            # A large key that did not change is out of line too; the old image has it.
            row = self._with_key(row, old)
            key = self._key_of(row)
        if old != key:
            self._move(old, key, row)
        elif MISSING in row:
            self._partial(key, row)
        else:
            self._state[key] = row

    def remove(self, before: Image, moving: bool) -> None:
        """A row was deleted. moving: it is the first half of a change of key."""
        key = self._key(before)
        if moving:
            self._pending = key
            return
        self._state[key] = _GONE
        self._origin.pop(key, None)

    def _partial(self, key: Key, row: Row) -> None:
        previous = self._state.get(key)
        if isinstance(previous, tuple):
            row = _filled(row, previous)
        elif previous is _GONE:
            # The row was deleted and is back: what is missing is nowhere in the target.
            self._origin[key] = None
        self._state[key] = row

    def _move(self, old: Key, key: Key, row: Row) -> None:
        previous = self._state.get(old)
        origin = self._origin.pop(old, old)
        if isinstance(previous, tuple):
            row = _filled(row, previous)
        elif previous is _GONE:
            origin = None
        self._state[old] = _GONE
        self._state[key] = row
        if MISSING in row:
            self._origin[key] = origin
        else:
            self._origin.pop(key, None)

    def batch(self) -> KeyedBatch:
        """What has to be written."""
        out = KeyedBatch()
        for key, row in self._state.items():
            if isinstance(row, _Gone):
                out.gone.append(key)
            elif MISSING in row:
                origin = self._origin.get(key, key)
                if origin is None:
                    out.gone.append(key)
                # A key that no row can have stands for "nowhere in the target".
                out.partial.append((row, origin if origin is not None else (None,) * len(key)))
                out.moved = out.moved or (origin is not None and origin != key)
            else:
                out.rows.append(row)
        return out


def _filled(row: Row, previous: Row) -> Row:
    if MISSING not in row:
        return row
    return tuple(p if v is MISSING else v for v, p in zip(row, previous, strict=True))


class KeylessFold:
    """Folds the events of a keyless table: equal rows cancel out."""

    def __init__(self, decoder: Decoder) -> None:
        self._row = decoder.row
        self._delta: dict[Row, int] = {}

    pending = False

    @property
    def size(self) -> int:
        """Distinct rows touched so far."""
        return len(self._delta)

    def write(self, after: Image, before: Image | None, moved: bool) -> None:
        """A row was created or updated; the old image of an update is whole (replica identity FULL)."""
        if before is not None and not moved:
            self._count(before, -1)
        self._count(after, 1)

    def remove(self, before: Image, moving: bool) -> None:
        """A row was deleted (also as the first half of a change of what Debezium takes for a key)."""
        self._count(before, -1)

    def _count(self, image: Image, by: int) -> None:
        row = self._row(image)
        self._delta[row] = self._delta.get(row, 0) + by

    def batch(self) -> KeylessBatch:
        """What has to be written."""
        out = KeylessBatch()
        for row, count in self._delta.items():
            if count > 0:
                out.added.append((row, count))
            elif count < 0:
                out.removed.append((row, -count))
        return out
