"""Keeping a process running, on processes that cost nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from headrace.errors import Unavailable
from headrace.local.keeper import Keeper
from headrace.local.process import Identity, Service, end


def until(reached: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Service]:
    service = Service("sleeper", lambda: ["sleep", "1000"], lambda: True, tmp_path / "log")
    yield service
    service.kill()


def tended(keeper: Keeper, state: str) -> Callable[[], bool]:
    def look() -> bool:
        keeper.tend()
        return keeper.state == state

    return look


def test_dead_child_comes_back_as_another_process(sleeper: Service) -> None:
    keeper = Keeper(sleeper)
    keeper.start()
    until(tended(keeper, "running"))
    first = keeper.component().identity
    sleeper.kill()
    until(tended(keeper, "restarting"))
    assert keeper.component().identity is None
    until(tended(keeper, "running"))
    assert keeper.component().identity != first


def test_pauses_grow_while_it_keeps_dying(tmp_path: Path) -> None:
    keeper = Keeper(Service("dies", lambda: ["false"], lambda: False, tmp_path / "log"))
    keeper.start()
    until(lambda: tended(keeper, "restarting")() and keeper.deaths >= 3)
    assert keeper._next_look - time.monotonic() > 0.5


def test_unwell_is_told_from_dead(sleeper: Service) -> None:
    keeper = Keeper(sleeper)
    keeper.start()
    until(tended(keeper, "running"))
    sleeper.healthy = lambda: False
    keeper._next_look = 0
    keeper.tend()
    assert keeper.state == "unhealthy"


def test_start_that_ends_names_its_log(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('cannot'); raise SystemExit(3)"]
    service = Service("broken", lambda: words, lambda: False, tmp_path / "log")
    service.start()
    with pytest.raises(Unavailable) as error:
        service.wait_healthy()
    assert "cannot" in error.value.context["log"]


@pytest.mark.parametrize(
    "line",
    [
        "error (secret_key): cannot",
        '{"level": "error", "message": "error (secret_key): cannot"}',
        '{"level": "FATAL", "message": "error (secret_key): cannot"}',
    ],
)
def test_start_that_ends_says_its_last_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "log").write_text("error (port_busy): of an earlier time\n")
    words = [sys.executable, "-c", f"print({line!r}); print('Make one.'); print('[]'); raise SystemExit(2)"]
    service = Service("broken", lambda: words, lambda: False, tmp_path / "log")
    service.start()
    with pytest.raises(Unavailable) as error:
        service.wait_healthy()
    assert error.value.message == "broken ended while starting: error (secret_key): cannot"
    words[2] = "raise SystemExit(2)"
    service.start()
    with pytest.raises(Unavailable) as error:
        service.wait_healthy()
    assert error.value.message == "broken ended while starting."


def test_stop_insists(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)",
    ]
    log = tmp_path / "log"
    service = Service("stubborn", lambda: words, lambda: log.read_text() == "1\n", log, stop_seconds=0.2)
    service.start()
    service.wait_healthy()
    service.stop()
    assert not service.alive


def test_child_dies_with_the_one_who_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from headrace.local.process import Service\n"
        f"s = Service('x', lambda: ['sleep', '1000'], lambda: True, Path({str(tmp_path / 'log')!r}))\n"
        "s.start(); print(s.process.pid, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: child.name() == "sleep")
        parent.send_signal(signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_pid_of_another_is_left_alone() -> None:
    stale = Identity(os.getpid(), created=1.0)
    assert stale.find() is None
    end(stale, seconds=0)
