from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.spec.load import spec_from
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.spec.patterns import _wild, parse_name, parse_table, select, settled, table_named
from headrace.spec.syntax import split_name

ANY = st.text(min_size=1, max_size=12)
SHOP = [TableName("public", n) for n in ("users", "orders", "audit_a", "Users")] + [
    TableName("Weird.S", "t x")
]


def pipeline(*tables: object, exclude: tuple[str, ...] = ()) -> PipelineSpec:
    return PipelineSpec.model_validate({"source": "a", "target": "b", "tables": tables, "exclude": exclude})


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@given(ANY, ANY)
def test_a_quoted_name_means_exactly_itself(schema: str, name: str) -> None:
    pattern = parse_name(f"{quoted(schema)}.{quoted(name)}")
    assert pattern.explicit
    assert pattern.table() == TableName(schema, name)
    assert pattern.matches(TableName(schema, name))
    assert not pattern.matches(TableName(schema, name + "x"))


@given(ANY, ANY)
def test_what_a_table_calls_itself_finds_it_again(schema: str, name: str) -> None:
    table = TableName(schema, name)
    assert parse_name(str(table)).matches(table)


@given(ANY)
def test_parsing_either_fails_well_or_round_trips(text: str) -> None:
    try:
        parts = split_name(text)
    except ValueError:
        with pytest.raises(Invalid):
            parse_name(text)
        return
    assert ".".join(map(str, parts)) == text


@given(ANY, ANY)
def test_stars_match_everything(schema: str, name: str) -> None:
    assert parse_name("*.*").matches(TableName(schema, name))


@pytest.mark.parametrize(
    ("text", "table", "fits"),
    [
        ("public.us?rs", TableName("public", "users"), True),
        ("public.us?rs", TableName("public", "usrs"), False),
        ("pub*.*s", TableName("public", "users"), True),
        ("public.users", TableName("public", "Users"), False),
        ("public.line items", TableName("public", "line items"), True),
        ('"Weird.S".*', TableName("Weird.S", "t x"), True),
        ('public."us*"', TableName("public", "users"), False),
        ('public."us*"', TableName("public", "us*"), True),
        ("public.a[b]", TableName("public", "a[b]"), True),
        ("public.a[b]", TableName("public", "ab"), False),
        ("public.*", TableName("public", "two\nlines"), True),
    ],
)
def test_matching(text: str, table: TableName, fits: bool) -> None:
    assert parse_name(text).matches(table) is fits


@pytest.mark.parametrize(
    "text", ["", "users", "a.b.c", ".b", "a.", 'a."b', 'a."b"c', 'a.b"c', '"".x', "a..b"]
)
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_name(text)
    assert caught.value.code == "bad_name"
    assert caught.value.guidance


def test_one_table_is_wanted() -> None:
    assert parse_table("a.b") == TableName("a", "b")
    with pytest.raises(Invalid):
        parse_table("a.*")


def test_every_table_by_default() -> None:
    spec = PipelineSpec(source="a", target="b")
    assert [t for t, _ in select(spec, SHOP)] == SHOP


def test_explicit_entries_refine_patterns_wherever_they_stand() -> None:
    for tables in (
        ("public.*", {"name": "public.users", "target": "crm.users"}),
        ({"name": "public.users", "target": "crm.users"}, "public.*"),
    ):
        chosen = dict(select(pipeline(*tables), SHOP))
        assert chosen[TableName("public", "users")].target == "crm.users"
        assert chosen[TableName("public", "orders")].target is None


def test_the_later_of_two_patterns_decides() -> None:
    chosen = dict(select(pipeline("public.*", {"name": "public.o*", "where": "x"}), SHOP))
    assert chosen[TableName("public", "orders")].where == "x"
    assert chosen[TableName("public", "users")].where is None


def test_exclude_comes_last() -> None:
    chosen = dict(select(pipeline("public.*", "public.audit_a", exclude=("public.audit_*",)), SHOP))
    assert TableName("public", "audit_a") not in chosen
    assert len(chosen) == 3


def test_a_missing_table_names_near_ones() -> None:
    with pytest.raises(Invalid) as caught:
        select(pipeline("public.user", "public.nothing_like_it"), SHOP)
    assert caught.value.code == "table_not_found"
    assert "public.users" in caught.value.context["tables"]["public.user"]
    assert "public.nothing_like_it" in caught.value.message


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(Invalid) as caught:
        select(pipeline("other.*"), SHOP)
    assert caught.value.code == "no_tables"


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_wildcards_fit_as_in_a_shell(pattern: str, text: str) -> None:
    regex = "".join({"*": ".*", "?": "."}.get(c, c) for c in pattern)
    assert _wild(pattern, text) == bool(re.fullmatch(regex, text))


def test_many_stars_take_no_time() -> None:
    began = time.monotonic()
    assert not _wild("*a" * 100 + "*b", "a" * 5000)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("schema", "tables", "taken"),
    [
        (None, None, ["*.*"]),
        ("sales", None, ["sales.*"]),
        ("Weird.S", None, ['"Weird.S".*']),
        ("a*", None, ['"a*".*']),
        ("sales", ["*.*"], ["*.*"]),
    ],
)
def test_a_pipeline_that_names_no_tables_has_those_of_its_sources_schema(
    schema: str | None, tables: list[str] | None, taken: list[str]
) -> None:
    place = {"engine": "postgres", "host": "h", "database": "d", "user": "u"}
    own = {"source": "a", "target": "b", **({"tables": tables} if tables else {})}
    connections = {"a": {**place, "schema": schema}, "b": {**place, "database": "e"}}
    spec = settled(spec_from({"connections": connections, "pipelines": {"p": own}}))
    assert [t.name for t in spec.pipelines["p"].tables] == taken


@pytest.mark.parametrize(
    ("text", "schema", "meant"),
    [
        ("t", None, TableName("own", "t")),
        ("s.t", None, TableName("s", "t")),
        ('"a.b"', None, TableName("own", "a.b")),
        ("a.b", "s", TableName("s", "a.b")),
        ("s.b", "s", TableName("s", "b")),
        ('"t"', '"s"', TableName("s", "t")),
        ('odd"', "s", TableName("s", 'odd"')),
    ],
)
def test_a_table_with_or_without_its_schema(text: str, schema: str | None, meant: TableName) -> None:
    assert table_named(text, schema, "own") == meant
