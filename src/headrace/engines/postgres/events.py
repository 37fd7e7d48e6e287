"""Debezium's change events of PostgreSQL, turned into rows that PostgreSQL reads back without loss.

Each mapping is what Debezium 3.7 was seen to send (`isostring`, decimals as string); a value that passes
unchanged has no entry. ``MISSING`` stands for a value that the event does not carry.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from headrace.engines.model import MISSING, Column, Key, Mapped, Route, Row
from headrace.errors import Precondition

Value = Any
Image = Mapping[str, Any]

_NUMERIC = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}


class SchemaDrift(Precondition):
    """An event has fields that the known columns do not explain."""


def _numeric(value: str) -> str:
    return _NUMERIC.get(value, value)


def _date(value: str) -> str:
    # Signs sort before digits: this is a year from 1 to 9999.
    if value > "0001":
        return value.rstrip("Z")
    if value.startswith("+58776"):
        return "infinity"
    if value.startswith("-58776"):
        return "-infinity"
    return _far_year(value.rstrip("Z"))


def _timestamp(value: str) -> str:
    if value > "0001":
        return value
    if value.startswith("+29227"):
        return "infinity"
    if value.startswith("-29227"):
        return "-infinity"
    return _far_year(value)


def _far_year(value: str) -> str:
    # ISO 8601 year 0 is 1 BC; PostgreSQL writes the era behind.
    if value[0] == "+":
        return value[1:]
    if value == "-infinity":
        return value
    year, _, tail = value.removeprefix("-").partition("-")
    return f"{int(year) + 1:04d}-{tail} BC"


def _bytea(value: str) -> str:
    return "\\x" + base64.b64decode(value).hex()


def _float(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value)


def _bit(length: int) -> Callable[[Value], str]:
    def decode(value: Value) -> str:
        if isinstance(value, bool):
            return "1" if value else "0"
        return format(int.from_bytes(base64.b64decode(value), "little"), f"0{length}b")

    return decode


def codec(column: Column) -> Callable[[Value], Value] | None:
    """What turns an event's value of this column into PostgreSQL's input text; None when it passes as it is."""
    match column.base:
        case "numeric":
            return _numeric
        case "date":
            return _date
        case "timestamp" | "timestamptz":
            return _timestamp
        case "bytea":
            return _bytea
        case "float4" | "float8":
            return _float
        case "bit":
            return _bit(max(column.typmod, 1))
        case _:
            return None


# Types whose decoded value is, to the letter, what PostgreSQL prints: a hash of it is the hash that the load made.
AS_PRINTED = frozenset("bool int2 int4 int8 oid text varchar bpchar name citext uuid json bytea date".split())

# Types whose values are never stored out of line, so that they cannot be unavailable.
_INLINE = frozenset(
    """bool int2 int4 int8 float4 float8 money oid name uuid date timestamp timestamptz interval
    inet cidr macaddr macaddr8""".split()
)


class Decoder:
    """Reads the images of one route.

    columns: written columns in order; a row has a value for each. lenient: columns added meanwhile, which
    older events lack; their value is then MISSING.
    """

    def __init__(
        self,
        route: Route,
        token: str,
        masks: Callable[[Mapped], Callable[[str | None], str | None] | None],
        lenient: frozenset[str] = frozenset(),
    ) -> None:
        self.columns = route.written
        self._lenient = lenient
        names = tuple(m.source.name for m in self.columns)
        self._known = {c.name for c in route.source.columns}
        self._lengths: set[int] = set()
        key = route.key
        self.keyed = bool(key)
        positions = [names.index(k) for k in key]
        self._key_positions = positions
        self.key_of: Callable[[Row], Key] = (
            itemgetter(*positions) if len(positions) > 1 else _at(positions[0] if positions else 0)
        )
        self._key_fixes = [(k, codec(route.source.column(k))) for k in key]
        whole = route.where is not None
        keyset = set(key)
        # A row filter is decided by the source: every other column is re-read under it.
        self.reread = tuple(
            i
            for i, m in enumerate(self.columns)
            if m.source.name not in keyset and (whole or m.source.carriage == "reread" or _unhashable(m))
        )
        if self.reread and not key:
            raise _needs_key(route, [self.columns[i].source.name for i in self.reread])
        self._carried = [i for i in range(len(names)) if i not in self.reread]
        self._names = carried = tuple(names[i] for i in self._carried)
        self._get = itemgetter(*carried) if len(carried) > 1 else _one(carried[0])
        self._fixes = self._make_fixes(masks)
        self._tokens = self._make_tokens(token)

    def _make_fixes(
        self, masks: Callable[[Mapped], Callable[[str | None], str | None] | None]
    ) -> list[tuple[int, Callable[[Value], Value]]]:
        fixes: list[tuple[int, Callable[[Value], Value]]] = []
        for i, at in enumerate(self._carried):
            mapped = self.columns[at]
            decode, mask = codec(mapped.source), masks(mapped)
            if mask is not None:
                fixes.append((i, _masked(decode, mask)))
            elif decode is not None:
                fixes.append((i, decode))
        return fixes

    def _make_tokens(self, token: str) -> tuple[str, ...]:
        bases = {self.columns[i].source.base for i in self._carried} - _INLINE
        tokens = [token] if bases else []
        if "bytea" in bases:
            tokens.append(base64.b64encode(token.encode()).decode())
        return tuple(tokens)

    def row(self, image: Image) -> Row:
        """The row of an image, with MISSING for what is unavailable or has to be re-read.

        Raises SchemaDrift when the image has fields unknown here, or lacks one that is not lenient.
        """
        if len(image) not in self._lengths:
            self._check(image)
        try:
            values: Row = self._get(image)
        except KeyError:
            values = self._leniently(image)
        unavailable: list[int] | None = None
        for token in self._tokens:
            if token in values:
                unavailable = [i for i, v in enumerate(values) if v in self._tokens]
                break
        if not self._fixes and unavailable is None:
            return self._spread(values) if self.reread else values
        row = list(values)
        for i in unavailable or ():
            row[i] = MISSING
        for i, fix in self._fixes:
            value = row[i]
            if value is not None and value is not MISSING:
                row[i] = fix(value)
        return self._spread(row) if self.reread else tuple(row)

    def _spread(self, values: Sequence[Value]) -> Row:
        row: list[Value] = [MISSING] * len(self.columns)
        for position, value in zip(self._carried, values, strict=True):
            row[position] = value
        return tuple(row)

    def key(self, image: Image) -> Key:
        """The key of an image, of which nothing else need be there (the old image of a change)."""
        return tuple(
            image[name] if fix is None or image[name] is None else fix(image[name])
            for name, fix in self._key_fixes
        )

    def with_key(self, row: Row, key: Key) -> Row:
        """The row with the MISSING parts of its key taken from ``key``."""
        values = list(row)
        for position, value in zip(self._key_positions, key, strict=True):
            if values[position] is MISSING:
                values[position] = value
        return tuple(values)

    def _check(self, image: Image) -> None:
        if unknown := [name for name in image if name not in self._known]:
            raise SchemaDrift(
                "unknown_field",
                f"events have columns that were not known: {', '.join(sorted(unknown))}",
                "The table changed on the source.",
                {"columns": sorted(unknown)},
            )
        self._lengths.add(len(image))

    def _leniently(self, image: Image) -> Row:
        if lacking := [n for n in self._names if n not in image and n not in self._lenient]:
            raise SchemaDrift(
                "missing_field",
                f"events lack columns that were known: {', '.join(lacking)}",
                "The table changed on the source.",
                {"columns": lacking},
            )
        return tuple(image.get(n, MISSING) for n in self._names)


def _unhashable(mapped: Mapped) -> bool:
    source = mapped.source
    return mapped.mask == "sha256" and source.base not in AS_PRINTED and not source.category.startswith("e")


def _needs_key(route: Route, columns: Sequence[str]) -> Precondition:
    return Precondition(
        "keyless_type",
        f"{route.source.name} has no usable key, and {', '.join(columns)} can only be carried by key",
        "Give the table a primary key; or exclude the columns, mask them otherwise, or drop the row filter.",
        {"columns": list(columns)},
    )


def _one(name: str) -> Callable[[Image], tuple[Value]]:
    def get(image: Image) -> tuple[Value]:
        return (image[name],)

    return get


def _at(position: int) -> Callable[[Row], Key]:
    def get(row: Row) -> Key:
        return (row[position],)

    return get


def _masked(
    decode: Callable[[Value], Value] | None, mask: Callable[[str | None], str | None]
) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        text = decode(value) if decode else value
        if isinstance(text, bool):
            text = "t" if text else "f"
        return mask(text if isinstance(text, str) else str(text))

    return apply
