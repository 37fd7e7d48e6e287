"""Reading what PostgreSQL prints, without a server."""

from __future__ import annotations

import pytest

from headrace.engines.postgres import expressions
from headrace.engines.postgres.names import NAME_BYTES, suffixed


@pytest.mark.parametrize(
    "default",
    [
        "5",
        "'-5'::integer",
        "(-5)",
        "1.5e10",
        "'it''s now()'::text",
        "'a'::character varying",
        "NULL::character varying",
        "'2020-01-01 00:00:00+00'::timestamp(3) with time zone",
        "true",
        "B'101'::\"bit\"",
        "'a'::public.mood",
        '\'a\'::"We.ird"."Mood"',
        "'{}'::integer[]",
        "ARRAY['a'::text, 'b'::text]",
        "'1.50'::numeric(10,2)",
        "E'a\\\\b'::text",
    ],
)
def test_constants(default: str) -> None:
    assert expressions.constant(default)


@pytest.mark.parametrize(
    "default",
    [
        "now()",
        "CURRENT_TIMESTAMP",
        "CURRENT_USER",
        "('now'::text)::date",
        "gen_random_uuid()",
        "public.f()",
        '"F"()',
        "nextval('public.s'::regclass)",
        "('a'::text || 'b'::text)",
        "ARRAY[('now'::text)::date]",
        "ARRAY[random()]",
        "(now() + '1 day'::interval)",
        "(1 + 2)",
    ],
)
def test_what_is_no_constant(default: str) -> None:
    assert not expressions.constant(default)


@pytest.mark.parametrize(
    ("default", "sequence"),
    [
        ("nextval('public.s'::regclass)", ("public", "s")),
        ("nextval('public.\"S.x\"'::regclass)", ("public", "S.x")),
        ('nextval(\'"it\'\'s"."a""b"\'::regclass)', ("it's", 'a"b')),
        ("(nextval('public.s'::regclass) * 2)", None),
        ("5", None),
        (None, None),
    ],
)
def test_sequence_of(default: str | None, sequence: tuple[str, str] | None) -> None:
    assert expressions.sequence_of(default) == sequence


def test_renaming_leaves_everything_else_alone() -> None:
    text = "USING btree (a, lower(a) public.a, (b.a), 'a', \"A\", f(a => a), a::a, a COLLATE a) WITH (a=1) WHERE a > 1"
    assert expressions.renamed(text, {"a": 'x"'}) == (
        'USING btree ("x""", lower("x""") public.a, (b.a), \'a\', "A", f(a => "x"""), "x"""::a, "x""" COLLATE a)'
        ' WITH (a=1) WHERE "x""" > 1'
    )
    assert expressions.renamed("a", {}) == "a"


def test_foreign_things() -> None:
    text = (
        "public.f(x) > 1 AND y OPERATOR(ext.%) 'public.g(1)' AND z::\"S\".t IS NOT NULL AND pg_catalog.h(1)"
    )
    assert expressions.foreign_calls(text) == {("public", "f")}
    assert expressions.foreign_names(text) == {("public", "f"), ("S", "t")}
    assert expressions.whole_row("CHECK ((t.* IS NOT NULL))")
    assert not expressions.whole_row("CHECK ((a.b > '.*'))")


@pytest.mark.parametrize("name", ["x" * 63, "ü" * 31 + "x", "short"])
def test_suffixes_keep_names_apart(name: str) -> None:
    other = name[:-1] + "y"
    assert len(suffixed(name, "_new").encode()) <= NAME_BYTES
    assert suffixed(name, "_new").endswith("_new")
    assert suffixed(name, "_new") != suffixed(other, "_new")
    assert suffixed("short", "_new") == "short_new"
