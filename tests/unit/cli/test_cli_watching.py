"""alerts, audit, dead-letters, metrics, runs, logs."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_tools import Cli

from headrace.actor import Actor, acting
from headrace.spec.names import TableName


@pytest.fixture
def api(cli: Cli) -> Any:
    token = (cli.data / "token").read_text().strip()
    with httpx.Client(base_url=f"{cli.url}/api/v1", headers={"authorization": f"Bearer {token}"}) as client:
        yield client


def test_rules_channels_and_what_was_raised(cli: Cli, api: httpx.Client, applied: str) -> None:
    channel = api.post("/alerts/channels", json={"name": "here", "kind": "in_app"}).json()["name"]
    rule = {"name": "slow [p]", "metric": "lag_seconds", "threshold": 1.5, "channels": [channel]}
    made = api.post("/alerts/rules", json=rule).json()
    assert [r["name"] for r in cli("alerts", "rules", "--json").json] == ["slow [p]"]
    shown = cli("alerts", "rules").out
    assert "slow [p]" in shown
    assert "lag_seconds gt 1.5" in shown
    assert cli("alerts", "channels", "--json").json[0]["kind"] == "in_app"
    assert "here" in cli("alerts", "channels").out
    assert cli("alerts", "test", "here", "--json").json == {"name": "here", "sent": True}
    assert cli("alerts", "test", "nowhere").code == 3
    cli.store.raise_alert("it lags", rule=made["id"], pipeline=cli.store.pipeline(applied).id)
    (firing,) = cli("alerts", "history", "--status", "firing", "--pipeline", applied, "--json").json
    assert (firing["rule"], firing["message"]) == ("slow [p]", "it lags")
    assert "it lags" in cli("alerts", "history").out
    assert cli("alerts", "ack", firing["id"], "--json").json["status"] == "acknowledged"
    assert "resolved" in cli("alerts", "resolve", firing["id"]).out
    assert cli("alerts", "history", "--status", "firing", "--pipeline", applied, "--json").json == []
    assert cli("alerts", "ack", "nothing").code == 3


def test_changes_are_read_and_taken_away(cli: Cli, applied: str, tmp_path: Path) -> None:
    id_ = cli.store.pipeline(applied).id
    found = cli("audit", "--entity", f"pipeline:{applied}", "--json")
    mine = found.json or cli("audit", "--entity", f"pipeline:{id_}", "--json").json
    assert {e["action"] for e in mine} >= {"created"}
    assert {e["user_name"] for e in mine} == {"local"}
    assert len(cli("audit", "--limit", "1", "--json").json) == 1
    assert cli("audit", "--user", "nobody@example.org", "--json").json == []
    assert cli("audit", "--until", "2020-01-01", "--json").json == []
    assert "created" in cli("audit", "--since", "2020-01-01", "--action", "created").out
    twisted = cli("audit", "--since", "2021-01-01", "--until", "2020-01-01", "--json")
    assert (twisted.code, twisted.json["error"]["code"]) == (2, "bad_window")
    lines, table = tmp_path / "audit.jsonl", tmp_path / "audit.csv"
    assert cli("audit", "--entity", "pipeline", "--export", str(lines)).code == 0
    assert cli("audit", "--entity", "pipeline", "--export", str(table), "--json").json["format"] == "csv"
    everything = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {e["entity_type"] for e in everything} == {"pipeline"}
    assert len(list(csv.DictReader(io.StringIO(table.read_text())))) == len(everything) > 0
    assert stat.S_IMODE(lines.stat().st_mode) == 0o600
    before = lines.read_text()
    assert cli("audit", "--export", str(lines)).code == 1
    assert lines.read_text() == before
    assert cli("audit", "--export", str(lines), "--force").code == 0
    assert len(lines.read_text()) > len(before)
    assert cli("audit", "--entity", "pipeline", "--export", "-").out == before
    assert (
        cli("audit", "--export", str(tmp_path / "no" / "such"), "--json").json["error"]["code"]
        == "unwritable"
    )


def test_an_export_that_fails_leaves_no_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    words = ["audit", "--export", str(file), "--server", cli.url]
    assert cli(*words, HEADRACE_TOKEN="hr_wrong").code == 4
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def letters(cli: Cli, applied: str) -> list[str]:
    return [
        cli.store.add_dead_letter(
            applied,
            TableName("public", "users"),
            topic="t",
            offset=offset,
            key={"id": offset},
            cause="not_null",
            message="email is [null]",
            event={"after": {"id": offset}},
        )
        for offset in range(3)
    ]


def test_dead_letters(cli: Cli, applied: str, letters: list[str]) -> None:
    listed = cli("dead-letters", "list", applied, "--table", "public.users", "--json").json
    assert [x["id"] for x in listed] == letters
    assert "email is [null]" in cli("dead-letters", "list", applied).out
    assert cli("dead-letters", "show", applied, letters[1]).json["event"] == {"after": {"id": 1}}
    assert cli("dead-letters", "show", applied, "x").code == 3
    replayed = cli("dead-letters", "replay", applied, letters[0], "--json")
    assert (replayed.code, replayed.json["error"]["code"]) == (4, "not_supported_yet")
    assert cli("dead-letters", "discard", applied, letters[0], "--json").json == {"settled": 1}
    assert cli("dead-letters", "discard", applied, letters[0]).code != 0
    assert cli("dead-letters", "discard", applied).code == 2
    assert cli("dead-letters", "discard", applied, letters[1], "--all").code == 2
    assert "2 discarded" in cli("dead-letters", "discard", applied, "--all").out
    assert cli("dead-letters", "list", applied, "--status", "waiting", "--json").json == []
    assert cli("dead-letters", "discard", applied, "--all", "--json").json == {"settled": 0}
    assert cli("dead-letters", "list", "nope").code == 3


def test_a_connection_that_is_forgotten(cli: Cli, applied: str, api: httpx.Client) -> None:
    spec = {"name": "spare", "engine": "postgres", "host": "h", "database": "d", "user": "u", "password": "p"}
    assert api.post("/connections", json=spec).status_code == 201
    assert cli("connections", "delete", "spare").code == 0
    assert cli("connections", "delete", "spare").code == 3
    used = cli("connections", "delete", "shop", "--json")
    assert (used.code, used.json["error"]["code"]) == (1, "connection_in_use")


def test_every_page_of_a_list_is_fetched(
    cli: Cli, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        assert api.post("/alerts/channels", json={"name": f"many {n}", "kind": "in_app"}).status_code == 201
    monkeypatch.setattr("headrace.cli.client._PAGE", 2)
    names = [c["name"] for c in cli("alerts", "channels", "--json").json]
    assert [n for n in names if n.startswith("many")] == [f"many {n}" for n in range(5)]
    assert len(set(names)) == len(names)


def test_connectors_without_kafka_connect(cli: Cli) -> None:
    for words in (["list"], ["show", "x"], ["pause", "x"], ["resume", "x"], ["stop", "x"], ["restart", "x"],
                  ["offsets", "x"], ["offsets", "x", "--reset"], ["delete", "x"], ["restart", "x", "--task", "0"]):  # fmt: skip
        answer = cli("connectors", *words, "--json")
        assert (answer.code, answer.json["error"]["kind"]) == (5, "unavailable"), words


def test_figures_and_runs(cli: Cli, applied: str) -> None:
    assert cli("metrics", applied, "--json").json["items"] == []
    cli.store.add_metrics(applied, throughput_events_per_sec=1234.5678, lag_bytes=2048, events_processed=7)
    found = cli("metrics", applied, "--json").json["items"]
    assert [s["throughput_events_per_sec"] for s in found] == [1234.5678]
    shown = cli("metrics", applied).out
    assert "1234.6" in shown
    assert "2.0 KB" in shown
    assert (
        cli("metrics", applied, "--until", "2020-01-01", "--since", "2019-01-01", "--json").json["items"]
        == []
    )
    run = cli.store.run_started(applied, "load")
    cli.store.run_finished(run, "failed", rows=17, message="the [disk] is full")
    assert [(r["run_type"], r["status"]) for r in cli("runs", applied, "--json").json] == [("load", "failed")]
    assert "the [disk] is full" in cli("runs", applied).out
    for verb in ("metrics", "runs"):
        assert cli(verb, "no-such").code == 3


def test_lines_of_a_part_and_of_a_call(cli: Cli, applied: str) -> None:
    cli.store.log(applied, "info", "apply", "one")
    with acting(Actor(request_id="call-1")):
        cli.store.log(applied, "info", "load", "two")
    assert [x["message"] for x in cli("logs", applied, "--component", "apply", "--json").json] == ["one"]
    assert [x["message"] for x in cli("logs", applied, "--request-id", "call-1", "--json").json] == ["two"]
