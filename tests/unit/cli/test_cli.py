from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import PASSWORD, Cli

from headrace.spec.load import load_spec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.records import Request, TableState
from headrace.verify.certificate import check_seal

USERS = TableName("public", "users")
TABLE = {
    "name": "public.users",
    "source_rows": 2,
    "target_rows": 1,
    "source_checksum": "a",
    "target_checksum": "b",
    "differences": [{"key": {"id": 1}, "kind": "missing", "columns": []}],
}
SpecText = Callable[..., str]


def test_without_a_server_the_next_command_is_named(cli: Cli, tmp_path: Path) -> None:
    for words in (["status"], ["status", "p"], ["start", "p"], ["logs", "p"], ["wait", "p"]):
        answer = cli(*words, HEADRACE_DATA=str(tmp_path))
        assert (answer.code, answer.out) == (5, "")
        assert "headrace up" in answer.err
    found = cli("status", "--json", "--data", str(tmp_path))
    assert (found.code, found.json["error"]["code"]) == (5, "no_server")
    closed = cli("status", "--json", "--server", "http://127.0.0.1:1")
    assert (closed.code, closed.json["error"]["code"]) == (5, "no_server")


def test_wrong_usage(cli: Cli) -> None:
    for words in (["nope"], ["start"], ["check"], ["status", "--nope"], ["wait", "p", "--timeout", "soon"]):
        answer = cli(*words)
        assert answer.code == 2
        assert "Traceback" not in answer.err
    assert cli("wait", "p", "--for", "done").code == 2


def test_status_of_all(cli: Cli, applied: str) -> None:
    found = cli("status", "--json")
    assert found.code == 0
    assert set(found.json) == {"ready", "components", "pipelines"}
    assert {"name": applied, "status": "draft", "phase": None} in found.json["pipelines"]
    people = cli("status")
    assert people.code == 0
    assert "kafka" in people.out
    assert applied in people.out


def test_status_of_one(cli: Cli, applied: str) -> None:
    cli.store.put_table(applied, TableState(USERS, USERS, "loading", 1000, 5000))
    found = cli("status", applied, "--json").json
    assert set(found) == {"name", "status", "phase", "lag", "tables", "error"}
    cli.store.set_lag(applied, {"events": 7, "seconds": 0.5, "bytes": None, "events_per_second": 9.5})
    people = cli("status", applied).out
    assert "1,000" in people
    assert "behind by 7 events, 0.5 seconds\n" in people
    assert cli("tables", applied, "--json").json[0]["target"] == "public.users"
    assert "loading" in cli("tables", applied).out


