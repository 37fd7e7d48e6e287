"""Writing live events: in the transaction of what they tell, as its last statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, text

from headrace.store.database import now
from headrace.store.schema import events

# Any number will do; it only has to be ours. Held from the numbering of an event to the commit.
_ORDER_LOCK = 7_237_725
# What a transaction has to tell, in its notes.
_TOLD = "headrace told"


def publish(transaction: Connection, kind: str, pipeline: str | None, data: dict[str, Any]) -> None:
    """Tell that something happens, when the transaction in which it does is committed."""
    transaction.info.setdefault(_TOLD, []).append((kind, pipeline, data))


def begin_telling(transaction: Connection) -> None:
    """Forget what a transaction before on the same connection had to tell and was rolled back."""
    transaction.info.pop(_TOLD, None)


def tell(transaction: Connection) -> bool:
    """Write down what was published; whether there was something. The last statement before the commit.

    Numbers are given in the order of commits, so that who has seen one never misses a smaller one: SQLite has one
    writer as it is, PostgreSQL's writers take turns from here to their commit. Whoever took a row's lock after that
    could wait for somebody who waits for them.
    """
    told = transaction.info.pop(_TOLD, [])
    if not told:
        return False
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ORDER_LOCK})
    at = now()
    rows = [{"ts": at, "kind": kind, "pipeline": pipeline, "data": data} for kind, pipeline, data in told]
    transaction.execute(insert(events), rows)
    return True
