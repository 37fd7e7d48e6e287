"""What every part of the store stands on: the engine, and the way from a pipeline's name to its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    String,
    bindparam,
    delete,
    func,
    select,
)

from headrace.errors import NotFound, Precondition
from headrace.store.database import reading, writing
from headrace.store.schema import pipelines
from headrace.store.wake import Wake

Transaction = Connection
# Left in a transaction's notes by whoever published an event in it.
PUBLISHED = "headrace published"
# So many rows are forgotten in one transaction, so that nobody waits for it long.
BATCH = 10_000
_given = bindparam("given", type_=String)
# Made once: building and hashing them for every call costs more than the database does.
# A plain OR would have SQLite look at every pipeline.
_named = select(pipelines.c.id).where(pipelines.c.name == _given, pipelines.c.deleted_at.is_(None))
_LIVING = (pipelines.c.id.in_(_named.union_all(select(_given))), pipelines.c.deleted_at.is_(None))
_ROW = select(pipelines).where(*_LIVING)
_LOCKED_ROW = _ROW.with_for_update()
_ID = select(pipelines.c.id).where(*_LIVING)


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


def require_version(found: int | None, expected: int | None) -> None:
    """Precondition ``stale`` when a version is expected and another one was found, in a row that is locked."""
    if expected is not None and found != expected:
        raise Precondition("stale", "It was changed since it was read", "Read it again.")


def page(
    transaction: Transaction, query: Select[Any], limit: int | None, offset: int
) -> tuple[Sequence[Row[Any]], int]:
    """A page of a query's rows, and how many it has in all."""
    counted = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    total: int = transaction.execute(counted).scalar_one()
    return transaction.execute(query.limit(limit).offset(offset)).all(), total


def pipeline_row(transaction: Transaction, name: str, *, lock: bool = False) -> Row[Any]:
    """The live pipeline of that name or id; NotFound ``no_such_pipeline``."""
    row = transaction.execute(_LOCKED_ROW if lock else _ROW, {"given": name}).first()
    if row is None:
        raise _missing(name)
    return row


def pipeline_id(transaction: Transaction, name: str) -> str:
    """The id of the live pipeline of that name or id; NotFound ``no_such_pipeline``."""
    found = transaction.execute(_ID, {"given": name}).scalar()
    if found is None:
        raise _missing(name)
    return str(found)


def _missing(name: str) -> NotFound:
    why = f"There is no pipeline {name}"
    return NotFound("no_such_pipeline", why, "See `headrace status`.", {"name": name})
