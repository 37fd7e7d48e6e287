"""Avro read within bounds: what fastavro writes, and what nobody should have written."""

from __future__ import annotations

import contextlib
import io
import json
import math
import struct
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.capture import avro, decoding

NODE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
ENDLESS = {"type": "record", "name": "N", "fields": [{"name": "n", "type": "N"}]}
TREE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": {"type": "array", "items": "N"}}]}


def written(schema: Any, value: Any) -> bytes:
    """As fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def long(number: int) -> bytes:
    """Avro's form of a number."""
    return written("long", number)


def read(schema: Any, data: bytes, values: int = 100_000) -> Any:
    """By the code under test, from the schema's text."""
    return avro.read(data, avro.parse(json.dumps(schema)), avro.Budget(values))


SIMPLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("double", st.floats(allow_nan=False, allow_infinity=False)),
    ("string", st.text(st.characters(exclude_categories=["Cs"]))),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, st.sampled_from("AB")),
]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Any]:
    """A schema, and a value of it."""
    schema, values = draw(st.sampled_from(SIMPLE))
    for level in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["array", "map", "record", "union"])):
            case "array":
                schema, values = {"type": "array", "items": schema}, st.lists(values, max_size=4)
            case "map":
                schema = {"type": "map", "values": schema}
                values = st.dictionaries(st.text("abc", max_size=3), values, max_size=4)
            case "record":
                field = {"name": "f", "type": schema}
                schema = {"type": "record", "name": f"R{level}", "fields": [field]}
                values = st.fixed_dictionaries({"f": values})
            case _:
                if not isinstance(schema, list) and schema != "null":
                    schema, values = ["null", schema], st.none() | values
    return schema, draw(values)


@given(cases())
def test_what_is_written_is_read(case: tuple[Any, Any]) -> None:
    schema, value = case
    assert read(schema, written(schema, value)) == value


@pytest.mark.parametrize(
    ("schema", "value", "shown"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2}, Decimal("-1234567890123456789012345678901.05"), "-1234567890123456789012345678901.05"),
        ({"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 6, "scale": 3}, Decimal("-0.012"), "-0.012"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 5}, Decimal("42"), "42"),
        ({"type": "int", "logicalType": "date"}, date(1969, 12, 31), "1969-12-31"),
        ({"type": "int", "logicalType": "time-millis"}, clock(23, 59, 59, 7000), "23:59:59.007"),
        ({"type": "long", "logicalType": "time-micros"}, clock(0, 0, 0, 7), "00:00:00.000007"),
        ({"type": "long", "logicalType": "timestamp-millis"}, datetime(2026, 11, 26, 1, 2, 3, 4000, UTC), "2026-11-26T01:02:03.004Z"),
        ({"type": "long", "logicalType": "timestamp-micros"}, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), "1969-12-31T23:59:59.999999Z"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, datetime(2026, 11, 26, 1, 2, 3, 4), "2026-11-26T01:02:03.000004"),
        ({"type": "long", "logicalType": "timestamp-nanos"}, 1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**62, 2**62),
        ({"type": "int", "logicalType": "date"}, 2**31 - 1, 2**31 - 1),
        ({"type": "int", "logicalType": "time-millis"}, -1, -1),
        ({"type": "string", "logicalType": "uuid"}, UUID(int=7), str(UUID(int=7))),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, UUID(int=7).bytes, str(UUID(int=7))),
        ({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}, struct.pack("<III", 1, 2, 3), {"months": 1, "days": 2, "milliseconds": 3}),
        ({"type": "string", "logicalType": "what-is-that"}, "x", "x"),
        ("bytes", b"\xff\0", "ff00"),
        ("float", 0.5, 0.5),
        ("double", math.nan, "NaN"),
        ("double", -math.inf, "-Infinity"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x7f" * 300, "7f" * 300),
    ],
)  # fmt: skip
def test_logical_types_and_what_json_has_not(schema: Any, value: Any, shown: Any) -> None:
    assert read(schema, written(schema, value)) == shown
    json.dumps(shown, allow_nan=False)


def test_a_named_type_is_used_again_within_its_namespace() -> None:
    inner = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
    fields = [
        {"name": "one", "type": inner},
        {"name": "two", "type": ["null", "Kind"]},
        {"name": "of", "type": ["null", "x.y.R"]},
    ]
    schema = {"type": "record", "name": "R", "namespace": "x.y", "fields": fields}
    value = {"one": "A", "two": "B", "of": {"one": "B", "two": None, "of": None}}
    assert read(schema, written(schema, value)) == value


