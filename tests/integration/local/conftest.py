"""Installations in temporary folders, with stand-ins for server and worker so that only the engine is real."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.local import installation
from headrace.local.ports import free_ports
from headrace.local.supervise import Options

Until = Callable[..., None]


@pytest.fixture
def until() -> Until:
    """Wait for a state, with a deadline."""

    def wait(reached: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, "not reached in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    """An installation that is stopped at the end, whatever happened."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("HEADRACE_KAFKA", "HEADRACE_CONNECT", "HEADRACE_DATA"):
        monkeypatch.delenv(name, raising=False)
    port, kafka, connect = free_ports(3)
    web = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    stand_ins = {"server": web, "worker": ["sleep", "1000"]}
    options = Options(tmp_path / "data", port, kafka, connect, commands=stand_ins, train=False)
    yield options
    installation.down(options.data)
