"""A fuse in front of a service: few calls at once, and none while it is away, so that it cannot take all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Resting(Exception):
    """The service has just failed several times and is left alone for a while."""


class Crowded(Exception):
    """Others wait for the service already."""


class Fuse:
    """Threads may share it. failing: what counts as a failure of the service, and not of the call.

    failures: so many in a row blow it. rest: seconds until one call may try again. most: calls at once. patience:
    seconds to wait for a turn.
    """

    def __init__(
        self, failing: type[Exception], *, failures: int, rest: float, most: int, patience: float
    ) -> None:
        self._failing, self._failures, self._rest, self._patience = failing, failures, rest, patience
        self._lock, self._turns = threading.Lock(), threading.Semaphore(most)
        self._failed, self._until, self._trying = 0, 0.0, False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around one call. Raises Resting, Crowded."""
        with self._lock:
            self._require_awake()
        if not self._turns.acquire(timeout=self._patience):
            raise Crowded
        try:
            with self._lock:
                self._require_awake()
                trial = self._trying = self._failed >= self._failures
            try:
                yield
            except self._failing:
                with self._lock:
                    self._failed, self._until = self._failed + 1, time.monotonic() + self._rest
                raise
            finally:
                if trial:
                    self._trying = False
            with self._lock:
                self._failed = 0
        finally:
            self._turns.release()

    def _require_awake(self) -> None:
        if self._failed >= self._failures and (self._trying or time.monotonic() < self._until):
            raise Resting
