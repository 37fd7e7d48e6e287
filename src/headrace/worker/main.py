"""The loop that finds pipelines without a worker and runs them."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress

from headrace.control.runner import LEASE_SECONDS, Runner
from headrace.errors import HeadraceError
from headrace.monitor.gather import Gatherer
from headrace.monitor.keeping import Keeping
from headrace.monitor.logging import set_up
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.owners import own_name

LOOK_SECONDS = 0.1
AWAY_SECONDS = 0.5

_log = logging.getLogger("headrace.worker")


class Worker:
    """Runs pipelines until told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._owner = own_name()
        self._keeping = Keeping(settings, self._store, self._owner)
        self._running: dict[str, tuple[Runner, threading.Thread]] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Look for work all the time; on the way out, put every pipeline down orderly."""
        gathering = threading.Thread(target=self._gather, name="gather", daemon=True)
        gathering.start()
        away = False
        while not self.stopping.is_set():
            try:
                self._look()
                if away:
                    _log.info("the store is usable again")
                away = False
            except HeadraceError as error:
                if not away:
                    _log.warning("the store is not usable now: %s", error.message)
                away = True
            self.stopping.wait(AWAY_SECONDS if away else LOOK_SECONDS)
        for runner, _ in self._running.values():
            runner.stop()
        for _, thread in self._running.values():
            thread.join(60)
        gathering.join(60)
        with suppress(HeadraceError):
            self._store.stop_beating("worker", self._owner)
        self._store.close()

    def _gather(self) -> None:
        if self._settings.connect_log is not None:
            Gatherer(self._store, self._settings.connect_log, self._owner).run(self.stopping)

    def _look(self) -> None:
        self._store.beat("worker", self._owner, os.getpid())
        self._keeping.tend()
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
        return self._store.take(name, self._owner, LEASE_SECONDS)

    def _start(self, name: str) -> None:
        self._store.requeue_requests(name)
        runner = Runner(self._settings, self._store, name, self._owner)
        thread = threading.Thread(target=runner.run, name=f"pipeline-{name}", daemon=True)
        self._running[name] = (runner, thread)
        thread.start()


def main(settings: Settings) -> None:
    """Run a worker in this process until SIGTERM or SIGINT."""
    set_up(settings, "worker")
    worker = Worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    worker.run()
