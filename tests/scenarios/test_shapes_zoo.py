"""Tables of every shape: odd names, many columns or none, partitions, inheritance; every way of writing."""

from __future__ import annotations

import itertools
import threading

import psycopg

from support.lab import Pair, dsn

WIDE = ", ".join(f"c{i} text" for i in range(198))
SCHEMA = f"""
CREATE SCHEMA "Select"; CREATE SCHEMA "a.b"; CREATE SCHEMA "qu""ote";
CREATE TABLE "Select"."From" ("Order" int PRIMARY KEY, "group by" text, "ü é" text, "dot.ted" text, "quo""te" text,
  "new
line" text, "100%%" text, "back\\slash" text, "{{braces}}" int[], "$1" text, ctidx text, "op" text, "before" text);
CREATE TABLE "a.b"."c.d" (id int PRIMARY KEY, v text, l int[]);
CREATE TABLE "qu""ote"."ta""b'le" ("i""d" int PRIMARY KEY, v text);
CREATE TABLE "qu""ote"."new
line" (id int PRIMARY KEY, v text);
CREATE TABLE "Ünï çødé" (id int PRIMARY KEY, v text); CREATE TABLE "漢字テーブル!" (id int PRIMARY KEY, v text);
CREATE TABLE {"n" * 63} ({"i" * 63} int PRIMARY KEY, v text);
CREATE TABLE "CamelCase" ("Id" int PRIMARY KEY, "keyList" text[]); CREATE TABLE camelcase (id int PRIMARY KEY, v text);
CREATE TABLE wide (id int PRIMARY KEY, {WIDE});
CREATE TABLE empty (id int PRIMARY KEY, v text);
CREATE TABLE single (v text); CREATE TABLE single_key (id bigint PRIMARY KEY);
CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) STORED,
  c int GENERATED ALWAYS AS (a + 1) VIRTUAL, d int DEFAULT 5, e bigserial);
CREATE TABLE made_keyless (a int, b text GENERATED ALWAYS AS (a || '!') STORED);
CREATE TABLE gone (id int PRIMARY KEY, a text, x int, b text); ALTER TABLE gone DROP COLUMN x;
CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (more int, PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE ranged (id int, at date, v text, l int[], PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE ranged_20 PARTITION OF ranged FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE ranged_21 PARTITION OF ranged FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY HASH (id);
CREATE TABLE ranged_21_0 PARTITION OF ranged_21 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE ranged_21_1 PARTITION OF ranged_21 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE ranged_rest PARTITION OF ranged DEFAULT;
CREATE TABLE listed (kind text, id int, v text) PARTITION BY LIST (kind);
CREATE TABLE listed_a PARTITION OF listed FOR VALUES IN ('a', NULL); CREATE TABLE listed_b PARTITION OF listed DEFAULT;
CREATE TABLE attached (v text, pad int, id int NOT NULL, kind text); ALTER TABLE attached DROP COLUMN pad;
ALTER TABLE listed ATTACH PARTITION attached FOR VALUES IN ('z');
CREATE TABLE copied (id int PRIMARY KEY, v text, at timestamptz);
CREATE TABLE master (id int PRIMARY KEY); CREATE TABLE detail (id int PRIMARY KEY, m int REFERENCES master ON DELETE CASCADE);
CREATE TABLE flight (id int PRIMARY KEY, v text); CREATE TABLE flight_keyless (id int, v text);
INSERT INTO "Select"."From" SELECT i, 'g', 'u', 'd', 'q', 'n', 'p', 'b', ARRAY[i], '1', 'c', 'o', 'b' FROM generate_series(1, 5) i;
INSERT INTO "a.b"."c.d" VALUES (1, 'x', '{{1}}'); INSERT INTO "qu""ote"."ta""b'le" VALUES (1, 'x');
INSERT INTO "qu""ote"."new
line" VALUES (1, 'x');
INSERT INTO "Ünï çødé" VALUES (1, 'x'); INSERT INTO "漢字テーブル!" VALUES (1, 'x'); INSERT INTO {"n" * 63} VALUES (1, 'x');
INSERT INTO "CamelCase" VALUES (1, '{{a,B}}'); INSERT INTO camelcase VALUES (1, 'x');
INSERT INTO wide (id, c0, c197) SELECT i, 'a', 'z' FROM generate_series(1, 50) i;
INSERT INTO single VALUES ('a'), ('a'), (NULL); INSERT INTO single_key VALUES (1), (2);
INSERT INTO made (a) SELECT generate_series(1, 5); INSERT INTO made_keyless VALUES (1), (1); INSERT INTO gone VALUES (1, 'a', 'b');
INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c', 7);
INSERT INTO ranged SELECT i, date '2019-06-01' + i * 40, 'v', ARRAY[i] FROM generate_series(1, 40) i;
INSERT INTO listed SELECT (ARRAY['a', 'b', NULL, 'z'])[i % 4 + 1], i, 'v' FROM generate_series(1, 20) i;
INSERT INTO master SELECT generate_series(1, 9); INSERT INTO detail SELECT i, i FROM generate_series(1, 9) i;
INSERT INTO flight VALUES (1, 'before'); INSERT INTO flight_keyless VALUES (1, 'before')
"""

