"""Calls of strangers that were too many: written down together, so that a flood of them fills no disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.actor import Actor, acting
from headrace.auth.attempts import neighbourhood
from headrace.errors import HeadraceError, TooMany
from headrace.store import Store

_SECONDS = 2.0


class Refusals:
    """Counts them by address, and writes one line of the audit (``too_many``) for each address every two seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._timer: threading.Timer | None = None

    def note(self, address: str) -> None:
        """One more."""
        address = neighbourhood(address)
        with self._lock:
            self._counts[address] += 1
            if self._timer is None:
                self._timer = threading.Timer(_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    @contextmanager
    def noting(self, address: str) -> Iterator[None]:
        """Note a TooMany that goes through."""
        try:
            yield
        except TooMany:
            self.note(address)
            raise

    def flush(self) -> None:
        """Write down what was counted; what cannot be written now is kept."""
        with self._lock:
            counts, self._counts, self._timer = self._counts, Counter(), None
        for address, times in counts.items():
            try:
                with acting(Actor(address=address)):
                    self._store.audit("address", address, "too_many", new={"times": times})
            except HeadraceError:
                with self._lock:
                    self._counts[address] += times
