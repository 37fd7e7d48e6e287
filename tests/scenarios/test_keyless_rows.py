"""Tables without a key: equal rows counted, one of several changed, a row that is not there said aloud."""

from __future__ import annotations

from support.lab import Pair, until

SCHEMA = """
CREATE TABLE many (a int, b text);
INSERT INTO many SELECT i % 3, nullif('b' || i % 2, 'b1') FROM generate_series(1, 60) i;
INSERT INTO many SELECT NULL, NULL FROM generate_series(1, 5);
CREATE TABLE odd (f float8, g float4, n numeric, t text, j json, c char(5), ts timestamptz, b bytea, x bit(9));
INSERT INTO odd VALUES
  ('-0', 'NaN', 'NaN', '', '{"a": 1,  "a": 2}', 'a', 'infinity', '\\x00', B'000000001'),
  (0, '-0', 1.0, NULL, 'null', '', '0044-03-15 BC', '\\x', B'100000000'),
  (0, 0, 1.00, 'NULL', NULL, NULL, NULL, NULL, NULL),
  ('NaN', 'Infinity', '-Infinity', E'(,)"\\\\', '[]', ' ', '-infinity', NULL, NULL);
INSERT INTO odd SELECT * FROM odd;
CREATE TABLE one (v text); INSERT INTO one VALUES (''), (NULL), (NULL), ('x'), ('x');
CREATE TABLE parted (a int, b text) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT i % 20, 'x' FROM generate_series(1, 80) i;
CREATE TABLE lossy (a int, list int[]);
"""

CHANGES = """
UPDATE many SET b = 'one' WHERE ctid = (SELECT min(ctid) FROM many WHERE a = 1)
--
DELETE FROM many WHERE ctid IN (SELECT ctid FROM many WHERE a = 2 LIMIT 3)
--
DELETE FROM many WHERE ctid = (SELECT min(ctid) FROM many WHERE a IS NULL); UPDATE many SET a = 9 WHERE ctid =
  (SELECT min(ctid) FROM many WHERE a IS NULL); INSERT INTO many VALUES (NULL, NULL), (9, NULL)
--
INSERT INTO many VALUES (7, 'x'), (7, 'x'), (7, 'x'); UPDATE many SET b = 'y' WHERE a = 7; UPDATE many SET b = 'x' WHERE a = 7;
DELETE FROM many WHERE ctid = (SELECT min(ctid) FROM many WHERE a = 7)
--
INSERT INTO many SELECT * FROM many; UPDATE many SET a = a + 1 WHERE a < 2; DELETE FROM many WHERE a = 2 AND b IS NULL
--
UPDATE odd SET t = coalesce(t, '') || '!' WHERE ctid IN (SELECT min(ctid) FROM odd GROUP BY f::text, g::text)
--
UPDATE odd SET f = -f; DELETE FROM odd WHERE ctid = (SELECT min(ctid) FROM odd WHERE n = 1)
--
UPDATE one SET v = 'y' WHERE ctid = (SELECT min(ctid) FROM one WHERE v = 'x'); DELETE FROM one WHERE v = ''; INSERT INTO one VALUES ('')
--
UPDATE parted SET a = 19 - a WHERE a < 5; DELETE FROM parted WHERE ctid = (SELECT min(ctid) FROM parted_1); UPDATE parted SET b = 'y' WHERE a = 12
"""

TABLES = ("many", "odd", "one", "parted")


def test_equal_rows_are_counted_and_a_missing_one_pauses_the_table(pair: Pair) -> None:
    pair.src.execute(SCHEMA.encode())
    refused = pair.cli("check", "-f", str(pair.spec()), expect=4)
    found = [f for f in refused["pipelines"][0]["findings"] if f["severity"] == "error"]
    assert [(f["code"], f["subject"]) for f in found] == [("keyless_type", "public.lossy")]
    pair.src.execute("DROP TABLE lossy")
    pair.apply()
    pair.equal(*TABLES)
    for step in CHANGES.split("--"):
        with pair.src.transaction():
            pair.src.execute(step.encode())
    pair.equal(*TABLES)
    for step in CHANGES.split("--"):
        with pair.src.transaction():
            pair.src.execute(step.encode())
        pair.equal(*TABLES)
    missing_row(pair)


def missing_row(pair: Pair) -> None:
    pair.tgt.execute("DELETE FROM one WHERE v = 'y'")
    pair.src.execute("UPDATE one SET v = 'z' WHERE v = 'y'")
    until(lambda: pair.table("public.one")["error"], 60, "an error of the table")
    state = pair.table("public.one")
    assert state["state"] in ("paused", "error")
    assert "not in public.one" in str(state["error"])
    assert pair.rows(pair.tgt, "one WHERE v = 'z'")[0] == 0
    pair.src.execute("INSERT INTO many VALUES (1000, 'others go on')")
    pair.equal("many")
    pair.cli("resync", pair.name, "public.one")
    pair.equal("one")
