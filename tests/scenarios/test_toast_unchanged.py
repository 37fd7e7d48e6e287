"""An unchanged large value, which no event carries, is never overwritten, moved to another row or lost."""

from __future__ import annotations

import pytest

from support.lab import Pair

# Incompressible, so that it is stored out of line whatever the storage.
NOISE = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 32 * {kb}))"

EVENT = {
    "text": NOISE,
    "varchar": NOISE,
    "char(9000)": NOISE.format(kb=8),
    "bytea": f"decode({NOISE}, 'hex')",
    "json": f"('{{\"a\": \"' || {NOISE} || '\"}}')::json",
    "jsonb": f"jsonb_build_object('a', {NOISE})",
    "numeric": "(SELECT string_agg((random() * 9e8 + 1e8)::int::text, '') FROM generate_series(1, 1000))::numeric",
    "bit(40000)": "(SELECT string_agg((random() * 65535)::int::bit(16)::text, '') FROM generate_series(1, 2500))"
    "::bit(40000)",
    "citext": NOISE,
    "ltree": "(SELECT string_agg('n' || md5(random()::text), '.') FROM generate_series(1, 200))::ltree",
    "d_long": NOISE,
    "d_bytes": f"decode({NOISE}, 'hex')",
}
# So many that some of them have to go out of line; wider bounds could not be analysed.
RANGES = {
    f"numrange /* {i} */": "numrange(-(SELECT string_agg((random() * 9e8 + 1e8)::int::text, '')"
    " FROM generate_series(1, 33))::numeric, repeat('7', 290)::numeric)"
    for i in range(16)
}
REREAD = {
    "hstore": f"hstore('k', {NOISE})",
    "text[]": f"ARRAY[{NOISE}]",
    "text[][]": f"ARRAY[[{NOISE}], [NULL]]",
    "int[]": "(SELECT array_agg((random() * 2e9)::int) FROM generate_series(1, 9000))",
    "float8[]": "(SELECT array_agg(random()) FROM generate_series(1, 9000))",
    "uuid[]": "(SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 1000))",
    "bytea[]": f"ARRAY[decode({NOISE}, 'hex')]",
    "jsonb[]": f"ARRAY[jsonb_build_object('a', {NOISE})]",
    "tsvector": "(SELECT to_tsvector('simple', string_agg(md5(random()::text), ' ')) FROM generate_series(1, 900))",
    "varbit": "(SELECT string_agg((random() * 65535)::int::bit(16)::text, '') FROM generate_series(1, 2500))::varbit",
    "path": "(SELECT ('[' || string_agg('(' || random() || ',1)', ',') || ']')::path FROM generate_series(1, 900))",
    "duo": f"ROW(1, {NOISE})::duo",
}
PREPARE = """
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE TYPE duo AS (a int, b text); CREATE DOMAIN d_long AS text; CREATE DOMAIN d_bytes AS bytea;
"""


def make(
    pair: Pair, name: str, types: dict[str, str], more: str = "", key: str = "id int PRIMARY KEY"
) -> None:
    columns = ", ".join(f"c{i} {t}" for i, t in enumerate(types))
    pair.src.execute(f"CREATE TABLE {name} ({key}, w int NOT NULL DEFAULT 0, {columns}){more}".encode())
    for i, _ in enumerate(types):
        pair.src.execute(f"ALTER TABLE {name} ALTER c{i} SET STORAGE EXTERNAL".encode())
    for number in (1, 2, 3, 4):
        insert(pair, name, types, number)


def insert(pair: Pair, name: str, types: dict[str, str], number: int) -> None:
    values = ", ".join(v.replace("{kb}", "12") for v in types.values())
    pair.src.execute(f"INSERT INTO {name} SELECT {number}, 0, {values}".encode())


def out_of_line(pair: Pair, name: str, types: dict[str, str]) -> None:
    """The test is about values out of line; they are."""
    for i, kind in enumerate(types):
        inside = pair.src.execute(
            f"SELECT count(*) FROM {name} WHERE c{i} IS NOT NULL AND pg_column_toast_chunk_id(c{i}) IS NULL".encode()
        ).fetchone()
        assert inside == (0,), f"{kind} is stored in line"


def equal(pair: Pair, name: str, types: dict[str, str]) -> None:
    """The table is equal, or the types that are not are named."""
    try:
        pair.equal(name, seconds=30)
    except AssertionError:
        columns = {kind: f"id, c{i}" for i, kind in enumerate(types)}
        wrong = {
            k: c for k, c in columns.items() if pair.rows(pair.src, name, c) != pair.rows(pair.tgt, name, c)
        }
        pytest.fail(
            f"{name}: {', '.join(f'{k} ({pair.difference(name, c)[-900:]})' for k, c in wrong.items())}"
        )


CHANGES = """
UPDATE {t} SET w = w + 1;
UPDATE {t} SET w = w + 1;
BEGIN; UPDATE {t} SET id = 12 WHERE id = 2; UPDATE {t} SET id = 22 WHERE id = 12; UPDATE {t} SET w = 5 WHERE id = 22; COMMIT;
BEGIN; UPDATE {t} SET id = -1 WHERE id = 1; UPDATE {t} SET id = 1 WHERE id = 3; UPDATE {t} SET id = 3 WHERE id = -1; COMMIT;
BEGIN; UPDATE {t} SET id = 40 WHERE id = 4; UPDATE {t} SET id = 4 WHERE id = 40; COMMIT
"""


