"""What run.json and the pointer say, also when they are stale or torn."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from headrace.errors import Denied
from headrace.local import installation
from headrace.local.folder import prepare
from headrace.local.installation import Component, Run
from headrace.local.logs import rotate
from headrace.local.process import Identity

ME = Identity(os.getpid(), psutil.Process().create_time())
GONE = Identity(os.getpid(), 1.0)


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def states(data: Path) -> dict[str, str]:
    return {row["name"]: row["state"] for row in installation.status(data)}


def test_nothing_ran(tmp_path: Path) -> None:
    assert set(states(tmp_path).values()) == {"stopped"}
    assert installation.down(tmp_path) is False


def test_running(tmp_path: Path) -> None:
    rows = [Component("kafka", "running", "u", ME), Component("connect", "external", "v")]
    Run(ME, "http://x", components=rows).save(tmp_path)
    assert states(tmp_path) == {"kafka": "running", "connect": "external"}
    assert installation.ready(tmp_path)


def test_child_that_died_is_not_running(tmp_path: Path) -> None:
    Run(ME, "http://x", components=[Component("kafka", "running", "u", GONE)]).save(tmp_path)
    assert installation.status(tmp_path) == [
        {"name": "kafka", "pid": None, "state": "restarting", "url": "u"}
    ]


def test_stale_file_counts_for_nothing(tmp_path: Path) -> None:
    Run(GONE, "http://x", components=[Component("kafka", "running", "u", GONE)]).save(tmp_path)
    assert set(states(tmp_path).values()) == {"stopped"}
    assert installation.down(tmp_path) is False
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"supervisor": 1}', "\0\0\0"])
def test_torn_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert installation.load(tmp_path) is None


def test_pointer(tmp_path: Path) -> None:
    assert installation.current() is None
    installation.remember(tmp_path, "http://x")
    assert installation.current() == {"data": str(tmp_path), "url": "http://x"}
    installation.forget(tmp_path / "other")
    assert installation.current() is not None
    installation.forget(tmp_path)
    assert installation.current() is None


def test_folder_is_private_and_its_token_stays(tmp_path: Path) -> None:
    data = tmp_path / "a" / "b"
    prepare(data)
    token = (data / "token").read_text()
    prepare(data)
    assert (data / "token").read_text() == token
    modes = {p.name: p.stat().st_mode & 0o777 for p in [data, data / "token", data / "connect-secrets"]}
    assert modes == {"b": 0o700, "token": 0o600, "connect-secrets": 0o700}


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_token_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    prepare(tmp_path)
    assert len((tmp_path / "token").read_text()) > 30
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_secrets_that_others_could_read_are_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("token", "secret.key"):
        (tmp_path / name).write_text("x" * 40)
        (tmp_path / name).chmod(0o644)
    prepare(tmp_path)
    prepare(tmp_path)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("token", "secret.key")} == {0o600}
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == [
        str(tmp_path / "token"),
        str(tmp_path / "secret.key"),
    ]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Denied, match="Not a directory") as denied:
        prepare(tmp_path / "file" / "data")
    assert denied.value.code == "data_unwritable"
    # As root, who may write wherever it can be written; that is left to the file system.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Denied) as denied:
        prepare(tmp_path)
    assert denied.value.code == "data_unwritable"


def test_rotation_keeps_the_open_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        rotate([log, tmp_path / "none"], limit=50)
        writer.write(b"y")
    assert log.read_bytes() == b"y"
    assert (tmp_path / "log.1").read_bytes() == b"x" * 100
