"""The loop that finds pipelines without a worker and runs them."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from pathlib import Path

import psutil

from headrace.control.runner import LEASE_SECONDS, Runner
from headrace.errors import HeadraceError
from headrace.settings import Settings
from headrace.store import Store

LOOK_SECONDS = 0.1

_log = logging.getLogger("headrace.worker")


class Worker:
    """Runs pipelines until told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._owner = f"{_place()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._running: dict[str, tuple[Runner, threading.Thread]] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Look for work all the time; on the way out, put every pipeline down orderly."""
        while not self.stopping.is_set():
            try:
                self._look()
            except HeadraceError as error:
                _log.warning("the store is not usable now: %s", error.message)
            self.stopping.wait(LOOK_SECONDS)
        for runner, _ in self._running.values():
            runner.stop()
        for _, thread in self._running.values():
            thread.join(60)
        self._store.close()

    def _look(self) -> None:
        self._store.beat("worker", self._owner, os.getpid())
        for name, (runner, thread) in list(self._running.items()):
            if not thread.is_alive():
                del self._running[name]
            else:
                # Not the runner itself: its steps may take longer than the lease.
                runner.keep_lease()
        for name in self._store.to_run():
            if name not in self._running and self._take(name):
                self._start(name)

    def _take(self, name: str) -> bool:
        if self._store.acquire(name, self._owner, LEASE_SECONDS):
            return True
        holder = self._store.holder(name)
        if holder is None or not _dead(holder):
            return False
        # A worker that was killed beside us: no need to wait until its lease runs out.
        self._store.release(name, holder)
        return self._store.acquire(name, self._owner, LEASE_SECONDS)

    def _start(self, name: str) -> None:
        self._store.requeue_requests(name)
        runner = Runner(self._settings, self._store, name, self._owner)
        thread = threading.Thread(target=runner.run, name=f"pipeline-{name}", daemon=True)
        self._running[name] = (runner, thread)
        thread.start()


def _place() -> str:
    """Where process ids mean the same as here: this boot of this machine, and this namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return f"{os.uname().nodename}:{secrets.token_hex(8)}"
    return f"{os.uname().nodename}:{boot[:8]}:{space}"


def _dead(owner: str) -> bool:
    """Whether the owner of a lease was a process here that is no more."""
    place, _, rest = owner.rpartition("-")[0].rpartition("-")
    return place == _place() and rest.isdigit() and not psutil.pid_exists(int(rest))


def main(settings: Settings) -> None:
    """Run a worker in this process until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    worker = Worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    worker.run()
