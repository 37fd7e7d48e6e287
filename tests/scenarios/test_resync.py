"""One table is loaded again, or joins, or is mended, while the others stream."""

from __future__ import annotations

import pytest

from support.lab import CANARY, PGBENCH, Lab, Pair, pgbench, pgbench_init, until


@pytest.fixture
def bench(lab: Lab, pair: Pair) -> Pair:
    """pgbench's tables and a canary on the source."""
    pgbench_init(lab.source, pair.name)
    pair.src.execute(CANARY)
    return pair


def test_damaged_tables_are_mended_by_resync_under_load(lab: Lab, bench: Pair) -> None:
    with pgbench(lab.source, bench.name, rate=200):
        bench.apply()
        oid = bench.tgt.execute("SELECT 'pgbench_accounts'::regclass::oid").fetchone()
        bench.tgt.execute("CREATE VIEW hangs_on_it AS SELECT aid FROM pgbench_accounts")
        bench.tgt.execute("DELETE FROM pgbench_accounts WHERE aid % 1000 = 0")
        bench.tgt.execute("UPDATE pgbench_accounts SET filler = 'damaged' WHERE aid % 1000 = 1")
        bench.tgt.execute("INSERT INTO pgbench_accounts VALUES (-1, 1, 0, 'extra')")
        bench.tgt.execute(
            "DELETE FROM pgbench_history WHERE ctid IN (SELECT ctid FROM pgbench_history LIMIT 5)"
        )
        bench.tgt.execute("INSERT INTO pgbench_history SELECT * FROM pgbench_history LIMIT 7")
        for table in ("public.pgbench_accounts", "public.pgbench_history"):
            bench.cli("resync", bench.name, table)
        bench.wait()
        bench.canary()
    bench.settle(*PGBENCH)
    # Only the differences were written: what hangs on the table is still there.
    assert bench.tgt.execute("SELECT 'pgbench_accounts'::regclass::oid").fetchone() == oid
    assert bench.tgt.execute("SELECT count(*) FROM hangs_on_it").fetchone() == (100_000,)


def test_cut_says_for_whom_it_waits(lab: Lab, bench: Pair) -> None:
    bench.apply()
    bench.src.execute("BEGIN; UPDATE pgbench_branches SET bbalance = 7; PREPARE TRANSACTION 'forgotten'")
    try:
        lab.api("POST", f"/pipelines/{bench.name}/tables/public.pgbench_tellers/resync")
        until(lambda: (bench.status()["error"] or {}).get("code") == "cut_waits", 30)
        assert "'forgotten'" in bench.status()["error"]["message"]
        assert len(bench.lines("the cut waits")) == 1
    finally:
        bench.src.execute("COMMIT PREPARED 'forgotten'")
    bench.settle(*PGBENCH)
    until(lambda: bench.status()["error"] is None, 30)


def test_table_joins_the_live_pipeline_exactly(lab: Lab, bench: Pair) -> None:
    with pgbench(lab.source, bench.name, rate=200):
        bench.apply(tables=["public.canary", "public.pgbench_tellers"])
        bench.apply(tables=["public.canary", "public.pgbench_*"])
        until(lambda: len(bench.status()["tables"]) == 5, 30, "five tables")
        bench.wait()
        bench.canary()
    bench.settle(*PGBENCH)


def test_verify_finds_what_was_planted_and_repairs_it(lab: Lab, bench: Pair) -> None:
    script = (
        "\\set a random(1001, 2000)\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :a;\n"
    )
    with pgbench(lab.source, bench.name, rate=50, clients=1, script=script):
        bench.apply()
        bench.tgt.execute("DELETE FROM pgbench_accounts WHERE aid = 11")
        bench.tgt.execute("UPDATE pgbench_accounts SET abalance = -77 WHERE aid = 12")
        bench.tgt.execute("INSERT INTO pgbench_accounts VALUES (-13, 1, 0, 'extra')")
        report = bench.cli("verify", bench.name, expect=6)
        accounts = next(t for t in report["tables"] if t["name"] == "public.pgbench_accounts")
        found = {(d["kind"], str(d["key"]["aid"])) for d in accounts["differences"]}
        assert found == {("missing", "11"), ("different", "12"), ("extra", "-13")}
        bench.cli("verify", bench.name, "--repair")
        assert bench.cli("verify", bench.name)["equal"] is True
    bench.settle(*PGBENCH)


def test_repair_mends_what_it_can_and_names_the_rest(bench: Pair) -> None:
    bench.apply()
    bench.tgt.execute("UPDATE pgbench_accounts SET abalance = -77 WHERE aid = 12")
    bench.tgt.execute("INSERT INTO pgbench_history VALUES (1, 1, 1, 1, now())")
    bench.tgt.execute("DELETE FROM pgbench_tellers WHERE tid = 3")
    report = bench.cli("verify", bench.name, "--repair", expect=6)
    assert {t["name"] for t in report["tables"] if not t["equal"]} == {"public.pgbench_history"}
    errors = {t["name"]: t["repair_error"]["code"] for t in report["tables"] if t["repair_error"]}
    assert errors == {"public.pgbench_history": "not_repairable"}
    bench.equal("pgbench_accounts", "pgbench_tellers")


def test_resync_of_an_unknown_table(bench: Pair) -> None:
    bench.apply()
    done = bench.lab.run("resync", bench.name, "public.nothing", "--json")
    assert done.returncode == 3
    assert "public.nothing" in done.stderr + done.stdout
