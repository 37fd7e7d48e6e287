"""What is done now and then by one worker for all: coarser samples are made, what is old is forgotten."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from headrace.errors import HeadraceError
from headrace.settings import Settings
from headrace.store import Store

_LEASE = "housekeeping"
_LEASE_SECONDS = 120.0
ROLL_UP_SECONDS = 30.0
SWEEP_SECONDS = 600.0
_MOST_BATCHES = 50
_log = logging.getLogger(__name__)


class Keeping:
    """Called by a worker's loop again and again; does something when it is time and nobody else does it."""

    def __init__(self, settings: Settings, store: Store, owner: str) -> None:
        self._settings, self._store, self._owner = settings, store, owner
        self._next_roll_up = self._next_sweep = 0.0

    def tend(self) -> None:
        """Roll up and sweep, when it is time."""
        at = time.monotonic()
        if at < self._next_roll_up:
            return
        self._next_roll_up = at + ROLL_UP_SECONDS
        if not self._store.acquire(_LEASE, self._owner, _LEASE_SECONDS):
            return
        self._safely(self._store.roll_up)
        if at >= self._next_sweep:
            self._next_sweep = at + SWEEP_SECONDS
            self.sweep()

    def sweep(self) -> None:
        """Forget what is old, in batches."""
        store, keep = self._store, self._settings.keep
        for each in (
            lambda: store.sweep_logs(keep.logs),
            lambda: store.sweep_metrics(keep.metrics),
            store.sweep_events,
            store.sweep_once,
            store.sweep_sessions,
            lambda: store.sweep_audits(keep.audit),
            store.sweep_requests,
            store.sweep_connection_tests,
        ):
            self._until_done(each)

    def _until_done(self, sweep: Callable[[], int]) -> None:
        for _ in range(_MOST_BATCHES):
            if not self._safely(sweep):
                return

    def _safely(self, deed: Callable[[], int]) -> int:
        try:
            return deed()
        except HeadraceError as error:
            _log.warning("housekeeping: %s", error.message)
            return 0
