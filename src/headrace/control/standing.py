"""Where applying stands: how far behind the log it is, while it runs and while it rests."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from headrace.engines.postgres import progress
from headrace.engines.postgres.connection import Login, connect
from headrace.errors import HeadraceError, Precondition

LOOK_SECONDS = 3.0
_MOST = 600


class Standing:
    """Of one pipeline; not for several threads. Offsets are by topic.

    trouble: the target does not know tables that were loaded into it; None when it knows them all.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._reached: dict[str, int] = {}
        self._ends: list[tuple[float, Mapping[str, int]]] = []
        self._next = 0.0
        self.trouble: HeadraceError | None = None

    def begin(self, seconds: float, ends: Mapping[str, int]) -> None:
        """What was known before this process: where topics ended, and the age of what was not applied then."""
        self._ends = [(time.monotonic() - seconds, ends)]

    def look(
        self,
        target: Login,
        live: Collection[str],
        applied: Mapping[str, int] | None,
        ends: Mapping[str, int],
    ) -> tuple[int | None, float | None]:
        """Records that are not applied, and for how many seconds the oldest of them is known; None: unknown.

        live: topics of loaded tables. applied: where the applier stands, None while none runs. ends: of the topics.
        """
        now = time.monotonic()
        self._reached = {t: at for t, at in {**self._reached, **(applied or {})}.items() if t in live}
        unsure = [t for t in live if t not in (self._reached if applied is None else applied)]
        if not unsure:
            self.trouble = None
        elif now >= self._next:
            self._next = now + LOOK_SECONDS
            with suppress(HeadraceError):
                self._ask(target, unsure)
        if live and not self._reached:
            return None, None
        events = sum(max(ends.get(t, 0) - at, 0) for t, at in self._reached.items())
        return events, self._age(now, ends)

    def _ask(self, target: Login, topics: Collection[str]) -> None:
        with connect(target, name="headrace control") as conn:
            rows = {p.topic: p for p in progress.load_all(conn, self._pipeline).values()}
        self._reached |= {t: rows[t].next_offset for t in topics if t in rows and t not in self._reached}
        missing = sorted(t for t in topics if t not in rows)
        self.trouble = _astray(missing) if missing else None

    def _age(self, now: float, ends: Mapping[str, int]) -> float:
        if not self._ends or self._ends[-1][1] != ends:
            self._ends.append((now, ends))
        while self._ends and not self._behind(self._ends[0][1]):
            del self._ends[0]
        if len(self._ends) > _MOST:
            # What is left tells less exactly when, never too much.
            del self._ends[-2:0:-2]
        return now - self._ends[0][0] if self._ends else 0.0

    def _behind(self, ends: Mapping[str, int]) -> bool:
        return any(ends.get(t, 0) > at for t, at in self._reached.items())


def _astray(topics: list[str]) -> Precondition:
    return Precondition(
        "progress_missing",
        f"The target does not know of {len(topics)} loaded table(s), first {topics[0]}: it is another database than "
        "the one that was written, or rows of headrace.progress were removed",
        "Let the connection lead to the database that was written; it goes on from there by itself. If that is gone "
        "for good, `headrace resync` loads tables anew.",
    )