@pytest.mark.parametrize(
    "verb",
    ["status", "start", "stop", "pause", "resume", "tables", "verify", "certificate", "logs", "delete"],
)
def test_what_is_not_there(cli: Cli, verb: str) -> None:
    answer = cli(verb, "no-such", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (3, "no_such_pipeline")
    assert "no-such" in cli(verb, "no-such").err


def test_a_spec_with_problems(cli: Cli, spec_text: SpecText, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        spec_text("bad", lines="    mod: cdc_only\n    deletes: soft\n").replace("target: w", "target: v")
    )
    for verb in ("check", "plan", "apply"):
        answer = cli(verb, "-f", str(file), "--json")
        problems = answer.json["error"]["context"]["problems"]
        assert (answer.code, answer.json["error"]["code"]) == (2, "invalid_spec")
        assert [(p["line"], p["file"]) for p in problems] == [(7, str(file)), (8, str(file)), (9, str(file))]
    people = cli("apply", "-f", str(file))
    assert f"{file}:8: pipelines.bad.mod: Unknown key mod; did you mean mode?" in people.err
    assert cli("status", "bad").code == 3


def test_a_spec_that_cannot_be_read(cli: Cli, spec_text: SpecText, tmp_path: Path) -> None:
    assert cli("check", "-f", str(tmp_path / "none.yaml")).code == 2
    answer = cli("check", "-f", "-", "--json", stdin=spec_text("x"))
    assert (answer.code, answer.json["error"]["code"]) == (2, "secret_not_found")
    assert "PG_PASSWORD" in answer.json["error"]["message"]


def test_check_and_plan_say_everything(cli: Cli, spec_text: SpecText, name: str) -> None:
    secret = {"PG_PASSWORD": PASSWORD}
    checked = cli("check", "-f", "-", "--json", stdin=spec_text(name), **secret)
    assert (checked.code, checked.json["ok"]) == (4, False)
    findings = checked.json["pipelines"][0]["findings"]
    assert {"kafka", "connect"} <= {f["side"] for f in findings if f["severity"] == "error"}
    planned = cli("plan", "-f", "-", "--json", stdin=spec_text(name), **secret)
    assert planned.code == 4
    assert {t["source"] for t in planned.json["pipelines"][0]["tables"]} == {
        "public.users",
        "public.Odd Table",
    }


def test_an_apply_that_would_start_too_early_changes_nothing(
    cli: Cli, spec_text: SpecText, name: str
) -> None:
    answer = cli("apply", "-f", "-", "--json", stdin=spec_text(name), PG_PASSWORD=PASSWORD)
    assert (answer.code, answer.json["error"]["code"]) == (4, "preflight")
    assert answer.json["error"]["context"]["findings"]
    assert cli("status", name).code == 3


def test_two_pipelines_into_one_table(cli: Cli, spec_text: SpecText, name: str) -> None:
    text = spec_text(f"{name}-one", f"{name}-two")
    answer = cli("check", "-f", "-", "--json", stdin=text, PG_PASSWORD=PASSWORD)
    findings = answer.json["pipelines"][1]["findings"]
    taken = [f for f in findings if f["code"] == "target_taken"]
    assert {f["subject"] for f in taken} == {"public.users", "public.Odd Table"}
    assert f"{name}-one" in taken[0]["message"]
    people = cli("plan", "-f", "-", stdin=spec_text(name), PG_PASSWORD=PASSWORD)
    assert people.code == 4
    assert "public.Odd Table" in people.out
    assert "error kafka" in people.out


@pytest.mark.parametrize(
    ("change", "code", "kind"),
    [
        (("'${env:PG_PASSWORD}', database: shop", "wrong, database: shop"), 4, "wrong_password"),
        (("host: 127.0.0.1", "host: no-such-host.invalid"), 5, "unknown_host"),
        (("database: shop", "database: nope"), 3, "no_such_database"),
    ],
)
def test_databases_that_do_not_let_us_in(
    cli: Cli,
    spec_text: SpecText,
    name: str,
    change: tuple[str, str],
    code: int,
    kind: str,
) -> None:
    text = spec_text(name).replace(*change)
    answer = cli("check", "-f", "-", "--json", stdin=text, PG_PASSWORD=PASSWORD)
    assert kind in answer.out
    assert answer.code in (code, 4)
    assert PASSWORD not in answer.out


def test_repeating_apply_changes_nothing(cli: Cli, spec_text: SpecText, applied: str) -> None:
    again = cli("apply", "-f", "-", "--no-start", "--json", stdin=spec_text(applied), PG_PASSWORD=PASSWORD)
    assert again.json["pipelines"][0]["result"] == "unchanged"
    assert {c["result"] for c in again.json["connections"]} == {"unchanged"}
    assert cli.store.connection("shop").references == {"password": "${env:PG_PASSWORD}"}


def test_wait(cli: Cli, applied: str) -> None:
    assert cli("wait", applied, "--for", "draft").code == 0
    began = time.monotonic()
    late = cli("wait", applied, "--for", "incremental", "--timeout", "0.5")
    assert (late.code, time.monotonic() - began < 20) == (1, True)
    assert "not incremental within 0.5 s" in late.err

    def reach() -> None:
        time.sleep(0.5)
        cli.store.set_status(applied, "running", "incremental")

    thread = threading.Thread(target=reach)
    thread.start()
    reached = cli("wait", applied, "--json", "--timeout", "30")
    thread.join()
    assert (reached.code, reached.json["phase"]) == (0, "incremental")


def test_wait_ends_at_once_in_error(cli: Cli, applied: str) -> None:
    error = {"code": "log_lost", "message": "the log is gone", "guidance": "resync"}
    cli.store.set_status(applied, "error", error=error)
    answer = cli("wait", applied, "--timeout", "60")
    assert answer.code == 1
    assert "the log is gone" in answer.err
    found = cli("wait", applied, "--json")
    assert (found.code, found.json["error"]) == (1, error)
    assert cli("wait", applied, "--for", "error").code == 0


def test_life(cli: Cli, applied: str) -> None:
    refused = cli("pause", applied, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "not_running")
    cli.store.set_generation(applied, {"id": 1})
    assert cli("start", applied, "--json").json["status"] == "starting"
    paused = cli("pause", applied)
    assert (paused.code, f"`headrace wait {applied} --for paused`" in paused.out) == (0, True)
    assert cli("resume", applied).code == 0
    stopped = cli("stop", applied)
    assert stopped.code == 0
    assert "WAL" in stopped.out


def test_delete_waits_until_it_is_gone(cli: Cli, applied: str) -> None:
    cli.store.set_generation(applied, {"id": 1})
    cli.store.set_desired(applied, "running")
    seen: list[Any] = []

    def take_down() -> None:
        while cli.store.pipeline(applied).desired != "deleted":
            time.sleep(0.05)
        seen.append(cli.store.pipeline(applied).flags)
        cli.store.remove_pipeline(applied)

    thread = threading.Thread(target=take_down)
    thread.start()
    answer = cli("delete", applied, "--drop-target", "--json")
    thread.join()
    assert (answer.code, answer.json["status"], seen) == (0, "deleted", [{"drop_target": True}])
    assert cli("status", applied).code == 3


def test_a_draft_is_deleted_without_a_worker(cli: Cli, applied: str) -> None:
    assert cli("delete", applied).code == 0
    assert cli("delete", applied).code == 3


@pytest.mark.parametrize(("equal", "code"), [(True, 0), (False, 6)])
def test_verify(cli: Cli, applied: str, equal: bool, code: int) -> None:
    cli.store.set_desired(applied, "running")
    cli.store.put_table(applied, TableState(USERS, USERS))
    asked: list[Request] = []

    def compare(store: Store, request: Request) -> None:
        asked.append(request)
        table = TABLE if not equal else {**TABLE, "differences": []}
        store.finish_request(request.id, {"equal": equal, "tables": [table]})

    with cli.worker(applied, compare):
        found = cli("verify", applied, "--table", "public.users", "--repair", "--json")
        people = cli("verify", applied)
    assert (found.code, found.json["equal"], people.code) == (code, equal, code)
    assert [r.args for r in asked] == [
        {"table": "public.users", "repair": True},
        {"table": None, "repair": False},
    ]
    assert ("missing" in people.out) is not equal


def test_resync(cli: Cli, applied: str) -> None:
    cli.store.set_desired(applied, "running")
    odd = TableName("public", "Odd / Table")
    cli.store.put_table(applied, TableState(odd, odd))

    def fail(store: Store, request: Request) -> None:
        error = {
            "code": "x",
            "kind": "unavailable",
            "message": "source is away",
            "guidance": "g",
            "context": {},
        }
        store.finish_request(request.id, error=error)

    with cli.worker(applied, lambda store, request: store.finish_request(request.id, {})):
        done = cli("resync", applied, "public.Odd / Table", "--json")
    with cli.worker(applied, fail):
        failed = cli("resync", applied, 'public."Odd / Table"')
    assert (done.code, done.json["table"]) == (0, "public.Odd / Table")
    assert failed.code == 5
    assert "source is away" in failed.err
    assert cli("resync", applied, "public.odd / table").code == 3


def test_logs_and_certificate(cli: Cli, applied: str) -> None:
    cli.store.log(applied, "warning", "apply", "slow [target]", rows=3)
    assert "slow [target]" in cli("logs", applied).out
    assert cli("logs", applied, "--level", "error", "--json").json == []
    assert cli("logs", applied, "--since", "2020-01-01", "--json").json[0]["context"] == {"rows": 3}
    assert check_seal({k: v for k, v in cli("certificate", applied).json.items() if k != "name"})


def test_connections_and_discovery(cli: Cli, applied: str) -> None:
    tested = cli("connections", "test", "shop", "--json")
    assert (tested.code, tested.json["ok"]) == (0, True)
    listed = cli("connections", "list", "--json")
    assert PASSWORD not in listed.out
    assert {c["name"] for c in listed.json} >= {"shop", "warehouse"}
    assert "shop" in cli("connections", "list").out
    found = cli("discover", "shop", "--json").json
    assert {t["name"]: t["key"] for t in found["tables"]}["public.users"] == ["id"]
    assert "public.users" in cli("discover", "shop").out
    assert cli("connections", "test", "nope").code == 3


def test_init_writes_a_spec_that_is_valid(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    assert cli("init", str(file)).code == 0
    assert list(load_spec(file.read_text(), "x").pipelines) == ["shop-to-warehouse"]
    assert cli("init", str(file)).code == 1
    assert cli("init", str(file), "--force", "--json").json == {"file": str(file)}
    uncommented = (
        file.read_text()
        .replace("# - name", "- name")
        .replace("      #   ", "        ")
        .replace("\n    # ", "\n    ")
    )
    assert load_spec(uncommented, "x").pipelines["shop-to-warehouse"].tables[1].mask == {"email": "sha256"}
    assert cli("init", "-").out == cli("init", "-").out != ""


def test_a_remote_server_wants_its_token(cli: Cli, tmp_path: Path) -> None:
    url = cli("status", "--json").json["components"][2]["url"]
    elsewhere = {"HEADRACE_DATA": str(tmp_path)}
    denied = cli("status", "--server", url, "--json", **elsewhere)
    assert (denied.code, denied.json["error"]["code"]) == (4, "unauthorized")
    assert "HEADRACE_TOKEN" in denied.json["error"]["guidance"]
    token = (cli.data / "token").read_text().strip()
    assert cli("status", "--server", url, HEADRACE_TOKEN=token, **elsewhere).code == 0


def test_a_busy_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        words = [sys.executable, "-m", "headrace", "server", "--port", port, "--data", str(tmp_path)]
        ended = subprocess.run(
            words, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 5
    assert "port_busy" in ended.stderr
    assert "Traceback" not in ended.stderr
