"""What is read by key, merged and landed: whatever a name contains, and keys that are equal but not the same."""

from __future__ import annotations

from dataclasses import replace

from two_databases import Pair, route

from headrace.engines.model import MISSING, KeyedBatch, Route, TableName
from headrace.engines.postgres import land, read
from headrace.engines.postgres.connection import Connection, Login
from headrace.engines.postgres.merge import Target


def login(conn: Connection) -> Login:
    """The login of an open connection."""
    info = conn.info
    return Login(info.host, info.dbname, info.user, info.password, info.port)


def only(pair: Pair, source_sql: str) -> Route:
    """Make one table on both sides; its route."""
    pair.source.execute(source_sql.encode())
    pair.source.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    found = [route(t) for t in pair.tables().values()]
    pair.create(found)
    return found[0]


PERCENT = """CREATE TABLE public."%s" ("%(k)s" int PRIMARY KEY, "100%" text, "%b" int[]);
INSERT INTO public."%s" VALUES (1, 'a%', '{1}'), (2, 'b%', '{2}')"""


def test_a_per_cent_sign_is_no_placeholder_when_rows_are_read_by_key(pair: Pair) -> None:
    table = replace(only(pair, PERCENT), where="\"100%\" LIKE 'a%'")
    assert dict(read.reread(pair.source, table, [1, 2], [(1,), (2,)])) == {(1,): ("a%", "{1}")}


def test_a_per_cent_sign_is_no_placeholder_when_batches_are_merged(pair: Pair) -> None:
    table = only(pair, PERCENT)
    target = Target(login(pair.target))
    try:
        target.apply_keyed(table, KeyedBatch(rows=[(1, "a", "{1}"), (2, "b", "{2}")]), "upsert")
        absent = target.apply_keyed(
            table, KeyedBatch(partial=[((1, "c", MISSING), (1,)), ((9, "d", MISSING), (9,))]), "upsert"
        )
        assert [tuple(k) for k in absent] == [("9",)]
        absent = target.apply_keyed(
            table, KeyedBatch(partial=[((3, MISSING, "{3}"), (2,))], gone=[(2,)]), "replace"
        )
        assert absent == []
        target.commit()
    finally:
        target.close()
    rows = pair.target.execute('SELECT * FROM public."%s" ORDER BY 1').fetchall()
    assert rows == [(1, "c", [1]), (3, "b", [3])]


def test_landing_writes_keys_that_are_equal_but_not_the_same(pair: Pair) -> None:
    table = only(pair, "CREATE TABLE public.priced (price numeric PRIMARY KEY, v int)")
    pair.target.execute("INSERT INTO public.priced VALUES (1.0, 1), (2.0, 2), (3.0, 3)")
    pair.target.execute("CREATE TABLE public.shadow AS SELECT * FROM public.priced WITH NO DATA")
    pair.target.execute("INSERT INTO public.shadow VALUES (1.00, 1), (2.00, 5), (3.0, 3)")
    land.merge(pair.target, table, TableName("public", "shadow"))
    rows = pair.target.execute("SELECT price::text, v FROM public.priced ORDER BY 1").fetchall()
    assert rows == [("1.00", 1), ("2.00", 5), ("3.0", 3)]


def test_landing_gets_by_where_analyze_refuses_a_value(pair: Pair) -> None:
    table = only(pair, "CREATE TABLE public.spans (id int PRIMARY KEY, span numrange)")
    pair.target.execute("CREATE TABLE public.shadow AS SELECT * FROM public.spans WITH NO DATA")
    pair.target.execute(
        "INSERT INTO public.shadow SELECT i, numrange(i, repeat('7', 400)::numeric) FROM generate_series(1, 9) i"
    )
    land.merge(pair.target, table, TableName("public", "shadow"))
    assert pair.target.execute("SELECT count(*) FROM public.spans").fetchone() == (9,)