def change(pair: Pair, name: str, types: dict[str, str]) -> None:
    for step in CHANGES.format(t=name).split(";"):
        if step.strip():
            pair.src.execute(step.encode())
    insert(pair, name, types, 50)
    pair.src.execute("BEGIN")
    insert(pair, name, types, 51)
    pair.src.execute(f"UPDATE {name} SET w = 9 WHERE id IN (50, 51)".encode())
    pair.src.execute(f"UPDATE {name} SET id = 52 WHERE id = 51".encode())
    pair.src.execute(f"DELETE FROM {name} WHERE id = 4".encode())
    insert(pair, name, types, 4)
    pair.src.execute(f"UPDATE {name} SET w = 7 WHERE id = 4".encode())
    pair.src.execute("COMMIT")


def test_large_values_of_every_type_survive_changes_of_other_columns(pair: Pair) -> None:
    pair.src.execute(PREPARE.encode())
    tables = {
        "carried": EVENT,
        "reread": REREAD,
        "carried_and_reread": {**EVENT, **REREAD},
        "identity_full": EVENT,
    }
    for name, types in tables.items():
        make(pair, name, types)
        out_of_line(pair, name, types)
    make(pair, "ranges", RANGES)
    assert pair.src.execute("SELECT count(pg_column_toast_chunk_id(c0)) FROM ranges").fetchone() == (4,)
    pair.src.execute("ALTER TABLE identity_full REPLICA IDENTITY FULL")
    keyless = {k: v for k, v in EVENT.items() if k in ("text", "bytea", "jsonb", "numeric", "d_bytes")}
    make(pair, "keyless", keyless, key="id int")
    large_keys(pair)
    pair.apply()
    pair.equal(*tables, "ranges", "keyless", "long_key", "place")
    for name, types in {**tables, "keyless": keyless, "ranges": RANGES}.items():
        change(pair, name, types)
    change_large_keys(pair)
    for name, types in tables.items():
        equal(pair, name, types)
    pair.equal(*tables, "ranges", "keyless", "long_key", "place")
    # Rows that somebody deleted from the target are taken whole from the source, among others that are there.
    pair.tgt.execute("DELETE FROM carried WHERE id IN (3, 22)")
    pair.src.execute("UPDATE carried SET w = w + 1; UPDATE carried SET c0 = 'small' WHERE id = 1")
    pair.equal("carried")


def large_keys(pair: Pair) -> None:
    """A key that is itself out of line, and secondary unique values that change places."""
    noise = NOISE.format(kb=2)
    pair.src.execute(
        f"""
        CREATE TABLE long_key (k text, n int, w int, PRIMARY KEY (k, n));
        ALTER TABLE long_key ALTER k SET STORAGE EXTERNAL;
        INSERT INTO long_key SELECT i || {noise}, i, 0 FROM generate_series(1, 5) i;
        CREATE TABLE place (id int PRIMARY KEY, seat int UNIQUE, desk int UNIQUE DEFERRABLE INITIALLY DEFERRED,
          w int DEFAULT 0, body text, list int[]);
        ALTER TABLE place ALTER body SET STORAGE EXTERNAL;
        INSERT INTO place SELECT i, i, i, 0, i || {NOISE.format(kb=12)}, ARRAY[i] FROM generate_series(1, 8) i
        """.encode()
    )
    assert pair.src.execute(
        "SELECT count(*) FROM long_key WHERE pg_column_toast_chunk_id(k) IS NULL"
    ).fetchone() == (0,)


def change_large_keys(pair: Pair) -> None:
    for step in (
        "UPDATE long_key SET w = w + 1",
        "UPDATE long_key SET n = 10 WHERE n = 1",
        "UPDATE long_key SET k = n || k WHERE n = 2",
        "DELETE FROM long_key WHERE n = 3",
        "BEGIN; UPDATE place SET seat = -1 WHERE id = 1; UPDATE place SET seat = 1 WHERE id = 2;"
        "UPDATE place SET seat = 2 WHERE id = 1; COMMIT",
        "UPDATE place SET desk = 9 - desk",
        "BEGIN; UPDATE place SET seat = 90, id = 30 WHERE id = 3; UPDATE place SET seat = 3, id = 3 WHERE id = 4;"
        "UPDATE place SET seat = 4, id = 4, w = 1 WHERE id = 30; COMMIT",
        "BEGIN; DELETE FROM place WHERE id = 5; UPDATE place SET seat = 5 WHERE id = 6;"
        "INSERT INTO place SELECT 5, 6, 60, 0, body, list FROM place WHERE id = 1; UPDATE place SET w = 2 WHERE id = 5; COMMIT",
    ):
        pair.src.execute(step.encode())


def test_a_megabyte_survives_a_thousand_updates_of_another_column(pair: Pair) -> None:
    pair.src.execute(
        f"CREATE TABLE doc (id int PRIMARY KEY, body text, raw bytea, w int DEFAULT 0);"
        f"INSERT INTO doc SELECT i, i || b, decode(b, 'hex') FROM generate_series(1, 2) i,"
        f" LATERAL (SELECT {NOISE.format(kb=1024)} AS b) x".encode()
    )
    pair.apply()
    pair.equal("doc")
    with pair.src.transaction():
        for _ in range(500):
            pair.src.execute("UPDATE doc SET w = w + 1")
    pair.equal("doc")
    for _ in range(500):
        pair.src.execute("UPDATE doc SET w = w + 1 WHERE id = 1")
    pair.equal("doc")
    assert pair.src.execute("SELECT min(length(body)) > 1000000, max(w) FROM doc").fetchone() == (True, 1000)
