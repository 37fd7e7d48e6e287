"""Pausing, stopping, changing and deleting pipelines while they work."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.lab import CANARY, NOTHING, PGBENCH, Lab, Pair, leftovers, pgbench, pgbench_init, until

SMALL = """
CREATE TABLE one (id int PRIMARY KEY, v text, w text);
CREATE TABLE two (a int, b text);
INSERT INTO one SELECT i, 'v' || i, 'w' FROM generate_series(1, 300) i;
INSERT INTO two SELECT i % 30, 'b' FROM generate_series(1, 300) i;
"""


@pytest.fixture
def small(pair: Pair) -> Pair:
    """Two small tables and a canary."""
    pair.src.execute(SMALL)
    pair.src.execute(CANARY)
    return pair


def test_paused_under_load_then_resumed_then_stopped_and_started(lab: Lab, pair: Pair) -> None:
    pgbench_init(lab.source, pair.name)
    pair.src.execute(CANARY)
    with pgbench(lab.source, pair.name, rate=200):
        pair.apply()
        pair.cli("pause", pair.name)
        pair.wait("paused")
        still = pair.rows(pair.tgt, "pgbench_history")
        written = pair.rows(pair.src, "pgbench_history")[0]
        until(lambda: pair.rows(pair.src, "pgbench_history")[0] > written + 100)
        assert pair.rows(pair.tgt, "pgbench_history") == still
        pair.cli("resume", pair.name)
        pair.wait()
        pair.canary()
        pair.cli("stop", pair.name)
        pair.wait("stopped")
        still = pair.rows(pair.tgt, "pgbench_history")
        written = pair.rows(pair.src, "pgbench_history")[0]
        until(lambda: pair.rows(pair.src, "pgbench_history")[0] > written + 100)
        assert pair.rows(pair.tgt, "pgbench_history") == still
        pair.cli("start", pair.name)
        pair.wait()
        pair.canary()
    pair.settle(*PGBENCH)
    assert not pair.lines("new cut"), pair.log()


def test_deleted_while_it_streams(lab: Lab, pair: Pair) -> None:
    pgbench_init(lab.source, pair.name)
    with pgbench(lab.source, pair.name, rate=200):
        pair.apply()
        pair.cli("delete", pair.name)
        assert leftovers(lab, pair) == NOTHING
    assert pair.rows(pair.tgt, "pgbench_accounts")[0] == 100_000


def test_deleted_while_it_loads(lab: Lab, pair: Pair) -> None:
    pair.src.execute("CREATE TABLE big AS SELECT i, repeat('x', 400) FROM generate_series(1, 300000) i")
    pair.apply(wait=None, load={"workers": 1, "rows_per_second": 10000})
    until(lambda: pair.status()["phase"] == "seeding" and pair.status()["tables"], 30)
    pair.cli("delete", pair.name)
    assert leftovers(lab, pair) == NOTHING
    assert pair.tgt.execute("SELECT to_regclass('big')").fetchone() == (None,)


def test_deleted_with_its_target_tables(lab: Lab, small: Pair) -> None:
    small.apply()
    small.cli("delete", small.name, "--drop-target")
    assert leftovers(lab, small) == NOTHING
    assert small.tgt.execute("SELECT to_regclass('one'), to_regclass('two')").fetchone() == (None, None)


def test_load_that_fails_half_way_leaves_nothing(lab: Lab, small: Pair) -> None:
    # A row that no target takes: the type says yes, a check that only the target has says no.
    small.tgt.execute("CREATE DOMAIN narrow AS text CHECK (length(VALUE) < 3)")
    small.src.execute("CREATE DOMAIN narrow AS text")
    small.src.execute("CREATE TABLE bad (id int PRIMARY KEY, v narrow)")
    small.src.execute("INSERT INTO bad SELECT i, 'too long' FROM generate_series(1, 1000) i")
    done = lab.run("apply", "-f", str(small.spec()), "--json")
    if done.returncode == 0:
        until(lambda: small.status()["status"] == "error", 60, "the error")
        assert small.status()["error"]["message"]
        lab.run("wait", small.name, "--for", "incremental", "--timeout", "5")
        until(lambda: leftovers(lab, small) == NOTHING, 30, "nothing left")
        small.cli("delete", small.name)
    assert leftovers(lab, small) == NOTHING
    assert small.tgt.execute("SELECT to_regclass('bad')").fetchone() == (None,)


def test_applied_twice_then_table_added_columns_changed_and_table_removed(lab: Lab, small: Pair) -> None:
    small.apply(tables=["public.one", "public.canary"])
    spec = small.spec(tables=["public.one", "public.canary"])
    assert small.cli("apply", "-f", str(spec))["pipelines"][0]["result"] == "unchanged"
    small.src.execute("INSERT INTO one VALUES (1000, 'x', 'y')")

    small.apply(tables=["public.one", "public.two", "public.canary"])
    until(lambda: {t["name"] for t in small.status()["tables"]} >= {"public.two"})
    small.src.execute("INSERT INTO two VALUES (1000, 'x')")
    small.settle("one", "two", "canary")

    without = {"name": "public.one", "columns": {"exclude": ["w"]}}
    small.apply(tables=[without, "public.two", "public.canary"])
    small.src.execute("UPDATE one SET v = 'changed' WHERE id < 10")
    until(lambda: "w" not in columns(small, "one"), 60, "the column to go")
    small.settle("two", "canary")
    small.equal("one", columns="id, v")

    small.apply(tables=[without, "public.canary"])
    until(lambda: "public.two" not in {t["name"] for t in small.status()["tables"]})
    frozen = small.rows(small.tgt, "two")
    small.src.execute("INSERT INTO two VALUES (2000, 'not for us')")
    small.canary()
    assert small.rows(small.tgt, "two") == frozen
    published = small.src.execute("SELECT tablename FROM pg_publication_tables ORDER BY 1").fetchall()
    assert published == [("canary",), ("one",)]
    # And back again, once the old copy is out of the way: what was missed meanwhile is there.
    small.tgt.execute("DROP TABLE two")
    small.apply(tables=["public.one", "public.two", "public.canary"])
    until(lambda: "public.two" in {t["name"] for t in small.status()["tables"]})
    small.src.execute("INSERT INTO two VALUES (3000, 'for us again')")
    small.settle("one", "two", "canary")
    small.canary()


def columns(pair: Pair, table: str) -> list[str]:
    """Columns of a target table."""
    found = pair.tgt.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table],
    )
    return [str(name) for (name,) in found]


def test_full_load_only_ends_idle(lab: Lab, small: Pair) -> None:
    small.apply(wait="idle", mode="full_load_only")
    small.equal("one", "two", "canary")
    found = leftovers(lab, small)
    assert (found["slots"], found["publications"], found["topics"], found["connectors"]) == ([], [], [], [])
    small.cli("delete", small.name)
    assert leftovers(lab, small) == NOTHING


def test_cdc_only_loses_nothing_from_its_start(lab: Lab, small: Pair) -> None:
    small.tgt.execute(SMALL)
    small.tgt.execute(CANARY)
    small.cli("apply", "-f", str(small.spec(mode="cdc_only")), "--no-start")
    small.cli("start", small.name)
    slots = "SELECT 1 FROM pg_replication_slots WHERE database = current_database()"
    until(lambda: small.src.execute(slots).fetchone(), 30, "the slot")
    # Committed before the connector runs, after the slot is there.
    small.src.execute("UPDATE one SET v = 'early' WHERE id <= 20")
    small.src.execute("INSERT INTO two VALUES (99, 'early')")
    small.wait()
    small.src.execute("DELETE FROM two WHERE a = 3")
    small.canary()
    small.equal("one", "two")
    # Another table joins while it streams; it starts as it is, like the others did.
    assert Path(small.spec(mode="cdc_only")).exists()
    small.src.execute("CREATE TABLE three (id int PRIMARY KEY)")
    small.tgt.execute("CREATE TABLE three (id int PRIMARY KEY)")
    small.apply(mode="cdc_only", exclude=["public.nothing"])
    until(lambda: "public.three" in {t["name"] for t in small.status()["tables"]}, 30)
    published = "SELECT 1 FROM pg_publication_tables WHERE tablename = 'three'"
    until(lambda: small.src.execute(published).fetchone(), 30, "the publication")
    small.src.execute("INSERT INTO three SELECT generate_series(1, 100)")
    small.settle("one", "two", "three")


def test_cdc_only_with_a_lost_slot_is_mended_by_a_load(small: Pair) -> None:
    small.tgt.execute(SMALL)
    small.tgt.execute(CANARY)
    small.apply(mode="cdc_only")
    small.canary()
    slot = small.src.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    ).fetchone()
    assert slot is not None
    small.cli("stop", small.name)
    small.wait("stopped")
    small.src.execute("UPDATE one SET v = 'in nobody''s log' WHERE id <= 20")
    small.src.execute("INSERT INTO two VALUES (99, 'in nobody''s log')")
    small.src.execute("SELECT pg_drop_replication_slot(%s)", [slot[0]])
    small.cli("start", small.name)
    until(lambda: small.lines("is gone"), 60, "the log to say it")
    small.settle("one", "two", "canary")
    small.canary()


def test_sequences_follow_and_never_go_back(pair: Pair) -> None:
    pair.src.execute("CREATE TABLE s (id serial PRIMARY KEY, down bigint)")
    pair.src.execute(
        "CREATE SEQUENCE down INCREMENT -5; ALTER TABLE s ALTER down SET DEFAULT nextval('down')"
    )
    pair.apply()
    pair.src.execute("INSERT INTO s SELECT FROM generate_series(1, 50)")

    def stand() -> list[object]:
        rows = [pair.tgt.execute(f"SELECT last_value FROM {name}".encode()) for name in ("s_id_seq", "down")]
        return [found[0] for row in rows if (found := row.fetchone())]

    until(lambda: stand() == [50, -246], 60, "the sequences to follow")
    pair.tgt.execute("SELECT setval('s_id_seq', 1000)")
    pair.src.execute("INSERT INTO s SELECT FROM generate_series(1, 10)")
    until(lambda: stand() == [1000, -296], 60, "the sequences to follow")
