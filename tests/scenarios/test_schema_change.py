"""The source's tables change while they are streamed."""

from __future__ import annotations

import pytest

from support.lab import CANARY, Lab, Pair, pgbench, until

TABLE = """
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text);
INSERT INTO t SELECT i, 0, 'v' || i FROM generate_series(1, 2000) i;
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless SELECT i % 100, 'b' FROM generate_series(1, 500) i;
"""
WRITE = """
\\set i random(1, 2000)
\\set j random(1, 1000000000)
UPDATE t SET n = n + 1 WHERE id = :i;
INSERT INTO t (id, n, v) VALUES (100000 + :j, 1, 'new') ON CONFLICT DO NOTHING;
DELETE FROM t WHERE id = 100000 + :j - 7;
INSERT INTO keyless (a, b) VALUES (:i % 100, 'more');
"""


@pytest.fixture
def changing(pair: Pair) -> Pair:
    """A table with a key, one without, and a canary."""
    pair.src.execute(TABLE)
    pair.src.execute(CANARY)
    return pair


def test_columns_added_under_load(lab: Lab, changing: Pair) -> None:
    with pgbench(lab.source, changing.name, clients=2, rate=100, script=WRITE):
        changing.apply()
        for column in (
            "plain text",
            "fixed text DEFAULT 'the same for all'",
            "counted int NOT NULL DEFAULT 42",
            "chance uuid DEFAULT gen_random_uuid()",
            "moment timestamptz NOT NULL DEFAULT now()",
            "shaky double precision DEFAULT random()",
        ):
            changing.src.execute(f"ALTER TABLE t ADD COLUMN {column}".encode())
            changing.canary()
        changing.src.execute("ALTER TABLE t ADD COLUMN filled text")
        changing.src.execute("UPDATE t SET filled = 'back-filled ' || id")
        changing.src.execute(
            "ALTER TABLE keyless ADD COLUMN c text DEFAULT 'c', ADD COLUMN d uuid DEFAULT gen_random_uuid()"
        )
        changing.canary()
    changing.settle("t", "keyless", "canary")
    row = changing.tgt.execute("SELECT count(*), count(DISTINCT chance), count(filled) FROM t").fetchone()
    assert row is not None
    assert row[1] == row[0] > 0
    assert row[2] >= 2000 - 10


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("ALTER TABLE t DROP COLUMN v", "dropped"),
        ("ALTER TABLE t RENAME COLUMN v TO renamed", "renamed"),
        ("ALTER TABLE t ALTER COLUMN n TYPE bigint", "changed from"),
    ],
    ids=["dropped", "renamed", "retyped"],
)
def test_other_changes_pause_the_table_and_resync_takes_the_new_shape(
    changing: Pair, change: str, word: str
) -> None:
    changing.apply()
    changing.src.execute("UPDATE t SET n = n + 1 WHERE id < 10")
    changing.src.execute(change.encode())
    changing.src.execute("UPDATE t SET n = n + 1 WHERE id < 20")
    until(lambda: changing.table("public.t")["state"] == "paused", 60, "the pause")
    told = changing.table("public.t")["error"]
    assert told["code"] == "schema_changed"
    assert word in told["message"]
    assert f"headrace resync {changing.name} public.t" in told["guidance"]
    # Others stream on.
    changing.src.execute("INSERT INTO keyless VALUES (1, 'goes on')")
    changing.canary()
    changing.equal("keyless")
    changing.src.execute("UPDATE t SET n = n + 1 WHERE id < 30")
    changing.cli("resync", changing.name, "public.t")
    changing.src.execute("UPDATE t SET n = n + 1 WHERE id < 40")
    changing.settle("t", "keyless")


