"""Sequences of a streaming pipeline: no event tells of them, so they are looked at now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from headrace.control.loading import run
from headrace.engines.model import Route
from headrace.engines.postgres import sequences
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.errors import HeadraceError

SECONDS = 10.0


class Follower:
    """Moves the target's sequences on with the source's, so that the target can take over at any time."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log = log
        self._next = 0.0
        self._seen: sequences.Positions | None = None
        self._said = ""

    def look(self, source: Connection, target: Login, routes: Sequence[Route]) -> None:
        """Do it when it is time. What stands in the way is logged once; the stream does not depend on it."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS
        try:
            now = sequences.positions(source, routes)
            if now == self._seen:
                return
            with connect(target, name="headrace control") as conn, translated(target):
                run(conn, sequences.following(source, conn, routes))
            self._seen = now
        except HeadraceError as error:
            if error.kind != "unavailable" and error.message != self._said:
                self._said = error.message
                self._log("warning", f"sequences do not follow: {error.message}")
