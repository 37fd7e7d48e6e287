"""Comparison of tables that rest: what is the same, what differs, and how it is named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

MANY = """
CREATE TABLE big(id bigint PRIMARY KEY, "Name" text, amount numeric(12,2), at timestamptz);
INSERT INTO big SELECT i, 'name ' || i, i * 1.5, timestamptz '2024-01-01' + i * interval '1 s'
FROM generate_series(1, 300000) i;
ANALYZE big;
"""


def found(table: Any) -> list[tuple[Any, ...]]:
    return [(tuple(d.key.values()), d.kind, d.columns) for d in table.differences]


def test_equal_tables_have_equal_numbers(two: Any) -> None:
    two.both(MANY)
    table = two.one(two.route("big"))
    assert table.equal
    assert table.settled
    assert table.source.rows == table.target.rows == 300_000
    assert table.source.text == table.target.text != "0" * 32


def test_checksum_is_the_sum_that_sql_gives(two: Any) -> None:
    two.both(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT i, i::text FROM generate_series(1, 5000) i"
    )
    hashes = two.source.rows("SELECT md5(ROW(id, v)::text) FROM t")
    expected = sum(int(h[:30], 16) for (h,) in hashes)
    two.target.do("UPDATE t SET v = 'x' WHERE id = 7")  # so that all three steps add to it
    table = two.one(two.route("t"))
    assert table.source.checksum == expected
    assert table.target.checksum != expected
    assert (table.source.rows, table.target.rows) == (5000, 5000)


def test_one_row_of_many_is_found_with_its_columns(two: Any) -> None:
    two.both(MANY)
    two.target.do("DELETE FROM big WHERE id = 77")
    two.target.do("INSERT INTO big VALUES (900001, 'new', 1, '2024-01-01')")
    two.target.do("""UPDATE big SET "Name" = 'other', amount = 0 WHERE id = 150000""")
    table = two.one(two.route("big"))
    assert found(table) == [
        (("150000",), "different", ("Name", "amount")),
        (("77",), "missing", ()),
        (("900001",), "extra", ()),
    ]
    assert not table.equal
    assert table.settled
    assert (table.source.rows, table.target.rows) == (300_000, 300_000)
    assert table.source.checksum != table.target.checksum


def test_report_has_the_contracts_form(two: Any) -> None:
    two.both("CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    two.target.do("UPDATE t SET v = 'c' WHERE id = 2")
    report = two.verify(two.route("t"))
    raw = json.loads(json.dumps(report.as_dict()))
    assert raw["equal"] is False
    (table,) = raw["tables"]
    assert table["name"] == "public.t"
    assert (table["source_rows"], table["target_rows"]) == (2, 2)
    assert table["source_checksum"] != table["target_checksum"]
    (difference,) = table["differences"]
    assert {k: difference[k] for k in ("key", "kind", "columns")} == {
        "key": {"id": "2"},
        "kind": "different",
        "columns": ["v"],
    }
    assert (table["differences_total"], table["cap"]) == (1, 100)
    assert report.keys_to_repair(two.route("t").source.name) == [{"id": "2"}]


def test_differences_are_capped_and_counted(two: Any) -> None:
    two.both("CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 3000)")
    two.target.do("DELETE FROM t WHERE id > 500")
    report = two.verify(two.route("t"), cap=7)
    (table,) = report.tables
    assert len(table.differences) == 7
    assert table.differences_total == 2500
    assert (table.source.rows, table.target.rows) == (3000, 500)
    assert len(report.keys_to_repair(table.name)) == 2500


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("text", "NULL", "''"),
        ("float8", "'0'", "'-0'"),
        ("float8", "'NaN'", "'Infinity'"),
        ("float4", "1.1", "1.1000001"),
        ("numeric", "1.0", "1.00"),
        ("numeric", "'NaN'", "NULL"),
        ("char(5)", "'a'", "'b'"),
        ("text", "'a'", "'a '"),
        ("text[]", "'{NULL}'", "'{\"NULL\"}'"),
        ("jsonb", "'null'", "NULL"),
        ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("bool", "false", "NULL"),
        ("timestamptz", "'infinity'", "'-infinity'"),
        ("interval", "'24:00'", "'1 day'"),
        ("money", "1.00", "1.01"),
        ("bytea", "'\\x00'", "'\\x0000'"),
    ],
)
def test_what_differs_as_text_differs(two: Any, kind: str, ours: str, theirs: str) -> None:
    two.both(f"CREATE TABLE t(id int PRIMARY KEY, v {kind}, w int)")
    two.source.do(f"INSERT INTO t VALUES (1, {ours}, 1), (2, {ours}, 2), (3, {theirs}, 3)")
    two.target.do(f"INSERT INTO t VALUES (1, {ours}, 1), (2, {theirs}, 2), (3, {theirs}, 3)")
    assert found(two.one(two.route("t"))) == [(("2",), "different", ("v",))]


def test_xml_between_servers_that_have_it(two: Any) -> None:
    two.source.do("CREATE TABLE t(id int PRIMARY KEY, v xml); CREATE TABLE u(id int PRIMARY KEY, v xml)")
    for table, second in (("t", "<a/>"), ("u", "<a></a>")):
        two.source.do(f"INSERT INTO {table} VALUES (1, '<?xml version=\"1.0\"?><b>ü</b>'), (2, '{second}')")
    # The newer server has no xml, so the older one stands on both sides.
    two.target.login = two.source.login
    assert found(two.one(two.route("t", target="u"))) == [(("2",), "different", ("v",))]


def test_settings_of_the_databases_do_not_matter(two: Any) -> None:
    two.both(
        "CREATE TABLE t(id int PRIMARY KEY, f float8, m money, at timestamptz, i interval, b bytea);"
        "INSERT INTO t VALUES (1, 0.1 + 0.2, 12345.67, '2024-03-31 01:30+00', '1 mon -2 days', '\\x00ff')"
    )
    two.target.do(
        "ALTER DATABASE postgres SET datestyle = 'German'; ALTER DATABASE postgres SET timezone = 'Asia/Tokyo';"
        "ALTER DATABASE postgres SET extra_float_digits = 0; ALTER DATABASE postgres SET bytea_output = 'escape';"
        "ALTER DATABASE postgres SET intervalstyle = 'iso_8601'; ALTER DATABASE postgres SET statement_timeout = 1"
    )
    try:
        assert two.one(two.route("t")).equal
    finally:
        two.target.do("SET statement_timeout = 0")
        two.target.do("ALTER DATABASE postgres RESET ALL")


KEYS = [
    "a'b",
    'c"d',
    "e,f",
    "g\\h",
    "i\nj",
    "(k)",
    "{l}",
    "%s",
    "ß",
    "Z",
    "a",
    "z",
    "A",
    "",
    " ",
    "ü",
    "日本",
    "😀",
]


@pytest.mark.parametrize("collation", ["und-x-icu", "C"])
def test_text_keys_of_any_kind_under_any_collation(two: Any, collation: str) -> None:
    two.source.do(f'CREATE TABLE t(k text COLLATE "{collation}", n int, v text, PRIMARY KEY (k, n))')
    two.target.do("CREATE TABLE t(k text, n int, v text, PRIMARY KEY (k, n))")
    for side in (two.source, two.target):
        for key in KEYS:
            side.do("INSERT INTO t SELECT %s, n, 'v' FROM generate_series(1, 300) n", key)
    table = two.one(two.route("t"))
    assert table.equal
    assert table.source.rows == 300 * len(KEYS)
    two.target.do("UPDATE t SET v = 'w' WHERE n = 5")
    table = two.one(two.route("t"))
    assert {d.key["k"] for d in table.differences} == set(KEYS)
    assert {(d.key["n"], d.kind, d.columns) for d in table.differences} == {("5", "different", ("v",))}


def test_keys_of_a_nondeterministic_collation(two: Any) -> None:
    two.source.do("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    two.source.do("CREATE TABLE t(k text COLLATE ci PRIMARY KEY)")
    two.target.do("CREATE TABLE t(k text PRIMARY KEY)")
    two.source.do("INSERT INTO t VALUES ('A'), ('b')")
    two.target.do("INSERT INTO t VALUES ('a'), ('b')")
    # The catalogue calls it keyless, because its equality is not that of the text.
    assert set(found(two.one(two.route("t")))) == {(("A",), "missing", ()), (("a",), "extra", ())}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uuid", "md5(i::text)::uuid"),
        ("date", "date '2024-01-01' + i"),
        ("numeric(12,4)", "i / 8.0"),
        ("varchar(40)", "'k' || i"),
        ("char(12)", "'k' || i"),
        ("bytea", "decode(md5(i::text), 'hex')"),
        ("inet", "inet '10.0.0.0' + i"),
        ("timestamptz", "timestamptz 'epoch' + i * interval '1 h'"),
        ('public."dom"', "i"),
    ],
)
def test_keys_of_other_types(two: Any, kind: str, value: str) -> None:
    rows = 6000
    two.both("CREATE DOMAIN dom AS int CHECK (VALUE > 0)")
    two.both(f"CREATE TABLE t(k {kind} PRIMARY KEY, v int)")
    two.both(f"INSERT INTO t SELECT {value}, i FROM generate_series(1, {rows}) i")
    two.target.do("UPDATE t SET v = -1 WHERE v = 33")
    two.target.do("DELETE FROM t WHERE v = 44")
    table = two.one(two.route("t"))
    assert sorted(d.kind for d in table.differences) == ["different", "missing"]
    assert (table.source.rows, table.target.rows) == (rows, rows - 1)


def test_an_enum_in_a_composite_key(two: Any) -> None:
    two.both("""CREATE TYPE "Mo%{}od" AS ENUM ('a b', 'x,y')""")
    two.both("""CREATE TABLE t("m %{}" "Mo%{}od", d date, v int, PRIMARY KEY ("m %{}", d))""")
    two.both(
        "INSERT INTO t SELECT m, date '2024-01-01' + i, i FROM unnest(enum_range(NULL::\"Mo%{}od\")) m, generate_series(1, 99) i"
    )
    two.target.do("UPDATE t SET v = 0 WHERE v = 31 AND \"m %{}\" = 'x,y'")
    assert found(two.one(two.route("t"))) == [(("x,y", "2024-02-01"), "different", ("v",))]


def test_citext_key_finds_its_row_by_the_index(two: Any) -> None:
    two.both("CREATE EXTENSION citext SCHEMA public")
    two.both(
        "CREATE TABLE t(k citext PRIMARY KEY, v int); INSERT INTO t SELECT 'K' || i, i FROM generate_series(1, 20) i"
    )
    two.target.do("UPDATE t SET v = 0 WHERE k = 'K5'")
    assert found(two.one(two.route("t"))) == [(("K5",), "different", ("v",))]


def test_keyless_copies_are_counted(two: Any) -> None:
    two.both(
        "CREATE TABLE t(a int, b text); INSERT INTO t SELECT i % 50, 'x' FROM generate_series(1, 5000) i"
    )
    two.source.do("INSERT INTO t VALUES (1000, 'y'), (1000, 'y'), (1000, 'y'), (1001, NULL)")
    two.target.do("INSERT INTO t VALUES (1000, 'y'), (1000, 'y'), (1001, ''), (1001, '')")
    report = two.verify(two.route("t"))
    (table,) = report.tables
    shown = {(*d.key.values(), d.kind, d.source_count, d.target_count) for d in table.differences}
    assert shown == {
        ("1000", "y", "missing", 3, 2),
        ("1001", None, "missing", 1, 0),
        ("1001", "", "extra", 0, 2),
    }
    assert (table.source.rows, table.target.rows) == (5004, 5004)
    with pytest.raises(Exception, match="row by row"):
        report.keys_to_repair(table.name)


def test_a_row_that_is_twice_on_the_target_is_extra(two: Any) -> None:
    two.source.do("CREATE TABLE t(k int PRIMARY KEY, v int)")
    two.target.do("CREATE TABLE t(k int, v int)")
    two.both("INSERT INTO t SELECT i, i FROM generate_series(1, 30000) i")
    two.target.do("INSERT INTO t SELECT 17, 17 FROM generate_series(1, 25000)")
    table = two.one(two.route("t"))
    assert found(table) == [(("17",), "extra", ())]
    assert (table.source.rows, table.target.rows) == (30_000, 55_000)


def test_empty_tables_and_empty_targets(two: Any) -> None:
    two.both("CREATE TABLE e(id int PRIMARY KEY); CREATE TABLE f(id int PRIMARY KEY)")
    two.source.do("INSERT INTO f SELECT generate_series(1, 10)")
    report = two.verify(two.route("e"), two.route("f"))
    empty, filled = report.tables
    assert empty.equal
    assert empty.source.rows == 0
    assert (filled.source.rows, filled.target.rows, filled.differences_total) == (10, 0, 10)
    assert not report.equal


def test_where_masks_names_and_excluded_columns(two: Any) -> None:
    two.source.do(
        'CREATE TABLE t("Id" int PRIMARY KEY, email varchar(40), phone text, note text, ssn text, c text)'
    )
    two.source.do(
        "INSERT INTO t SELECT i, 'e' || i || '@ü%', CASE WHEN i % 2 = 0 THEN 'p' END, 'n', 's', "
        "CASE WHEN i % 3 = 0 THEN 'DE%1' ELSE 'FR' END FROM generate_series(1, 4000) i"
    )
    two.target.do("CREATE TABLE t2(key int PRIMARY KEY, email text, phone text, note text, c text)")
    rows = two.source.rows(
        "SELECT \"Id\", encode(sha256(convert_to(email, 'UTF8')), 'hex'), phone, c FROM t WHERE c LIKE 'DE%'"
    )
    with two.target.conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO t2 VALUES (%s, %s, %s, NULL, %s)", [(k, e, p and "***", c) for k, e, p, c in rows]
        )
    route = two.route(
        "t",
        target="t2",
        where="c LIKE 'DE%'",
        names={"Id": "key"},
        exclude=("ssn",),
        masks={"email": "sha256", "phone": "redact", "note": "null"},
    )
    table = two.one(route)
    assert found(table) == []
    assert table.equal
    assert table.source.rows == 1333
    two.target.do("UPDATE t2 SET email = 'e3@ü%', note = 'n' WHERE key = 3")
    table = two.one(route)
    assert found(table) == [(("3",), "different", ("email", "note"))]
    assert table.differences[0].key == {"Id": "3"}


def test_a_masked_key(two: Any) -> None:
    two.source.do(
        "CREATE TABLE t(k text PRIMARY KEY, v int); INSERT INTO t SELECT 'k' || i, i FROM generate_series(1, 99) i"
    )
    two.target.do("CREATE TABLE t(k text PRIMARY KEY, v int)")
    rows = two.source.rows("SELECT encode(sha256(convert_to(k, 'UTF8')), 'hex'), v FROM t WHERE v > 1")
    with two.target.conn.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", rows)
    report = two.verify(two.route("t", masks={"k": "sha256"}))
    (table,) = report.tables
    assert [d.kind for d in table.differences] == ["missing"]
    with pytest.raises(Exception, match="row by row"):
        report.keys_to_repair(table.name)


def test_generated_columns_partitions_and_inheritance(two: Any) -> None:
    two.both("CREATE TABLE g(id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)")
    two.both("INSERT INTO g SELECT i, i FROM generate_series(1, 100) i")
    two.both(
        "CREATE TABLE p(id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (500);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (500) TO (9999);"
        "INSERT INTO p SELECT i, 'v' FROM generate_series(1, 5000) i"
    )
    two.both("CREATE TABLE parent(id int PRIMARY KEY); INSERT INTO parent VALUES (1)")
    two.source.do("CREATE TABLE child() INHERITS (parent); INSERT INTO child VALUES (2)")
    routes = [two.route(name) for name in ("g", "p", "parent")]
    report = two.verify(*routes)
    assert [t.error for t in report] == [None] * 3
    assert report.equal
    assert [t.source.rows for t in report] == [100, 5000, 1]
    two.target.do("UPDATE p SET v = 'w' WHERE id = 700")
    two.target.do(
        "ALTER TABLE g DROP COLUMN twice; ALTER TABLE g ADD twice int GENERATED ALWAYS AS (a * 3) STORED"
    )
    generated, parts, _ = two.verify(*routes).tables
    assert generated.differences_total == 100
    assert generated.differences[0].columns == ("twice",)
    assert found(parts) == [(("700",), "different", ("v",))]


def test_another_encoding_on_the_target(encodings: Any) -> None:
    encodings.both("CREATE TABLE t(k text PRIMARY KEY, v text); CREATE TABLE l(v text)")
    encodings.both("INSERT INTO t SELECT 'ключЁё ' || i, 'жё' FROM generate_series(1, 5000) i")
    encodings.both("INSERT INTO l SELECT 'жё' || i FROM generate_series(1, 5000) i")
    report = encodings.verify(encodings.route("t"), encodings.route("l"))
    assert [t.error for t in report] == [None, None]
    assert report.equal
    encodings.target.do("UPDATE t SET v = 'Ё' WHERE k = 'ключЁё 42'")
    assert found(encodings.one(encodings.route("t"))) == [(("ключЁё 42",), "different", ("v",))]


def test_a_table_that_cannot_be_compared_is_not_equal(two: Any) -> None:
    two.both(
        "CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY, v int)"
    )
    routes = [two.route(name) for name in "abc"]
    two.target.do("DROP TABLE b; ALTER TABLE c DROP COLUMN v")
    report = two.verify(*routes)
    assert [t.error and t.error["code"] for t in report] == [None, "no_such_table", "no_such_column"]
    assert [t.equal for t in report] == [True, False, False]
    assert not report.equal
    assert report.as_dict()["tables"][1]["source_rows"] is None


def test_rows_hidden_by_a_policy_are_an_error(two: Any) -> None:
    two.both("CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    two.source.do(
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'r'"
    )
    two.source.do("GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON t TO reader")
    route = two.route("t")
    two.source.login = dataclasses.replace(two.source.login, user="reader", password="r")
    (table,) = two.verify(route).tables
    assert table.error is not None
    assert table.error["code"] == "missing_right"
    two.source.do("DROP OWNED BY reader; DROP ROLE reader")
