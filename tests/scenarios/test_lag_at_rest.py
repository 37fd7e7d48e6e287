"""Lag while nothing is applied: what a pipeline that rests falls behind has to be seen, or nobody is warned."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from support.lab import CANARY, Lab, Pair, until

ROWS = 2000  # The ends of transactions count as records too, a handful.


def samples(lab: Lab, pair: Pair) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.api("GET", f"/pipelines/{pair.name}/metrics").json()["items"]
    return found


def lag(pair: Pair) -> dict[str, Any]:
    found: dict[str, Any] = pair.status()["lag"]
    return found


def change_all(pair: Pair) -> None:
    pair.src.execute("UPDATE one SET v = v || 'x'")


def started(pair: Pair) -> None:
    pair.src.execute(f"CREATE TABLE one AS SELECT i AS id, 'v' AS v FROM generate_series(1, {ROWS}) i")
    pair.src.execute("ALTER TABLE one ADD PRIMARY KEY (id)")
    pair.src.execute(CANARY)
    pair.apply()
    pair.canary()


def test_paused_it_falls_behind_by_events_and_seconds(lab: Lab, pair: Pair) -> None:
    started(pair)
    pair.cli("pause", pair.name)
    pair.wait("paused")
    change_all(pair)
    until(lambda: ROWS <= lag(pair)["events"] < 1.5 * ROWS, 30, "the events")
    until(lambda: lag(pair)["seconds"] > 4, 30, "the age")
    # Another worker knows it from the target and from what was written down.
    lab.kill("worker")
    lab.restart("worker")
    change_all(pair)
    until(lambda: 2 * ROWS <= lag(pair)["events"] < 2.5 * ROWS, 60, "the events, seen by another worker")
    assert lag(pair)["seconds"] > 4
    pair.cli("resume", pair.name)
    pair.wait()
    pair.settle("one")
    until(lambda: (lag(pair)["events"], lag(pair)["seconds"]) == (0, 0.0), 30)
    until(lambda: sum(i["events_processed"] for i in samples(lab, pair)) >= 2 * ROWS, 30, "the samples")
    assert all(i["throughput_events_per_sec"] for i in samples(lab, pair)[1:] if i["events_processed"] > ROWS)


def test_stopped_it_holds_back_wal_and_its_connector_is_stopped(lab: Lab, pair: Pair) -> None:
    started(pair)
    pair.cli("stop", pair.name)
    pair.wait("stopped")
    before = pair.src.execute("SELECT pg_current_wal_lsn()").fetchone()
    for _ in range(5):
        change_all(pair)
    written = pair.src.execute("SELECT pg_current_wal_lsn() - %s::pg_lsn", before).fetchone()
    assert written is not None
    until(lambda: (lag(pair)["bytes"] or 0) >= written[0], 30, "the WAL")
    connectors = lab.api("GET", f"/pipelines/{pair.name}/connectors").json()["items"]
    assert [c["status"] for c in connectors] == ["stopped"]


def test_a_target_that_was_never_written_is_said_and_left_alone(lab: Lab, pair: Pair) -> None:
    started(pair)
    pair.cli("stop", pair.name)
    pair.wait("stopped")
    other = f"{pair.name}_other"
    pair.tgt.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(other)))
    try:
        put(lab, pair, other)
        pair.cli("start", pair.name)
        until(lambda: (pair.status()["error"] or {}).get("code") == "progress_missing", 60, "the error")
        change_all(pair)
        put(lab, pair, pair.name)
        pair.wait()
        pair.settle("one", "canary")
        until(lambda: pair.status()["error"] is None, 30)
    finally:
        pair.tgt.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))


def put(lab: Lab, pair: Pair, database: str) -> None:
    answer = lab.api("PUT", f"/connections/{pair.name}-t", pair.connection("target", database=database))
    assert answer.status_code == 200, answer.text
