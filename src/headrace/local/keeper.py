"""Keep one service running: notice that it died, start it again with growing pauses, notice that it is unwell."""

from __future__ import annotations

import time

from headrace.errors import HeadraceError
from headrace.local.installation import Component
from headrace.local.process import Service

LOOK_SECONDS = 5
STEADY_SECONDS = 60
LONGEST_PAUSE_SECONDS = 30


class Keeper:
    """The life of one service. ``tend`` is called again and again and never waits for more than a health check.

    state: stopped, starting, running, unhealthy or restarting. deaths: since it last ran steadily.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.state = "stopped"
        self.deaths = 0
        self._since = 0.0
        self._next_look = 0.0

    def start(self) -> None:
        """Start now."""
        self.service.start()
        self._turn("starting")

    def tend(self) -> None:
        """One look, and what follows from it."""
        now = time.monotonic()
        if self.state == "restarting":
            if now >= self._next_look:
                self._start_again()
        elif not self.service.alive:
            self._died()
        elif self.state == "starting":
            if self.service.healthy():
                self._turn("running")
            elif now > self._since + self.service.start_seconds:
                self.service.kill()
        elif now >= self._next_look:
            self._look(now)

    def component(self) -> Component:
        """Its row in ``status``."""
        identity = self.service.identity if self.service.alive else None
        return Component(self.service.name, self.state, self.service.url, identity)

    def _look(self, now: float) -> None:
        healthy = self.service.healthy()
        if healthy and now > self._since + STEADY_SECONDS:
            self.deaths = 0
        wanted = "running" if healthy else "unhealthy"
        if wanted != self.state:
            self._turn(wanted)
        self._next_look = now + LOOK_SECONDS

    def _died(self) -> None:
        self.service.kill()  # what is left of its group
        self._turn("restarting")
        self._next_look = self._since + min(0.25 * 2**self.deaths, LONGEST_PAUSE_SECONDS)
        self.deaths += 1

    def _start_again(self) -> None:
        try:
            self.start()
        except (HeadraceError, OSError):
            self._died()

    def _turn(self, state: str) -> None:
        self.state = state
        self._since = time.monotonic()
        self._next_look = self._since + LOOK_SECONDS
