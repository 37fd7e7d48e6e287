"""The main job: pgbench writes before, during and after the load; both sides come out equal."""

from __future__ import annotations

import pytest

from support.lab import PGBENCH, Lab, Pair, leftovers, pgbench, pgbench_init, until


def test_loaded_and_streamed_equal_then_deleted_without_a_trace(lab: Lab, pair: Pair) -> None:
    pgbench_init(lab.source, pair.name)
    with pgbench(lab.source, pair.name, clients=8, rate=400):
        pair.apply()
        status = pair.status()
        assert status["phase"] == "incremental"
        assert {t["state"] for t in status["tables"]} == {"live"}
        assert pair.cli("verify", pair.name)["equal"] is True
    pair.equal(*PGBENCH)
    assert pair.cli("apply", "-f", str(pair.spec()))["pipelines"][0]["result"] == "unchanged"
    pair.cli("delete", pair.name)
    assert leftovers(lab, pair) == {
        "slots": [],
        "publications": [],
        "topics": [],
        "connectors": [],
        "progress": [],
    }
    assert pair.rows(pair.tgt, "pgbench_accounts")[0] == 100_000


@pytest.mark.full
@pytest.mark.parametrize("again", range(3))
def test_a_million_rows_under_eight_writers_at_full_speed(lab: Lab, pair: Pair, again: int) -> None:
    pgbench_init(lab.source, pair.name, scale=10)
    history = b"SELECT count(*) FROM pgbench_history"

    def written() -> int:
        return int((pair.src.execute(history).fetchone() or (0,))[0])

    with pgbench(lab.source, pair.name, clients=8):
        until(lambda: written() > 1000, 30)
        pair.apply(wait=None)
        until(lambda: {t["state"] for t in pair.status()["tables"]} <= {"catching_up", "live"}, 120)
        loaded = written()
        until(lambda: written() > loaded + 10_000, 60)
    pair.settle(*PGBENCH, timeout=300)


def test_foreign_keys_are_handed_out_for_the_cutover(pair: Pair) -> None:
    pair.src.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);"
        "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)"
    )
    found = pair.cli("check", "-f", str(pair.spec(constraints="all")))["pipelines"][0]["findings"]
    fix = next(f["fix"] for f in found if f["code"] == "foreign_keys_later")
    pair.apply(constraints="all")
    pair.equal("parent", "child")
    pair.tgt.execute(fix.encode())
    keys = pair.tgt.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").fetchone()
    assert keys == (1,)
