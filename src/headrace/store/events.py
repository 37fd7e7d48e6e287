"""Live events: what changed, in the order in which it was committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, select

from headrace.store.base import Part, Transaction
from headrace.store.database import now
from headrace.store.schema import events

KINDS = ("status", "tables", "logs", "metrics", "changes", "alerts")
KEPT = timedelta(hours=1)
_BATCH = 20_000
# What JSON's reader has against a value.
_DAMAGE = (ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. id: rises in the order of commits. pipeline: its name, None where it is about none.

    damaged: it cannot be read; its number is all that is known.
    """

    id: int
    ts: datetime
    kind: str
    pipeline: str | None
    data: dict[str, Any]
    damaged: bool = False


class Events(Part):
    """Reading events; they are written with what they tell (``telling``)."""

    def events(self, after: int, limit: int = 1000) -> list[Event]:
        """The next events, the oldest first; one that cannot be read does not hide the others."""
        later = events.c.id > after
        with self._reading() as transaction:
            try:
                return _read(transaction, select(events).where(later).limit(limit))
            except _DAMAGE:
                ids = select(events.c.id).where(later).order_by(events.c.id).limit(limit)
                return _those(transaction, list(transaction.scalars(ids)))

    def event_bounds(self) -> tuple[int, int]:
        """The numbers of the oldest event that is kept and of the newest; (0, 0) without any."""
        query = select(func.min(events.c.id), func.max(events.c.id))
        with self._reading() as transaction:
            oldest, newest = transaction.execute(query).one()
            return oldest or 0, newest or 0

    def sweep_events(self, most: int = 200_000) -> int:
        """Forget what is older than an hour or too much, a batch at a time; how many. The newest one stays."""
        with self._writing() as transaction:
            newest = transaction.execute(select(func.max(events.c.id))).scalar() or 0
            old = select(func.max(events.c.id)).where(events.c.ts < now() - KEPT)
            until = max(transaction.execute(old).scalar() or 0, newest - most)
            some = select(events.c.id).where(events.c.id <= until, events.c.id < newest).limit(_BATCH)
            return int(transaction.execute(delete(events).where(events.c.id.in_(some))).rowcount)


def _read(transaction: Transaction, query: Select[Any]) -> list[Event]:
    rows = transaction.execute(query.order_by(events.c.id))
    return [Event(r.id, r.ts, r.kind, r.pipeline, r.data) for r in rows]


def _those(transaction: Transaction, ids: list[int]) -> list[Event]:
    """The events of these numbers, which lie next to each other: by halves down to the damaged ones."""
    if not ids:
        return []
    try:
        return _read(transaction, select(events).where(events.c.id.between(ids[0], ids[-1])))
    except _DAMAGE:
        if len(ids) == 1:
            return [Event(ids[0], now(), "", None, {}, damaged=True)]
        half = len(ids) // 2
        return [*_those(transaction, ids[:half]), *_those(transaction, ids[half:])]