CHANGES = """
UPDATE "Select"."From" SET "group by" = 'x', "{braces}" = NULL, "op" = 'd', "before" = 'y' WHERE "Order" < 3;
  UPDATE "Select"."From" SET "Order" = 50 WHERE "Order" = 4; DELETE FROM "Select"."From" WHERE "Order" = 5
--
UPDATE "a.b"."c.d" SET v = 'y', l = l || 2; INSERT INTO "a.b"."c.d" VALUES (2, NULL, NULL)
--
UPDATE "qu""ote"."ta""b'le" SET v = 'y'; INSERT INTO "qu""ote"."ta""b'le" VALUES (2, 'z')
--
UPDATE "qu""ote"."new
line" SET v = 'y'
--
UPDATE "Ünï çødé" SET v = 'y'; INSERT INTO "漢字テーブル!" VALUES (2, 'ö'); DELETE FROM "漢字テーブル!" WHERE id = 1
--
UPDATE "CamelCase" SET "keyList" = NULL; INSERT INTO camelcase VALUES (2, 'y')
--
UPDATE wide SET c7 = 'x', c197 = NULL WHERE id < 20; DELETE FROM wide WHERE id > 45; INSERT INTO wide (id) VALUES (99)
--
INSERT INTO empty SELECT i, 'v' FROM generate_series(1, 3) i; DELETE FROM empty
--
UPDATE single SET v = 'b' WHERE ctid = '(0,1)'; DELETE FROM single WHERE v IS NULL; UPDATE single_key SET id = 9 WHERE id = 1
--
INSERT INTO made (a) VALUES (77); UPDATE made SET a = -a WHERE id < 3; INSERT INTO made (id, a) OVERRIDING SYSTEM VALUE VALUES (1000, 1);
  UPDATE made_keyless SET a = 2 WHERE ctid = '(0,1)'; INSERT INTO gone VALUES (2, NULL, 'b'); UPDATE gone SET b = 'x'
--
UPDATE parent SET v = 'both'; UPDATE ONLY parent SET v = 'only'; INSERT INTO child VALUES (3, 'c', 8); DELETE FROM parent WHERE id = 2
--
UPDATE ranged SET at = at + 366 WHERE id % 3 = 0; UPDATE ranged SET v = 'w', l = l || 1 WHERE id % 4 = 0; DELETE FROM ranged WHERE id < 4
--
UPDATE ranged SET id = id + 1000, at = '1999-01-01' WHERE id BETWEEN 10 AND 12; INSERT INTO ranged_20 VALUES (500, '2020-05-05', 'leaf', NULL)
--
UPDATE listed SET kind = 'a' WHERE id < 6; UPDATE listed SET kind = 'z' WHERE id BETWEEN 7 AND 12; UPDATE listed SET kind = NULL WHERE id = 13;
  DELETE FROM listed WHERE id = 14; UPDATE attached SET v = 'attached'
--
INSERT INTO copied SELECT i, 'r', now() FROM generate_series(1, 10) i;
  INSERT INTO copied VALUES (1, 'conflict', NULL), (200001, 'fresh', NULL) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
  INSERT INTO copied VALUES (2, 'not', NULL) ON CONFLICT DO NOTHING
--
SAVEPOINT a; INSERT INTO flight VALUES (10, 'undone'); UPDATE flight SET v = 'undone'; ROLLBACK TO a; INSERT INTO flight VALUES (11, 'kept');
  SAVEPOINT b; INSERT INTO flight VALUES (12, 'sub'); RELEASE b; INSERT INTO flight_keyless VALUES (11, 'kept')
--
DELETE FROM master WHERE id < 4
--
INSERT INTO empty VALUES (7, 'x'); TRUNCATE empty; INSERT INTO empty VALUES (8, 'y')
"""

