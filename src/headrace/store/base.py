"""What every part of the store stands on: the engine, and the way from a pipeline's name to its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
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
from headrace.store.telling import begin_telling, tell
from headrace.store.wake import Wake

Transaction = Connection
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


@dataclass(slots=True)
class _Joined:
    """What is stored together. transaction: None before the first write."""

    engine: Engine
    end: ExitStack = field(default_factory=ExitStack)
    transaction: Transaction | None = None


_joined: ContextVar[_Joined | None] = ContextVar("headrace joined", default=None)


class Part:
    """A part of the store; each method is a transaction, its own or that of ``together``; threads may share it."""

    _engine: Engine
    wake: Wake

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread stores within is stored as a whole, or nothing of it is; a change and its audit, say.

        It begins with the first write. Nothing slow belongs within: others who write may have to wait.
        """
        if self._with() is not None:
            yield
            return
        joined = _Joined(self._engine)
        before = _joined.set(joined)
        try:
            with joined.end:
                yield
        finally:
            _joined.reset(before)

    def _with(self) -> _Joined | None:
        joined = _joined.get()
        return joined if joined is not None and joined.engine is self._engine else None

    def _reading(self) -> Any:
        joined = self._with()
        if joined is not None and joined.transaction is not None:
            return nullcontext(joined.transaction)
        return reading(self._engine)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        joined = self._with()
        if joined is None:
            with self._alone() as transaction:
                yield transaction
            return
        if joined.transaction is None:
            joined.transaction = joined.end.enter_context(self._alone())
        yield joined.transaction

    @contextmanager
    def _alone(self) -> Iterator[Transaction]:
        with writing(self._engine) as transaction:
            begin_telling(transaction)
            yield transaction
            told = tell(transaction)
        if told:
            self.wake.tell()

    def _forget(self, key: Column[Any], old: ColumnElement[bool]) -> int:
        """Delete a batch of the old rows of the key's table; how many."""
        some = select(key).where(old).limit(BATCH)
        with self._writing() as transaction:
            return int(transaction.execute(delete(key.table).where(key.in_(some))).rowcount)


def new_id() -> str:
    """A fresh UUID."""
    return str(uuid4())


def require_version(found: int | str | None, expected: int | str | None) -> None:
    """Precondition ``stale`` when a version is expected and another one was found (in a row that is locked)."""
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
