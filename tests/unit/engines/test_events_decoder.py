"""From Debezium's form of a value to text that PostgreSQL reads as the same value; what an event leaves out."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.model import MISSING, Column, Mapped, Route, Table, TableName
from headrace.engines.postgres.events import Decoder, SchemaDrift, codec
from headrace.engines.postgres.masks import mask_function
from headrace.errors import Precondition

TOKEN = "token-4711"


def column(base: str, number: int = 2, **more: Any) -> Column:
    return Column(more.pop("name", "v"), base, base, more.pop("category", "bX"), number, **more)


def decoder(
    *columns: Column, masks: dict[str, str] | None = None, key: tuple[str, ...] = ("id",), **more: Any
) -> Decoder:
    every = (column("int4", 1, name="id", nullable=False), *columns)
    route = Route(
        Table(TableName("s", "t"), 1, every, key),
        TableName("s", "t"),
        tuple(Mapped(c, c.name, (masks or {}).get(c.name)) for c in every),
        more.pop("where", None),
    )
    return Decoder(route, TOKEN, lambda m: mask_function(m.mask) if m.mask else None, **more)


def text(base: str, value: Any, **more: Any) -> Any:
    return decoder(column(base, **more)).row({"id": 1, "v": value})[1]


def iso_year(year: int) -> str:
    """Java's year: signed beyond four digits, 0 is 1 BC."""
    return f"+{year}" if year > 9999 else f"-{-year:04d}" if year < 0 else f"{year:04d}"


def printed(year: int, rest: str) -> str:
    return f"{year:04d}{rest}" if year > 0 else f"{1 - year:04d}{rest} BC"


@given(st.integers(-4712, 294276), st.integers(1, 12), st.integers(1, 28), st.integers(0, 86_399_999_999))
def test_dates_and_timestamps(year: int, month: int, day: int, micros: int) -> None:
    days = f"-{month:02d}-{day:02d}"
    seconds, fraction = divmod(micros, 1_000_000)
    clock = f"T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}Z"
    assert text("date", iso_year(year) + days + "Z") == printed(year, days)
    for base in ("timestamp", "timestamptz"):
        assert text(base, iso_year(year) + days + clock) == printed(year, days + clock)


@pytest.mark.parametrize(
    ("base", "value", "result"),
    [
        ("date", "+5877611-06-21Z", "infinity"),
        ("date", "-5877611-06-22Z", "-infinity"),
        ("date", "-5877641-06-24Z", "-infinity"),
        ("date", "+5874897-12-31Z", "5874897-12-31"),
        ("date", "0000-12-31Z", "0001-12-31 BC"),
        ("timestamp", "infinity", "infinity"),
        ("timestamptz", "-infinity", "-infinity"),
        ("timestamp", "+292278994-08-16T23:00:00Z", "infinity"),
        ("timestamp", "-292275055-05-16T16:47:04Z", "-infinity"),
        ("timestamp", "0000-12-31T23:59:59.999999Z", "0001-12-31T23:59:59.999999Z BC"),
        ("numeric", "NAN", "NaN"),
        ("numeric", "POSITIVE_INFINITY", "Infinity"),
        ("numeric", "NEGATIVE_INFINITY", "-Infinity"),
        ("numeric", "1.00", "1.00"),
        ("bit", True, "1"),
        ("float8", "NaN", "NaN"),
    ],
)
def test_special_values(base: str, value: Any, result: str) -> None:
    assert text(base, value) == result


@given(st.binary(max_size=300))
def test_bytes(value: bytes) -> None:
    assert bytes.fromhex(text("bytea", base64.b64encode(value).decode())[2:]) == value


@given(st.floats())
def test_floats_to_the_bit(value: float) -> None:
    sent: Any = (
        value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    )
    found = float(text("float8", sent))
    assert struct.pack("d", found) == struct.pack("d", value) or (math.isnan(found) and math.isnan(value))


@given(st.text("01", min_size=2, max_size=200))
def test_bits(value: str) -> None:
    # Debezium's bytes are little-endian.
    sent = base64.b64encode(int(value, 2).to_bytes((len(value) + 7) // 8, "little")).decode()
    assert text("bit", sent, typmod=len(value)) == value


@pytest.mark.parametrize("base", ["text", "numeric", "jsonb", "bit", "citext", "numrange", "mood"])
def test_an_unchanged_value_is_missing(base: str) -> None:
    assert text(base, TOKEN, typmod=9) is MISSING


def test_an_unchanged_bytea_is_missing_in_its_own_encoding() -> None:
    assert text("bytea", base64.b64encode(TOKEN.encode()).decode()) is MISSING


def test_what_is_reread_need_not_be_in_the_event() -> None:
    lossy = column("_varbit", carriage="reread")
    assert decoder(lossy).row({"id": 1}) == (1, MISSING)
    assert decoder(lossy).row({"id": 1, "v": None}) == (1, MISSING)
    assert decoder(column("text"), where="v > 'a'").row({"id": 1, "v": "b"}) == (1, MISSING)


def test_a_missing_field_is_not_null() -> None:
    with pytest.raises(SchemaDrift, match="v"):
        decoder(column("text")).row({"id": 1})
    assert decoder(column("text"), lenient=frozenset("v")).row({"id": 1}) == (1, MISSING)
    with pytest.raises(SchemaDrift, match="new"):
        decoder(column("text")).row({"id": 1, "v": "x", "new": 2})


def test_a_mask_hides_what_the_type_prints_and_never_the_unchanged() -> None:
    hashed = {"v": "sha256"}
    of = mask_function("sha256")
    assert decoder(column("bool"), masks=hashed).row({"id": 1, "v": True})[1] == of("t")
    assert decoder(column("int8"), masks=hashed).row({"id": 1, "v": -5})[1] == of("-5")
    assert decoder(column("text"), masks=hashed).row({"id": 1, "v": TOKEN})[1] is MISSING
    assert decoder(column("text"), masks=hashed).row({"id": 1, "v": None})[1] is None
    assert decoder(column("float8"), masks=hashed).row({"id": 1, "v": 0.1})[1] is MISSING


def test_without_a_key_nothing_can_be_reread() -> None:
    for refused in ({"where": "v > 1"}, {"masks": {"v": "sha256"}}):
        with pytest.raises(Precondition) as caught:
            decoder(column("float8"), key=(), **refused)
        assert caught.value.code == "keyless_type"


def test_a_large_key_is_taken_from_the_old_image() -> None:
    read = decoder(column("text"), key=("id", "v"))
    row = read.row({"id": 1, "v": TOKEN})
    assert read.with_key(row, read.key({"id": 1, "v": "long"})) == (1, "long")


def test_values_that_pass_as_they_are_have_no_codec() -> None:
    assert codec(column("text")) is None
