"""A fuse in front of a service: few calls at once, and none while it is away, so that it cannot take all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.errors import Unavailable


class Fuse:
    """Threads may share it. name, what: of the service in codes and in words. advice: what to do when it is away.

    failing: what counts as a failure of the service, and not of the call. failures: so many in a row blow it. rest:
    seconds until one call may try again. most: calls at once. patience: seconds to wait for a turn.
    """

    def __init__(
        self,
        name: str,
        what: str,
        advice: str,
        failing: type[Exception],
        *,
        failures: int,
        rest: float,
        most: int,
        patience: float,
    ) -> None:
        self._name, self._what, self._advice = name, what, advice
        self._failing, self._failures, self._rest, self._patience = failing, failures, rest, patience
        self._lock, self._turns = threading.Lock(), threading.Semaphore(most)
        self._failed, self._until, self._trying = 0, 0.0, False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around one call. Unavailable ``<name>_resting`` after several failures, ``<name>_crowded`` by others."""
        with self._lock:
            self._require_awake()
        if not self._turns.acquire(timeout=self._patience):
            raise self._not_now("crowded", f"Others wait for {self._what} already", 1)
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
            said = f"{self._what} did not answer several times; it is asked again in a few seconds"
            raise self._not_now("resting", said, self._rest)

    def _not_now(self, why: str, said: str, seconds: float) -> Unavailable:
        return Unavailable(f"{self._name}_{why}", said, self._advice, {"retry_after": int(seconds)})
