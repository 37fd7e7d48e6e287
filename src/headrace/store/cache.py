"""What was found behind connections, kept for a while so that looking again costs their servers nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from headrace.store.base import Part, Transaction
from headrace.store.database import now
from headrace.store.schema import schema_cache


class Cache(Part):
    """Reading and writing what was found; it goes when its connection changes."""

    def cached(self, connection: str, what: str, seconds: float) -> tuple[Any, datetime] | None:
        """What was found for a connection (by id) and when, when that is not longer ago."""
        fits = (schema_cache.c.connection_id == connection) & (schema_cache.c.what == what)
        young = schema_cache.c.fetched_at > now() - timedelta(seconds=seconds)
        with self._reading() as transaction:
            row = transaction.execute(select(schema_cache).where(fits, young)).first()
            return (row.value, row.fetched_at) if row else None

    def put_cached(self, connection: str, what: str, value: Any) -> datetime:
        """Keep what was found; when that was."""
        at = now()
        upsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        values = {"value": value, "fetched_at": at}
        statement = upsert(schema_cache).values(connection_id=connection, what=what, **values)
        with self._writing() as transaction:
            transaction.execute(
                statement.on_conflict_do_update(index_elements=["connection_id", "what"], set_=values)
            )
        return at


def forget_cached(transaction: Transaction, connection: str) -> None:
    """Forget what was found behind a connection."""
    transaction.execute(delete(schema_cache).where(schema_cache.c.connection_id == connection))
