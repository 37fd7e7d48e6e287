"""What is asked of a pipeline that rests ends with an answer: it never waits for somebody who will not come."""

from __future__ import annotations

from support.lab import Lab, Pair, until

TABLE = "CREATE TABLE lone (id int PRIMARY KEY, v text)"


def refused(pair: Pair) -> None:
    """Its one table is paused by a row that the target refuses, and so is the pipeline."""
    pair.src.execute(TABLE)
    pair.src.execute("INSERT INTO lone SELECT i, 'v' FROM generate_series(1, 100) i")
    pair.apply()
    pair.tgt.execute("ALTER TABLE lone ADD CHECK (v <> 'no')")
    pair.src.execute("UPDATE lone SET v = 'no' WHERE id = 5")
    until(lambda: pair.status()["status"] == "error", 60, "the error")


def test_resync_mends_the_only_table(pair: Pair) -> None:
    refused(pair)
    pair.tgt.execute("ALTER TABLE lone DROP CONSTRAINT lone_v_check")
    assert pair.cli("resync", pair.name, "public.lone")["result"]["rows"] == 100
    pair.settle("lone")
    pair.src.execute("UPDATE lone SET v = 'again'")
    pair.settle("lone")


def test_verify_of_one_in_error_says_what_is_wrong(lab: Lab, pair: Pair) -> None:
    refused(pair)
    done = lab.run("verify", pair.name)
    assert done.returncode == 1
    assert "in error" in done.stderr
    assert f"headrace resync {pair.name} public.lone" in done.stderr


def test_what_waits_ends_when_it_is_stopped(lab: Lab, pair: Pair) -> None:
    pair.src.execute(TABLE)
    pair.apply()

    def status() -> str:
        return str(lab.api("GET", f"/requests/{asked['id']}").json()["status"])

    with pair.tgt.transaction():
        pair.tgt.execute("LOCK TABLE lone IN ACCESS SHARE MODE")
        asked = lab.api("POST", f"/pipelines/{pair.name}/tables/public.lone/resync").json()
        until(lambda: status() == "running", 30)
        pair.cli("stop", pair.name)
        pair.wait("stopped")
    until(lambda: status() != "running", 30, "an answer")
    assert lab.api("GET", f"/requests/{asked['id']}").json()["error"]["code"] == "not_running"
    pair.cli("start", pair.name)
    pair.settle("lone")


def test_verify_of_a_paused_one_claims_nothing(lab: Lab, pair: Pair) -> None:
    pair.src.execute(TABLE)
    pair.apply()
    pair.cli("pause", pair.name)
    pair.wait("paused")
    pair.src.execute("INSERT INTO lone VALUES (1, 'unseen')")
    done = lab.run("verify", pair.name)
    assert done.returncode == 5
    assert "not compared" in done.stdout
    assert "yes" not in done.stdout
    assert "differ." not in done.stdout
    assert f"headrace resume {pair.name}" in done.stdout
    assert pair.cli("verify", pair.name, expect=5)["equal"] is False
