"""Rendered configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.local import kafka
from headrace.local.connect import worker_properties
from headrace.local.jvm import properties, write_config


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
