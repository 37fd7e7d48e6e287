"""Watching what a running pipeline stands on: slot, connector, where the topics end, how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from headrace.apply.applier import Applier, Counters, log_lost
from headrace.capture import tail
from headrace.capture.connect import ConnectorStatus
from headrace.capture.topics import Head
from headrace.control.generation import Generation, Makers, first_lines, lost_position, position_of
from headrace.control.standing import Standing
from headrace.control.vitals import Vitals
from headrace.engines.model import TableName
from headrace.engines.postgres.capture import SlotState
from headrace.engines.postgres.connection import Login
from headrace.entering import Cluster
from headrace.errors import HeadraceError, Unavailable
from headrace.store.records import Pipeline

LATENCY_SECONDS = 20.0
MISSING_SECONDS = 3.0
TRIM_SECONDS = 60.0
# Connect's transactions last a poll, and Kafka ends those of a dead producer after seconds.
HANGING_SECONDS = 60.0
# Applied records that stay in the log, so that the last one is found again.
MARGIN = 10_000


class Watch:
    """What was seen of one pipeline's capture and log, and what follows from it.

    It restarts a failed connector; whatever is lost it only tells.
    """

    def __init__(self, name: str, kafka: Cluster, makers: Makers, log: Callable[[str, str], None]) -> None:
        self._kafka, self._makers, self._log = kafka, makers, log
        self._standing = Standing(name)
        self._vitals = Vitals()
        self._missing: dict[str, float] = {}
        self._heads: dict[str, Head] | None = None
        self._ends: dict[str, int] = {}
        self._last_events = (time.monotonic(), 0)
        self._trimmed, self._told = time.monotonic(), ""
        self._unfinished: dict[tuple[str, int], float] = {}
        self._next_unfinished = 0.0
        self.status: ConnectorStatus | None = None

    def trouble(self) -> HeadraceError | None:
        """What a user should be shown of capture, None when it is well."""
        return self._standing.trouble or self._vitals.trouble()

    def forget(self, topics: Sequence[str]) -> None:
        """From here on these topics may end anywhere: they are loaded again."""
        for topic in topics:
            (self._heads or {}).pop(topic, None)

    # -- slot and connector ---------------------------------------------------------------------------

    def before_start(self, generation: Generation, slot: SlotState | None) -> str | None:
        """Why a generation that has run cannot go on, None when it can.

        Raises Unavailable ``connector_missing`` while that is not certain.
        """
        why = _why_lost(generation, slot)
        if why is None and self._makers.connect.config(generation.connector) is None:
            if not self._surely("connector", self._makers.connect.healthy()):
                raise Unavailable("connector_missing", "Kafka Connect does not know the connector (yet)")
            why = f"connector {generation.connector} was deleted"
        return why or _why_moved(generation, slot, self._makers.connect.offsets(generation.connector))

    def look(self, generation: Generation, slot: SlotState | None) -> str | None:
        """Look after slot and connector; why the generation is lost, None when it is not."""
        connect = self._makers.connect
        why = _why_lost(generation, slot)
        status = self.status = connect.status(generation.connector)
        missing = status is None and connect.config(generation.connector) is None
        if self._surely("connector", missing and connect.healthy()) and why is None:
            why = f"connector {generation.connector} was deleted"
        if why is None and status is not None and status.failed and lost_position(status.trace or ""):
            why = f"the connector has lost its place: {first_lines(status.trace or '')}"
        if why is not None or status is None:
            return why
        # Not our doing; whoever stopped it may have moved it as well.
        stopped = status.state in ("STOPPED", "PAUSED")
        # Without offsets it runs and reads nothing.
        silent = status.running and slot is not None and slot.active_pid is None
        if stopped or silent:
            why = _why_moved(generation, slot, connect.offsets(generation.connector))
        if stopped and why is None:
            connect.resume(generation.connector)
        elif why is None:
            self._keep_running(generation, status, slot)
        return why

    def _surely(self, what: str, missing: bool) -> bool:
        """Whether something is missing for a while now: Connect and Kafka forget for a moment when they start."""
        if not missing:
            self._missing.pop(what, None)
            return False
        since = self._missing.setdefault(what, time.monotonic())
        return time.monotonic() - since > MISSING_SECONDS

    def _keep_running(self, generation: Generation, status: ConnectorStatus, slot: SlotState | None) -> None:
        now = time.monotonic()
        if not status.failed:
            if slot is not None:
                # While one huge transaction is read the slot stands, but the topics grow.
                written = sum(head.end for head in (self._heads or {}).values())
                self._vitals.running(slot.confirmed + written, slot.retained, now)
        elif self._vitals.failed(status.trace or "no trace", now):
            why = first_lines(status.trace or "no trace")
            self._log("warning", f"connector failed, restart {self._vitals.restarts}: {why}")
            self._makers.connect.restart(generation.connector)

    # -- the log --------------------------------------------------------------------------------------

    def log(
        self,
        pipeline: Pipeline,
        generation: Generation,
        tables: Sequence[TableName],
        states: Mapping[TableName, str],
    ) -> Iterator[tuple[TableName, HeadraceError]]:
        """Compare where the topics end with where they were seen to end; streaming tables that lost records."""
        topics = {generation.topic(n): n for n in tables}
        for topic, error in self._hanging(topics):
            if states.get(topics[topic]) in ("live", "catching_up"):
                yield topics[topic], error
        now = self._makers.topics.heads(list(topics))
        self._ends = {topic: head.end for topic, head in now.items()}
        self._heads = self._remembered(pipeline)
        for topic, name in topics.items():
            before, seen = self._heads.get(topic), now.get(topic)
            if before and seen is None and not self._surely(topic, True):
                continue
            self._surely(topic, seen is None)
            why = tail.why_shorter(self._kafka, topic, before, seen) if before else None
            if why is not None and states.get(name) not in ("live", "catching_up"):
                # Its load may have begun before: kept in mind until that is done.
                continue
            if why is not None:
                yield name, log_lost(why, name, topic)
            if seen is not None:
                self._heads[topic] = seen
            else:
                self._heads.pop(topic, None)

    def _hanging(self, topics: Mapping[str, TableName]) -> Iterator[tuple[str, HeadraceError]]:
        """Topics with a transaction that is never ended: readers of committed records see an end that is none."""
        now = time.monotonic()
        if now < self._next_unfinished:
            return
        self._next_unfinished = now + HANGING_SECONDS / 6
        unfinished = set(self._makers.topics.unfinished(list(topics)).items())
        self._unfinished = {at: since for at, since in self._unfinished.items() if at in unfinished}
        for topic, offset in unfinished:
            if now - self._unfinished.setdefault((topic, offset), now) > HANGING_SECONDS:
                # Told once: the load that follows goes on when somebody has ended it.
                self._unfinished[(topic, offset)] = float("inf")
                why = (
                    f"topic {topic} has a transaction that began at offset {offset} and is never ended, as after the "
                    "death of a broker (end it: kafka-transactions.sh --bootstrap-server … abort "
                    f"--topic {topic} --partition 0 --start-offset {offset})"
                )
                yield topic, log_lost(why, topics[topic], topic)

    def count(self, topics: Sequence[str]) -> None:
        """See where topics end, without judging it."""
        self._ends = {topic: head.end for topic, head in self._makers.topics.heads(topics).items()}

    def lag(
        self,
        pipeline: Pipeline,
        generation: Generation,
        applier: Applier | None,
        slot: SlotState | None,
        target: Login,
        live: Collection[TableName],
    ) -> dict[str, Any]:
        """How far behind the target is, in the store's form; after ``log`` or ``count``. Trims what is applied.

        slot: None while it cannot be seen. live: the loaded tables.
        """
        self._heads, known = self._remembered(pipeline), pipeline.lag or {}
        reached = applier.reached() if applier is not None else None
        events, seconds = self._standing.look(
            target,
            [generation.topic(n) for n in live],
            None if reached is None else {generation.topic(n): at for n, at in reached.items()},
            self._ends,
        )
        if (trouble := self._standing.trouble) is not None and trouble.message != self._told:
            self._log("error", trouble.message)
        self._told = trouble.message if trouble is not None else ""
        recent = _recent(applier.counters) if applier is not None else []
        if events and seconds is not None and recent:
            seconds = max(seconds, recent[-1])
        self._trim(generation, reached or {}, time.monotonic())
        return {
            "heads": tail.as_json(self._heads),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "events": events,
            "seconds": None if seconds is None else round(seconds, 3),
            "bytes": slot.retained if slot is not None else None,
            "events_applied": applier.counters.events
            if applier is not None
            else known.get("events_applied", 0),
            "events_per_second": self._rate(applier),
            **_percentiles(recent),
        }

    def _remembered(self, pipeline: Pipeline) -> dict[str, Head]:
        if self._heads is None:
            known = pipeline.lag or {}
            self._heads = tail.from_json(known.get("heads"))
            self._standing.begin(known.get("seconds") or 0.0, {t: h.end for t, h in self._heads.items()})
        return self._heads

    def _rate(self, applier: Applier | None) -> float:
        now, events = time.monotonic(), applier.counters.events if applier is not None else 0
        before, then = self._last_events
        self._last_events = (now, events)
        return round(max(events - then, 0) / max(now - before, 0.001), 1)

    def _trim(self, generation: Generation, reached: Mapping[TableName, int], now: float) -> None:
        """Delete from the log what is applied, but for the margin."""
        if now - self._trimmed < TRIM_SECONDS or not reached:
            return
        self._trimmed = now
        starts = self._makers.topics.starts([generation.topic(n) for n in reached])
        self._makers.topics.trim(
            {
                generation.topic(n): at - MARGIN
                for n, at in reached.items()
                if at - MARGIN > starts.get(generation.topic(n), 0)
            }
        )


def _why_lost(generation: Generation, slot: SlotState | None) -> str | None:
    if slot is None:
        return f"replication slot {generation.slot} is gone"
    if slot.lost:
        return f"the server has invalidated replication slot {generation.slot}"
    return None


def _why_moved(
    generation: Generation, slot: SlotState | None, offsets: Sequence[dict[str, Any]]
) -> str | None:
    """Whether slot and connector still belong together, as far as their positions tell.

    slot: its state, taken before the offsets: the connector confirms to the slot only what it has committed to
    Kafka, so that a slot beyond the connector's offset was moved or made again.
    """
    if slot is None or not generation.connected:
        return None
    reached = position_of(offsets)
    if reached is None:
        return f"the offsets of connector {generation.connector} were deleted"
    if slot.confirmed > reached:
        return f"replication slot {generation.slot} was moved or made again"
    return None


def _recent(counters: Counters) -> list[float]:
    """Latencies of the last ``LATENCY_SECONDS``, in seconds."""
    since = time.time() - LATENCY_SECONDS
    return [latency for when, latency in list(counters.latencies) if when >= since]


def _percentiles(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    ordered = sorted(latencies)
    return {
        "latency_p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
        "latency_p99_ms": round(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] * 1000, 1),
    }
