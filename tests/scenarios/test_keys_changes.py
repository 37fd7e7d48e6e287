"""Keys of every kind: changed, swapped, taken back, reused; the tables that only look as if they had one."""

from __future__ import annotations

from support.lab import CANARY, Pair, until

SCHEMA = """
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN code AS citext;
CREATE DOMAIN price AS numeric;
CREATE COLLATION folded (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE plain (id int PRIMARY KEY, v text);
CREATE TABLE composite (a int, b text, c date, v int, PRIMARY KEY (b, a, c));
CREATE TABLE by_index (x int, y text NOT NULL, v int);
CREATE UNIQUE INDEX by_index_y ON by_index (y); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_y;
CREATE TABLE by_index_two (a int NOT NULL, b int NOT NULL, v int, UNIQUE (a, b));
CREATE TABLE other_key (f float8 PRIMARY KEY, y int NOT NULL UNIQUE, v int);
CREATE TABLE only_key (id int PRIMARY KEY);
CREATE TABLE as_identity_full (id int PRIMARY KEY, v text); ALTER TABLE as_identity_full REPLICA IDENTITY FULL;
CREATE TABLE uniques (id int PRIMARY KEY, u int UNIQUE, d int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE nullable_unique (u int UNIQUE, v text);
CREATE TABLE partial_unique (u int NOT NULL, v text); CREATE UNIQUE INDEX ON partial_unique (u) WHERE v = 'x';
CREATE TABLE deferrable_unique (u int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, v text);
CREATE TABLE deferrable_key (u int PRIMARY KEY DEFERRABLE, v text);
CREATE TABLE expression_unique (u text NOT NULL, v text); CREATE UNIQUE INDEX ON expression_unique (lower(u));
INSERT INTO plain SELECT i, 'v' || i FROM generate_series(1, 20) i;
INSERT INTO composite SELECT i, 'B' || i % 3, date '2020-01-01' + i, i FROM generate_series(1, 20) i;
INSERT INTO by_index SELECT i, 'y' || i, i FROM generate_series(1, 9) i;
INSERT INTO by_index_two SELECT i, i % 2, i FROM generate_series(1, 9) i;
INSERT INTO other_key SELECT i, i, i FROM generate_series(1, 9) i;
INSERT INTO only_key SELECT generate_series(1, 9);
INSERT INTO as_identity_full SELECT i, 'v' || i FROM generate_series(1, 9) i;
INSERT INTO uniques SELECT i, i, i FROM generate_series(1, 9) i;
INSERT INTO nullable_unique VALUES (NULL, 'a'), (NULL, 'a'), (NULL, 'b'), (1, 'a');
INSERT INTO partial_unique VALUES (1, 'x'), (1, 'y'), (1, 'y'), (2, 'x');
INSERT INTO deferrable_unique SELECT i, 'v' FROM generate_series(1, 9) i;
INSERT INTO deferrable_key SELECT i, 'v' FROM generate_series(1, 9) i;
INSERT INTO expression_unique VALUES ('A', 'v'), ('b', 'v');
"""

