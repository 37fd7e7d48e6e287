"""Stored connections: secrets encrypted, everything else readable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, insert, or_, select, update

from headrace.errors import Conflict, NotFound, Precondition
from headrace.secrecy import MASK, known
from headrace.spec.models import STORED, ConnectionSpec
from headrace.spec.secrets import SECRET_FIELDS, plain, shown_references
from headrace.store.base import Part, Transaction, new_id, page, require_version
from headrace.store.cache import forget_cached
from headrace.store.database import now
from headrace.store.records import Connection, ConnectionKind, ConnectionTest
from headrace.store.schema import connection_tests, connections, pipelines
from headrace.store.secrets import Cipher

_OWN_COLUMNS = {
    "engine": "database_type",
    "host": "host",
    "port": "port",
    "database": "database",
    "user": "username",
}
# Until the end of the transaction nobody else changes the row; with "keep", others may keep it as well.
_Lock = Literal["change", "keep"]


class Connections(Part):
    """Reading and writing connections."""

    _cipher: Cipher

    def put_connection(
        self,
        name: str,
        spec: ConnectionSpec,
        *,
        references: Mapping[str, str] | None = None,
        expected: int | None = None,
        kind: ConnectionKind | None = None,
        new: bool = False,
        beside: bool = False,
    ) -> Connection:
        """Create or replace; nothing is written when nothing changes. references: field -> ``${env:X}``.

        kind: None leaves it as it is. new: Conflict ``exists_already`` where there is one. beside: it comes with a
        new pipeline, and changes none that another uses. Precondition ``stale`` when a change meets another version
        than the expected one, Conflict ``connection_in_use`` where a pipeline uses it otherwise than its kind would
        allow, or at all.
        """
        with self._writing() as transaction:
            row = _find(transaction, name, "change")
            if new and row is not None:
                raise Conflict(
                    "exists_already", f"There is a connection {name} already", "Change it with PUT."
                )
            old = self._record(row, lost=True) if row else None
            kept = kind is None or (old is not None and old.kind == kind)
            if old and old.spec == spec and old.references == dict(references or {}) and kept:
                return old
            values = {**self._columns(spec), "secret_references": dict(references or {}), "updated_at": now()}
            if kind is not None:
                values["connection_type"] = kind
            if row is None:
                fresh = {"id": new_id(), "name": name, "created_at": values["updated_at"]}
                transaction.execute(insert(connections).values(**fresh, **values))
            else:
                require_version(row.version, expected)
                if old and old.spec != spec:
                    values |= {"last_tested_at": None, "last_test_status": None}
                if beside:
                    ask = "Give the pipeline another name, or store its connections first and name them."
                    _require_unused(transaction, row, _used(row), ask)
                if kind in ("source", "target"):
                    other = (
                        pipelines.c.target_connection_id
                        if kind == "source"
                        else pipelines.c.source_connection_id
                    )
                    _require_unused(transaction, row, other == row.id)
                changed = {**values, "version": row.version + 1}
                transaction.execute(update(connections).where(connections.c.id == row.id).values(**changed))
                forget_cached(transaction, row.id)
            return self._record(_existing(transaction, name))

    def connection(self, name: str, *, lost: bool = False) -> Connection:
        """The connection of that name or id; NotFound ``no_such_connection``.

        lost: where no key opens its secrets, with the mask in their place instead of Precondition ``secret_key``.
        """
        with self._reading() as transaction:
            return self._record(_existing(transaction, name), lost)

    def connections(
        self,
        q: str | None = None,
        engine: str | None = None,
        sort: str = "name",
        limit: int | None = None,
        offset: int = 0,
        *,
        kind: ConnectionKind | None = None,
        lost: bool = False,
    ) -> tuple[list[Connection], int]:
        """A page, and how many fit. q: part of the name, host or database. sort: a column, ``-`` descending.

        kind: those that are for it (``both`` are for either). lost: as for one.
        """
        own = connections.c
        fits: list[ColumnElement[bool]] = [own.deleted_at.is_(None)]
        if engine is not None:
            fits.append(own.database_type == engine)
        if kind is not None:
            fits.append(own.connection_type.in_({kind, "both"}))
        if q is not None:
            fits.append(or_(*(c.icontains(q, autoescape=True) for c in (own.name, own.host, own.database))))
        column = own[sort.removeprefix("-")]
        order = column.desc() if sort.startswith("-") else column.asc()
        query = select(connections).where(*fits).order_by(order, own.name)
        with self._reading() as transaction:
            rows, total = page(transaction, query, limit, offset)
            return [self._record(row, lost) for row in rows], total

    def delete_connection(self, name: str, expected: int | None = None) -> None:
        """Take it away (secrets wiped); Conflict ``connection_in_use`` naming the pipelines that use it.

        Precondition ``stale`` when it has another version than the expected one.
        """
        with self._writing() as transaction:
            row = _existing(transaction, name, "change")
            require_version(row.version, expected)
            _require_unused(transaction, row, _used(row))
            gone = {"deleted_at": now(), "is_active": False, "secrets": ""}
            forget_cached(transaction, row.id)
            transaction.execute(update(connections).where(connections.c.id == row.id).values(**gone))

    def add_connection_test(self, name: str, status: str, response_time_ms: float, error: str | None) -> None:
        """Note the outcome (``ok`` or ``failed``) of a test."""
        with self._writing() as transaction:
            row, at = _existing(transaction, name), now()
            transaction.execute(
                insert(connection_tests).values(
                    connection_id=row.id,
                    test_status=status,
                    response_time_ms=response_time_ms,
                    error_message=error,
                    tested_at=at,
                )
            )
            tested = {"last_tested_at": at, "last_test_status": status}
            transaction.execute(update(connections).where(connections.c.id == row.id).values(**tested))

    def connection_tests(
        self, name: str, limit: int = 50, offset: int = 0
    ) -> tuple[list[ConnectionTest], int]:
        """A page of past tests, newest first, and how many there are."""
        with self._reading() as transaction:
            ours = connection_tests.c.connection_id == _existing(transaction, name).id
            query = select(connection_tests).where(ours).order_by(connection_tests.c.id.desc())
            rows, total = page(transaction, query, limit, offset)
            return [
                ConnectionTest(
                    r.id, r.connection_id, r.test_status, r.response_time_ms, r.error_message, r.tested_at
                )
                for r in rows
            ], total

    def sweep_connection_tests(self, days: int = 90) -> int:
        """Forget older tests, a batch at a time; how many."""
        return self._forget(
            connection_tests.c.id, connection_tests.c.tested_at < now() - timedelta(days=days)
        )

    def _columns(self, spec: ConnectionSpec) -> dict[str, Any]:
        data = plain(spec)
        secrets = {name: data.pop(name) for name in SECRET_FIELDS}
        own = {column: data.pop(name, None) for name, column in _OWN_COLUMNS.items()}
        return {**own, "secrets": self._cipher.seal(secrets), "additional_config": data}

    def _record(self, row: Row[Any], lost: bool = False) -> Connection:
        own = {name: getattr(row, column) for name, column in _OWN_COLUMNS.items()}
        try:
            secrets = self._cipher.open(row.secrets)
            known.learn(*filter(None, secrets.values()))
        except Precondition:
            if not lost:
                raise
            secrets = dict.fromkeys(SECRET_FIELDS, MASK)
        data = {**own, **row.additional_config, **secrets}
        return Connection(
            row.id,
            row.name,
            row.connection_type,
            ConnectionSpec.model_validate({k: v for k, v in data.items() if v is not None}, context=STORED),
            # What is none was taken in older releases.
            shown_references(row.secret_references),
            row.last_tested_at,
            row.last_test_status,
            row.version,
            row.created_at,
            row.updated_at,
        )


def connection_id(transaction: Transaction, name: str) -> str:
    """The id of the live connection of that name, which stays until the end; NotFound ``no_such_connection``."""
    return str(_existing(transaction, name, "keep").id)


def _find(transaction: Transaction, name: str, lock: _Lock | None = None) -> Row[Any] | None:
    named = or_(connections.c.name == name, connections.c.id == name)
    query = select(connections).where(named, connections.c.deleted_at.is_(None))
    return transaction.execute(query.with_for_update(read=lock == "keep") if lock else query).first()


def _existing(transaction: Transaction, name: str, lock: _Lock | None = None) -> Row[Any]:
    row = _find(transaction, name, lock)
    if row is None:
        raise NotFound(
            "no_such_connection",
            f"There is no connection {name}",
            "Store it with `headrace apply` or POST connections.",
            {"name": name},
        )
    return row


def _used(row: Row[Any]) -> ColumnElement[bool]:
    return or_(pipelines.c.source_connection_id == row.id, pipelines.c.target_connection_id == row.id)


def _require_unused(
    transaction: Transaction,
    row: Row[Any],
    used: ColumnElement[bool],
    guidance: str = "Delete these pipelines first.",
) -> None:
    query = select(pipelines.c.name).where(used, pipelines.c.deleted_at.is_(None))
    if users := sorted(transaction.execute(query).scalars()):
        raise Conflict(
            "connection_in_use",
            f"{row.name} is used by {', '.join(users)}",
            guidance,
            {"pipelines": users},
        )