def test_blocks_with_their_size_are_read() -> None:
    assert read({"type": "array", "items": "int"}, long(-2) + long(2) + long(5) + long(6) + long(0)) == [5, 6]


@pytest.mark.parametrize(
    ("schema", "data", "why"),
    [
        ({"type": "array", "items": "null"}, long(2**40), "too many"),
        ({"type": "array", "items": "null"}, long(-(2**62)) + long(0), "too many"),
        ({"type": "array", "items": {"type": "record", "name": "R", "fields": []}}, long(2**40), "too many"),
        ({"type": "map", "values": "null"}, long(2**40) + long(0) * 200_000, "too many"),
        ("bytes", long(2**62) + b"x", "ends too early"),
        ("string", long(-5) + b"xxxxx", "ends too early"),
        ({"type": "fixed", "name": "F", "size": 2**40}, b"x", "ends too early"),
        (ENDLESS, b"", "deeper"),
        (NODE, b"\x02" * 250_000, "deeper"),
        (TREE, b"\x02" * 250_000, "deeper"),
        (["null", "int"], long(7), "no branch"),
        (["null", "int"], long(-1) + long(2), "no branch"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, long(9), "no branch"),
        ("long", b"\xff" * 1000, "no end"),
        ("string", long(2) + b"\xff\xfe", "not UTF-8"),
        ("int", b"", "ends too early"),
        ("int", long(1) + b"rest", "left over"),
        ({"type": "array", "items": "int"}, long(3) + long(1), "ends too early"),
    ],
)
def test_hostile_bytes_are_refused_soon(schema: Any, data: bytes, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(avro.Unreadable, match=why):
        read(schema, data)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "7", "null", "{}", '{"type": "record"}', '"no.such.Type"', '{"type": "record", "name": "R", "fields": 5}',
        '{"type": "array"}', '{"type": {"type": "what"}}', "[" * 100_000, '{"type": "array", "items":' * 900 + '"int"' + "}" * 900,
        '{"type": "string", "doc": "' + "x" * 2_000_000 + '"}', '{"type": "fixed", "name": "F", "size": "x"}',
        '{"type": "enum", "name": "E", "symbols": [5]}', '{"type": "bytes", "logicalType": "decimal", "precision": "x", "scale": {}}',
    ],
)  # fmt: skip
def test_no_schema_ends_otherwise_than_said(text: str) -> None:
    with pytest.raises(avro.Unreadable):
        avro.read(b"\x02\x02", avro.parse(text), avro.Budget(1000))


@given(st.binary(max_size=200), st.sampled_from([NODE, TREE, *(schema for schema, _ in SIMPLE)]))
def test_any_bytes_are_read_or_refused(data: bytes, schema: Any) -> None:
    with contextlib.suppress(avro.Unreadable):
        json.dumps(read(schema, data, 10_000), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"a": 1e999}', ("json", {"a": "1e999"})),
        (b"[NaN]", ("json", ["NaN"])),
        (b'{"\\ud800": 1}', ("text", '{"\\ud800": 1}')),
        (b'"\\udfff"', ("text", '"\\udfff"')),
        (b"[" * 300 + b"]" * 300, ("text", "[" * 300 + "]" * 300)),
        (b"[" * 100_000, ("text", "[" * 100_000)),
        (b"9" * 5000, ("text", "9" * 5000)),
        (b"\xff", ("binary", "ff")),
    ],
)
def test_json_that_cannot_be_shown_is_text(value: bytes, shown: tuple[str, Any]) -> None:
    assert decoding.plain(value) == shown


def test_a_page_holds_no_more_than_it_may() -> None:
    page = decoding.Page(None)
    formats = [page.shown(b'"' + b"x" * 250_000 + b'"').format for _ in range(100)]
    assert formats.count("json") == 67
    assert formats[-1] == "too_large"


def test_the_last_moment_and_one_after_it() -> None:
    schema = {"type": "long", "logicalType": "timestamp-micros"}
    last = datetime.max.replace(tzinfo=UTC)
    assert read(schema, written(schema, last)) == "9999-12-31T23:59:59.999999Z"
    beyond = int((last - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) + 10
    assert read(schema, long(beyond)) == beyond