# A transaction each: what is between the semicolons is one batch of the source at least.
CHANGES = """
UPDATE plain SET id = 101 WHERE id = 1; UPDATE plain SET id = 102 WHERE id = 101; UPDATE plain SET id = 103 WHERE id = 102;
UPDATE plain SET v = 'chain' WHERE id = 103
--
UPDATE plain SET id = -2 WHERE id = 2; UPDATE plain SET id = 2 WHERE id = 3; UPDATE plain SET id = 3 WHERE id = -2
--
UPDATE plain SET id = 104, v = 'there' WHERE id = 4; UPDATE plain SET id = 4 WHERE id = 104
--
DELETE FROM plain WHERE id = 5; INSERT INTO plain VALUES (5, 'new')
--
INSERT INTO plain VALUES (50, 'x'); UPDATE plain SET id = 51 WHERE id = 50; DELETE FROM plain WHERE id = 51
--
DELETE FROM plain WHERE id = 6; UPDATE plain SET id = 6 WHERE id = 7; INSERT INTO plain VALUES (7, 'again')
--
UPDATE plain SET id = id + 1000 WHERE id BETWEEN 10 AND 20; UPDATE plain SET id = id - 999 WHERE id > 1000
--
UPDATE composite SET c = c + 1; UPDATE composite SET b = 'b' || b WHERE a < 5; UPDATE composite SET a = a + 100 WHERE a > 15
--
UPDATE by_index SET y = 'z' || y WHERE x < 3; UPDATE by_index SET v = v + 1; UPDATE by_index SET x = NULL WHERE x = 5;
DELETE FROM by_index WHERE y = 'y6'; UPDATE by_index SET y = 't' WHERE y = 'y7'; UPDATE by_index SET y = 'y7' WHERE y = 'y8';
UPDATE by_index SET y = 'y8' WHERE y = 't'
--
UPDATE by_index_two SET b = b + 10 WHERE a = 1; UPDATE by_index_two SET v = 0 WHERE a = 2; DELETE FROM by_index_two WHERE a = 3
--
UPDATE other_key SET f = f + 100 WHERE y = 1; UPDATE other_key SET y = 100 WHERE y = 2; UPDATE other_key SET v = 7 WHERE y = 3;
UPDATE other_key SET f = -1, y = -1 WHERE y = 4; DELETE FROM other_key WHERE y = 5; UPDATE other_key SET f = '-0' WHERE y = 6
--
UPDATE only_key SET id = id + 100 WHERE id < 4; DELETE FROM only_key WHERE id = 4; INSERT INTO only_key VALUES (4), (77)
--
UPDATE as_identity_full SET id = id + 100 WHERE id < 4; UPDATE as_identity_full SET v = NULL; DELETE FROM as_identity_full WHERE id = 5
--
UPDATE uniques SET u = -1 WHERE id = 1; UPDATE uniques SET u = 1 WHERE id = 2; UPDATE uniques SET u = 2 WHERE id = 1
--
UPDATE uniques SET d = 10 - d
--
UPDATE uniques SET u = NULL WHERE id = 3; UPDATE uniques SET u = 3 WHERE id = 4; UPDATE uniques SET u = 4 WHERE id = 3
--
DELETE FROM uniques WHERE id = 5; INSERT INTO uniques VALUES (55, 5, 500)
--
UPDATE nullable_unique SET v = 'c' WHERE ctid = (SELECT min(ctid) FROM nullable_unique WHERE u IS NULL);
DELETE FROM nullable_unique WHERE v = 'b'; INSERT INTO nullable_unique VALUES (NULL, 'a'), (2, NULL); UPDATE nullable_unique SET u = 3 WHERE u = 1
--
UPDATE partial_unique SET v = 'z' WHERE ctid = (SELECT min(ctid) FROM partial_unique WHERE v = 'y'); DELETE FROM partial_unique WHERE u = 2
--
UPDATE deferrable_unique SET u = u + 1; UPDATE deferrable_unique SET v = 'w' WHERE u = 3
--
UPDATE deferrable_key SET u = u + 1; UPDATE deferrable_key SET v = 'w' WHERE u = 3; DELETE FROM deferrable_key WHERE u = 4
--
UPDATE expression_unique SET u = 'a'  WHERE u = 'A'; INSERT INTO expression_unique VALUES ('C', NULL)
"""

TABLES = (
    "plain composite by_index by_index_two other_key only_key as_identity_full uniques nullable_unique"
    " partial_unique deferrable_unique deferrable_key expression_unique"
).split()

# Types that may be a key, with three different values each.
KEY_TYPES = {
    "bool": ("true", "false", "NULL"),
    "int2": ("1", "-2", "3"),
    "int8": ("1", "-9223372036854775808", "3"),
    "numeric": ("1.0", "'NaN'", "'-Infinity'"),
    "numeric(10,2)": ("1.00", "2.50", "-3"),
    "price": ("1.10", "2", "0.000"),
    "oid": ("1", "4294967295", "0"),
    "text": ("'a'", "''", "E'q''\\\\\\t\\n\"é'"),
    'text COLLATE "C"': ("'a'", "'A'", "'é'"),
    "text COLLATE folded": ("'a'", "'A'", "'é'"),
    "varchar(20)": ("'a'", "'A'", "' a '"),
    "char(4)": ("'a'", "'ab'", "''"),
    "bpchar": ("'a '", "'ab  '", "''"),
    "name": ("'a'", "'b'", "''"),
    "citext": ("'MiXed'", "'b'", "'É'"),
    "code": ("'MiXed'", "'b'", "'É'"),
    "uuid": ("gen_random_uuid()", "gen_random_uuid()", "gen_random_uuid()"),
    "date": ("'2020-01-01'", "'infinity'", "'0044-03-15 BC'"),
    "timestamp": ("'2020-01-01 00:00:00.000001'", "'-infinity'", "'0044-03-15 BC'"),
    "timestamptz": ("'2020-01-01 00:00:00.000001+00'", "'infinity'", "'294276-01-01'"),
    "bytea": ("'\\x00ff'", "'\\x'", "'\\x01'"),
    "jsonb": ("'{\"a\": [1]}'", "'null'", "'\"x\"'"),
    "inet": ("'1.2.3.4'", "'::1'", "'1.2.3.0/24'"),
    "cidr": ("'10.0.0.0/8'", "'::/0'", "'1.2.3.4/32'"),
    "macaddr": ("'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'", "'00:00:00:00:00:00'"),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'", "'ff:ff:ff:ff:ff:ff:ff:ff'", "'00:00:00:00:00:00:00:00'"),
    "bit(9)": ("B'100000000'", "B'000000001'", "B'000000000'"),
    "int4range": ("'[1,5)'", "'empty'", "'(,)'"),
    "tstzrange": ("'[2020-01-01,)'", "'empty'", "'(,infinity]'"),
    "daterange": ("'[2020-01-01,2020-02-01)'", "'empty'", "'(,)'"),
    "mood": ("'sad'", "'ok'", "'happy'"),
}


