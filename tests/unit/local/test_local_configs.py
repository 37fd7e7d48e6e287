"""Rendered configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headrace.local import kafka
from headrace.local.connect import worker_properties
from headrace.local.jvm import LAYOUT, Program, properties, write_config
from headrace.local.supervise import Options, surroundings


def test_properties_format() -> None:
    assert properties({"a": True, "b": 1, "c": "x\\y"}) == "a=true\nb=1\nc=x\\\\y\n"


def test_override_file_wins_by_coming_last(tmp_path: Path) -> None:
    (tmp_path / "kafka.override.properties").write_text("b=2\n")
    write_config(tmp_path / "kafka.properties", {"b": 1})
    assert (tmp_path / "kafka.properties").read_text() == "b=1\nb=2\n"
    assert (tmp_path / "kafka.properties").stat().st_mode & 0o777 == 0o600


def test_cluster_id_is_never_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worst:
        bytes = b"\xff" * 16

    monkeypatch.setattr("headrace.local.kafka.uuid.uuid4", Worst)
    assert not kafka.cluster_id().startswith("-")
    assert len(kafka.cluster_id()) == 22


def test_everything_listens_on_this_machine_only(tmp_path: Path) -> None:
    broker = kafka.server_properties(tmp_path, 1, 2)
    worker = worker_properties(tmp_path, 3, "127.0.0.1:1", [])
    for listeners in (broker["listeners"], broker["advertised.listeners"], worker["listeners"]):
        assert all("//127.0.0.1:" in one for one in str(listeners).split(","))


def test_secrets_come_from_one_folder(tmp_path: Path) -> None:
    worker = worker_properties(tmp_path, 3, "127.0.0.1:1", [])
    assert worker["config.providers.dir.param.allowed.paths"] == tmp_path / "connect-secrets"


def test_log_lines_are_json_with_all_that_tells_whose_they_are(tmp_path: Path) -> None:
    """That it renders so is seen with the real Connect (scenarios/test_connect_logs.py)."""
    Program("connect", "Main", [], 64, tmp_path).command()
    rendered = (tmp_path / "connect.log4j2.properties").read_text()
    assert f"appender.file.layout.pattern = {LAYOUT}%n\n" in rendered
    plain = re.sub(r"%enc\{.*?\}\{JSON\}", "text", LAYOUT).replace("%d{yyyy-MM-dd'T'HH:mm:ss.SSS}{UTC}", "at")
    expected = {
        "ts": "atZ",
        "level": "%p",
        "logger": "%c",
        "context": "text",
        "message": "text",
        "stack": "text",
    }
    assert json.loads(plain) == expected
    # Without it, log4j appends the stack trace once more, in lines of its own.
    assert "appender.file.layout.alwaysWriteExceptions = false\n" in rendered
    assert f"appender.file.fileName = {tmp_path}/connect.log\n" in rendered


def test_the_log_that_is_written_is_the_one_that_is_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HEADRACE_CONNECT", "HEADRACE_CONNECT_LOG"):
        monkeypatch.delenv(variable, raising=False)
    own = surroundings(Options(tmp_path))
    assert own.connect_log == tmp_path / "logs" / "connect.log"
    assert own.environment()["HEADRACE_CONNECT_LOG"] == str(own.connect_log)
    monkeypatch.setenv("HEADRACE_CONNECT", "http://elsewhere:8083")
    assert surroundings(Options(tmp_path)).connect_log is None
