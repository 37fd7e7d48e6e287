"""The data folder of a server: private, and said when it cannot be written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.processes import _recorded
from headrace.errors import Denied
from support.lab import until


def started(data: Path) -> subprocess.Popen[str]:
    """A server on that folder."""
    words = [sys.executable, "-m", "headrace", "server", "--port", "0", "--json", "--data", str(data)]
    return subprocess.Popen(
        words, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_what_a_server_makes_is_private(tmp_path: Path) -> None:
    data = tmp_path / "new"
    with started(data) as server:
        try:
            until((data / "server.json").exists, 20, "a server")
            secret = {"headrace.db", "headrace.db-wal", "headrace.db-shm", "token", "secret.key"}
            modes = {p.name: p.stat().st_mode & 0o777 for p in [data, *data.iterdir()]}
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=20)
    assert modes["new"] == 0o700
    assert {modes[name] for name in secret} == {0o600}


def test_what_others_could_read_is_mended_and_an_empty_token_made_anew(tmp_path: Path) -> None:
    for name in ("token", "headrace.db"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    with started(tmp_path) as server:
        try:
            until((tmp_path / "server.json").exists, 20, "a server")
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=20)
    assert len((tmp_path / "token").read_text().strip()) > 30
    assert (tmp_path / "headrace.db").stat().st_mode & 0o777 == 0o600
    assert said.count("could be read by others") == 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with started(tmp_path / "file" / "data") as server:
        answer, _ = server.communicate(timeout=20)
    assert (server.returncode, json.loads(answer)["error"]["code"]) == (4, "data_unwritable")
    with pytest.raises(Denied, match="cannot be written"), _recorded(tmp_path / "file", "u"):
        pass