def test_keys_change_in_every_way(pair: Pair) -> None:
    pair.src.execute(SCHEMA.encode())
    pair.apply()
    pair.equal(*TABLES)
    for step in CHANGES.split("--"):
        with pair.src.transaction():
            pair.src.execute(step.encode())
    pair.equal(*TABLES)
    # Each change again, as a batch of its own.
    for step in CHANGES.split("--")[1:6]:
        with pair.src.transaction():
            pair.src.execute(
                "DELETE FROM plain; INSERT INTO plain SELECT i, 'v' FROM generate_series(1, 7) i"
            )
        pair.equal("plain")
        with pair.src.transaction():
            pair.src.execute(step.encode())
        pair.equal("plain")


def test_every_type_that_may_be_a_key_is_one(pair: Pair) -> None:
    pair.src.execute(SCHEMA.split("CREATE TABLE", maxsplit=1)[0].encode())
    names = {}
    for number, (kind, values) in enumerate(KEY_TYPES.items()):
        name = names[kind] = f"k{number}"
        pair.src.execute(
            f"CREATE TABLE {name} (k {kind}, n int, v int, list int[] DEFAULT ARRAY[7], PRIMARY KEY (k, n))".encode()
        )
        for n, value in enumerate(v for v in values if v != "NULL"):
            pair.src.execute(f"INSERT INTO {name} VALUES ({value}, {n % 2}, {n})".encode())
    pair.apply()
    keys = {t["source"]: t["key"] for t in pair.cli("plan", "-f", str(pair.spec()))["pipelines"][0]["tables"]}
    assert {kind for kind, name in names.items() if keys[f"public.{name}"] != ["k", "n"]} == set()
    for kind, name in names.items():
        first, second, third = KEY_TYPES[kind]
        for step in (
            f"UPDATE {name} SET v = v + 10, list = list || v",
            f"UPDATE {name} SET n = n + 10 WHERE k = {first}",
            f"INSERT INTO {name} VALUES ({first}, 77, 77), ({second}, 78, 78)",
            f"UPDATE {name} SET k = {second} WHERE n = 77",
            f"DELETE FROM {name} WHERE k = {third}",
            f"UPDATE {name} SET v = 0 WHERE k = {second}",
        ):
            pair.src.execute(step.encode())
    for step in (
        "UPDATE {numeric} SET k = 1.000 WHERE k = 1.0",
        "UPDATE {citext} SET k = 'mixed' WHERE k = 'MIXED'",
        "UPDATE {code} SET k = 'mixed' WHERE k = 'MIXED'",
        "UPDATE {bpchar} SET k = 'a    ' WHERE k = 'a'",
    ):
        pair.src.execute(step.format(**names).encode())
    pair.equal(*names.values())


def test_a_unique_index_of_the_targets_own_stops_only_its_table(pair: Pair) -> None:
    """Loaded again once, for the batch may have lacked its other half; then paused, and the others stream on."""
    pair.src.execute("CREATE TABLE t (id int PRIMARY KEY, u int); INSERT INTO t VALUES (1, 1), (2, 2)")
    pair.src.execute(CANARY)
    pair.apply()
    pair.canary()
    pair.tgt.execute("CREATE UNIQUE INDEX mine ON t (u)")
    pair.src.execute("INSERT INTO t VALUES (3, 1)")
    until(lambda: pair.table("public.t")["state"] == "paused", 90, "the pause")
    assert "mine" in str(pair.table("public.t")["error"])
    assert pair.lines("new cut")
    pair.canary()
    pair.tgt.execute("DROP INDEX mine")
    pair.cli("resync", pair.name, "public.t")
    pair.canary()
    pair.settle("t", "canary")