def test_partitions_attached_added_detached_and_truncated(changing: Pair) -> None:
    changing.src.execute(
        "CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);"
        "INSERT INTO p SELECT i, 'p1' FROM generate_series(1, 500) i"
    )
    changing.apply()
    changing.src.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (2000)")
    changing.src.execute("INSERT INTO p SELECT i, 'p2' FROM generate_series(1000, 1500) i")
    changing.canary()
    changing.settle("p")
    changing.src.execute("CREATE TABLE p3 (id int PRIMARY KEY, v text)")
    changing.src.execute("INSERT INTO p3 SELECT i, 'came with the attach' FROM generate_series(2000, 2500) i")
    changing.src.execute("ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (2000) TO (3000)")
    changing.src.execute("INSERT INTO p VALUES (2900, 'after')")
    changing.settle("p")
    changing.src.execute("ALTER TABLE p DETACH PARTITION p2")
    changing.src.execute("UPDATE p SET v = 'more' WHERE id < 50")
    changing.settle("p")
    # No log tells of this one.
    changing.src.execute("TRUNCATE p1")
    changing.src.execute("INSERT INTO p VALUES (1, 'after')")
    changing.settle("p")


def test_truncate_and_rewrite_while_streaming(changing: Pair) -> None:
    changing.apply()
    changing.src.execute("TRUNCATE keyless")
    changing.src.execute("INSERT INTO keyless VALUES (1, 'after the truncate')")
    changing.src.execute("VACUUM FULL t")
    changing.src.execute("UPDATE t SET n = 7 WHERE id < 9")
    with changing.src.transaction():
        changing.src.execute("INSERT INTO t VALUES (99999, 1, 'goes')")
        changing.src.execute("TRUNCATE t")
        changing.src.execute("INSERT INTO t VALUES (5, 1, 'stays')")
    changing.settle("t", "keyless")


def test_rewritten_during_its_load_is_loaded_again(lab: Lab, pair: Pair) -> None:
    pair.src.execute("CREATE TABLE big (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    pair.src.execute("CREATE TABLE big_a PARTITION OF big FOR VALUES FROM (0) TO (300000)")
    pair.src.execute("CREATE TABLE big_b PARTITION OF big FOR VALUES FROM (300000) TO (500000)")
    pair.src.execute("INSERT INTO big SELECT i, repeat(md5(i::text), 12) FROM generate_series(1, 400000) i")
    pair.src.execute(CANARY)
    # As slow as it takes to get a rewrite in between.
    pair.apply(wait=None, load={"workers": 1, "rows_per_second": 60000})
    state = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'headrace snapshot' AND datname = current_database()"
    until(lambda: pair.src.execute(state).fetchone(), 60, "the snapshot")
    # The worker locks what it has read; the second partition it has not come to.
    pair.src.execute("VACUUM FULL big_b")
    pair.wait()
    pair.settle("big")
    assert pair.lines("rewritten or altered"), pair.log()


@pytest.mark.parametrize(
    "change",
    [
        # As Django adds a column: the rows get the default, which is gone before anybody looks.
        "ALTER TABLE t ADD COLUMN x int DEFAULT 5 NOT NULL; ALTER TABLE t ALTER COLUMN x DROP DEFAULT",
        "ALTER TABLE t ADD COLUMN x text DEFAULT 'a'; ALTER TABLE t ALTER COLUMN x SET DEFAULT 'b'",
        "ALTER TABLE t ADD COLUMN x int DEFAULT random() * 100; ALTER TABLE t ALTER COLUMN x DROP DEFAULT",
        "ALTER TABLE t ADD COLUMN x int[] DEFAULT '{1,2}'; ALTER TABLE t ALTER COLUMN x SET DEFAULT '{}'",
        "DELETE FROM t; ALTER TABLE t ADD COLUMN x int NOT NULL; INSERT INTO t VALUES (1, 2, 'v', 3)",
    ],
    ids=["dropped", "changed", "rewritten", "array", "emptied"],
)
def test_a_default_that_was_another_when_the_column_came(changing: Pair, change: str) -> None:
    changing.apply()
    changing.canary()
    with changing.src.transaction():
        changing.src.execute(change.encode())
        changing.src.execute("UPDATE t SET n = n + 1 WHERE id < 10")
    changing.canary()
    changing.settle("t", "keyless", "canary")
    assert not changing.tgt.execute("SELECT 1 FROM headrace.progress WHERE state = 'paused'").fetchone()
