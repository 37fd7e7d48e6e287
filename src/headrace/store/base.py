"""What every part of the store stands on: the engine, and the way from a pipeline's name to its row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import Column, ColumnElement, Connection, Engine, Row, delete, or_, select

from headrace.errors import NotFound
from headrace.store.database import reading, writing
from headrace.store.schema import pipelines
from headrace.store.wake import Wake

Transaction = Connection
# Left in a transaction's notes by whoever published an event in it.
PUBLISHED = "headrace published"
# So many rows are forgotten in one transaction, so that nobody waits for it long.
BATCH = 10_000


class Part:
    """A part of the store; each method is one transaction of its own, so threads may share it."""

    _engine: Engine
    wake: Wake

    def _reading(self) -> Any:
        return reading(self._engine)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with writing(self._engine) as transaction:
            transaction.info.pop(PUBLISHED, None)
            yield transaction
            published = transaction.info.pop(PUBLISHED, False)
        if published:
            self.wake.tell()

    def _forget(self, key: Column[Any], old: ColumnElement[bool]) -> int:
        """Delete a batch of the old rows of the key's table; how many."""
        some = select(key).where(old).limit(BATCH)
        with self._writing() as transaction:
            return int(transaction.execute(delete(key.table).where(key.in_(some))).rowcount)


def new_id() -> str:
    """A fresh UUID."""
    return str(uuid4())


def pipeline_row(transaction: Transaction, name: str, *, lock: bool = False) -> Row[Any]:
    """The live pipeline of that name or id; NotFound ``no_such_pipeline``."""
    query = select(pipelines).where(
        or_(pipelines.c.name == name, pipelines.c.id == name), pipelines.c.deleted_at.is_(None)
    )
    row = transaction.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(
            "no_such_pipeline", f"There is no pipeline {name}", "See `headrace status`.", {"name": name}
        )
    return row


def pipeline_id(transaction: Transaction, name: str) -> str:
    """The id of the live pipeline of that name or id; NotFound ``no_such_pipeline``."""
    return str(pipeline_row(transaction, name).id)
