"""Signs of life of a pipeline's capture: when to restart a failed connector, and when a running one is dead.

Pure: it is told what was seen, with the time, and says what to do and what to show.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.control.generation import first_lines
from headrace.errors import HeadraceError, Unavailable

RESTART_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
# A connector that has run this long, in seconds, has got over its last failure.
STEADY = 60.0
# Heartbeats move the slot every 10 s, so that one that stands this long is read by nobody.
STUCK = 60.0


@dataclass(slots=True)
class Vitals:
    """What was seen of the connector and its slot; times are monotonic seconds."""

    restarts: int = 0
    _next_restart: float = 0.0
    _failed_at: float = 0.0
    _why: str = ""
    _position: int = -1
    _moved_at: float = 0.0
    _stuck: float = 0.0

    def failed(self, trace: str, now: float) -> bool:
        """The connector or its task has failed; whether to restart it now."""
        self._failed_at, self._why = now, first_lines(trace)
        if now < self._next_restart:
            return False
        self._next_restart = now + RESTART_PAUSES[min(self.restarts, len(RESTART_PAUSES) - 1)]
        self.restarts += 1
        return True

    def running(self, position: int, behind: int, now: float) -> None:
        """The connector says it runs. position: any number that changes while capture moves; behind: bytes of WAL
        that its slot holds back."""
        if now - self._failed_at > STEADY:
            self.restarts, self._why = 0, ""
        if position != self._position or behind == 0:
            self._position, self._moved_at = position, now
        self._stuck = now - self._moved_at

    def trouble(self) -> HeadraceError | None:
        """What a user should be shown, None when capture is well (or has only stumbled once)."""
        if self._why and self.restarts > 1:
            return Unavailable(
                "connector_failing",
                f"the connector keeps failing, {self.restarts} restarts so far: {self._why}",
                "Mend what the message names; it is restarted on and on.",
            )
        if self._stuck > STUCK:
            return Unavailable(
                "capture_stuck",
                f"the connector says that it runs, but its slot has not moved for {self._stuck:.0f} s",
                "See Kafka Connect's log; `headrace stop` and `start` restart it.",
            )
        return None
