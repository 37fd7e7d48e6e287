"""Child processes that cannot outlive us, and waiting for what they say about themselves.

Every child leads a process group of its own, is tied to this process by the kernel (``launch``), and is known by
pid and creation time, so that a pid used again is never mistaken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headrace.errors import Unavailable

# The kernel ties a child to the *thread* that started it; this one lives as long as the interpreter.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="headrace-starter")
_LAUNCH = Path(__file__).with_name("launch.py")
TAIL_BYTES = 2000
# Of the command line, of PostgreSQL.
_ERRORS = ("error (", "FATAL:", "PANIC:")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Identity:
    """One process beyond doubt. created: seconds since the epoch, as psutil tells it."""

    pid: int
    created: float

    def find(self) -> psutil.Process | None:
        """The living process, or None when it is gone (or its pid belongs to another)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass
class Service:
    """A process to keep: how to start it, how to see that it is well, how to stop it.

    healthy: true once it does its work; must answer within about a second. log: file that takes what it prints.
    before: done before each start. last_signal: sent by the kernel when we die. uid: user to run as, None for ours.
    """

    name: str
    command: Callable[[], Sequence[str]]
    healthy: Callable[[], bool]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20
    start_seconds: float = 90
    last_signal: signal.Signals = signal.SIGKILL
    uid: int | None = None
    before: Callable[[], None] = lambda: None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    identity: Identity | None = field(default=None, init=False)
    _log_begins: int = field(default=0, init=False)

    @property
    def alive(self) -> bool:
        """Whether our child runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start without waiting for health."""
        self.before()
        self.process = _STARTER.submit(self._spawn).result()
        self.identity = Identity(self.process.pid, psutil.Process(self.process.pid).create_time())

    def _spawn(self) -> subprocess.Popen[bytes]:
        uid = -1 if self.uid is None else self.uid
        launch = [
            sys.executable,
            "-I",
            "-S",
            str(_LAUNCH),
            str(os.getpid()),
            str(int(self.last_signal)),
            str(uid),
        ]
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            return subprocess.Popen(  # nosec B603  # our own words, no shell
                [*launch, *map(str, self.command())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )

    def wait_healthy(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Return once healthy; Unavailable when it dies or takes too long."""
        deadline = time.monotonic() + self.start_seconds
        while not self.healthy():
            if not self.alive:
                raise self.failed(f"{self.name} ended while starting")
            if time.monotonic() > deadline:
                raise self.failed(f"{self.name} was not ready after {self.start_seconds:.0f} s")
            if cancelled():
                return
            pause(0.1)

    def failed(self, what: str) -> Unavailable:
        """The error for a component that does not come up, with its last words of this time."""
        said = tail(self.log, self._log_begins)
        why = last_error(said)
        return Unavailable(
            "component_failed",
            f"{what}: {why}" if why else f"{what}.",
            f"Read {self.log.parent}.",
            {"component": self.name, "log": said},
        )

    def stop(self) -> None:
        """Ask it to end, insist after ``stop_seconds``; returns when the whole group is gone."""
        if self.process is None:
            return
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def pause(seconds: float) -> None:
    """Wait between two looks at a state."""
    time.sleep(seconds)


def tail(path: Path, begins: int = 0) -> str:
    """The last lines of a log, for an error's context. begins: bytes that are of an earlier time."""
    try:
        with path.open("rb") as file:
            file.seek(max(begins, path.stat().st_size - TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_error(log: str) -> str:
    """The last error that lines of a log tell, JSON or text; "" where they tell none."""
    for line in reversed(log.splitlines()):
        if said := _error_in(line):
            return said[:_LONGEST]
    return ""


def _error_in(line: str) -> str:
    try:
        told = json.loads(line)
    except ValueError:
        return line if any(word in line for word in _ERRORS) else ""
    if isinstance(told, dict) and str(told.get("level", "")).lower() in ("error", "fatal", "critical"):
        return str(told.get("message", ""))
    return ""


def end(identity: Identity, seconds: float) -> None:
    """End a process that is not our child, orderly first; returns when it is gone."""
    process = identity.find()
    if process is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(10)