TABLES = (
    '"Select"."From"', '"a.b"."c.d"', '"qu""ote"."ta""b\'le"', '"qu""ote"."new\nline"', '"Ünï çødé"', '"漢字テーブル!"',
    "n" * 63, '"CamelCase"', "camelcase", "wide", "empty", "single", "single_key", "made", "made_keyless", "gone", "ONLY parent",
    "child", "ranged", "ranged_20", "ranged_21_1", "ranged_rest", "listed", "listed_a", "copied", "master", "detail",
    "flight", "flight_keyless",
)  # fmt: skip


def test_tables_of_every_shape_written_in_every_way(pair: Pair) -> None:
    pair.src.execute(SCHEMA.encode())
    pair.src.execute("CREATE TABLE none ()")
    zero = pair.cli("check", "-f", str(pair.spec()), expect=2)
    assert "no_columns" in str(zero)
    pair.src.execute("DROP TABLE none")
    across_the_cut(pair)
    pair.equal(*TABLES)
    for step in CHANGES.split("--\n"):
        with pair.src.transaction():
            for statement in step.split(";"):
                pair.src.execute(statement.encode())
    bulk(pair)
    pair.equal(*TABLES)
    truncates(pair)


def across_the_cut(pair: Pair) -> None:
    """Make the pipeline while transactions are always open, some of them prepared, some undone."""
    stop = threading.Event()
    writers = [threading.Thread(target=_write, args=(pair, number, stop)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        pair.apply()
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def _write(pair: Pair, writer: int, stop: threading.Event) -> None:
    with psycopg.connect(dsn(pair.lab.source, pair.name), autocommit=True) as conn:
        for number in itertools.count(1000 * (writer + 1)):
            if stop.is_set():
                return
            conn.execute("BEGIN")
            conn.execute("INSERT INTO flight VALUES (%s, 'w')", [number])
            conn.execute("INSERT INTO flight_keyless VALUES (1, 'w')")
            stop.wait(0.15)
            conn.execute("UPDATE flight SET v = 'w2' WHERE id = %s", [number - 1])
            if writer == 0:
                conn.execute("PREPARE TRANSACTION 'over'")
                stop.wait(0.15)
                conn.execute("COMMIT PREPARED 'over'" if number % 3 else "ROLLBACK PREPARED 'over'")
            else:
                conn.execute("ROLLBACK" if number % 5 == 0 else "COMMIT")


def bulk(pair: Pair) -> None:
    with pair.src.cursor().copy("COPY copied (id, v) FROM STDIN") as copy:
        for number in range(1000, 101_000):
            copy.write_row((number, f"row {number}"))


def truncates(pair: Pair) -> None:
    pair.src.execute(
        "TRUNCATE master CASCADE; TRUNCATE made RESTART IDENTITY; TRUNCATE ranged, single; TRUNCATE listed"
    )
    pair.src.execute("INSERT INTO made (a) VALUES (3); INSERT INTO single VALUES ('after')")
    pair.src.execute("TRUNCATE ONLY parent; INSERT INTO parent VALUES (70, 'after')")
    pair.equal(*TABLES)
    pair.src.execute("TRUNCATE parent; INSERT INTO ranged VALUES (1, '2020-02-02', 'after', '{}')")
    pair.equal(*TABLES)
