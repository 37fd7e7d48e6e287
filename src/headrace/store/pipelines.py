"""Stored pipelines: what is wanted of them, and what the worker says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from types import EllipsisType
from typing import Any

from sqlalchemy import ColumnElement, Row, Text, and_, bindparam, cast, delete, func, insert, select, update

from headrace.actor import current
from headrace.errors import Conflict, Precondition
from headrace.spec.models import STORED, PipelineSpec
from headrace.store.base import Part, Transaction, new_id, page, pipeline_row, require_version
from headrace.store.connections import connection_id
from headrace.store.database import now
from headrace.store.records import Desired, Pipeline
from headrace.store.schema import (
    connections,
    dead_letters,
    leases,
    pipeline_connectors,
    pipeline_tables,
    pipelines,
    requests,
)
from headrace.store.secrets import Cipher
from headrace.store.telling import publish

# Key of what stands for a connector's settings in a stored spec.
_SEALED_KEY = ""
# Forgotten with the pipeline; its logs, runs and metrics stay.
_OF_THE_LIVE = (pipeline_tables, pipeline_connectors, requests, dead_letters)
LISTED = (
    "id", "name", "status", "phase", "mode", "source", "target", "user_id", "desired", "spec", "spec_version",
    "applied_version", "generation", "error", "created_at", "updated_at",
)  # fmt: skip


_SPEC = LISTED.index("spec")
# In the text of a spec whose connector has no settings of its own.
PLAIN_SPEC = '"connector": {}'


def _listed_column(name: str) -> ColumnElement[Any]:
    if name in ("source", "target"):
        found: ColumnElement[Any] = pipelines.c.spec[name].as_string()
        return found
    return cast(pipelines.c[name], Text) if name in ("spec", "generation", "error") else pipelines.c[name]


_source, _target = connections.alias(), connections.alias()
# Made once, as those of store.base are.
_ENDS = (
    select(_source.c.database, _target.c.database, pipeline_connectors.c.config)
    .select_from(pipelines)
    .join(_source, _source.c.id == pipelines.c.source_connection_id)
    .join(_target, _target.c.id == pipelines.c.target_connection_id)
    .outerjoin(
        pipeline_connectors,
        and_(pipeline_connectors.c.pipeline_id == pipelines.c.id, pipeline_connectors.c.type == "source"),
    )
    .where(pipelines.c.id == bindparam("pipeline"))
)
_LISTED = select(*(_listed_column(name) for name in LISTED))


class Pipelines(Part):
    """Reading and writing pipelines."""

    _cipher: Cipher

    def put_pipeline(
        self, name: str, spec: PipelineSpec, expected: int | None = None, *, new: bool = False
    ) -> Pipeline:
        """Create (``draft``, desired ``stopped``) or update; the version rises only when the spec changes.

        Raises NotFound ``no_such_connection``, Precondition ``stale`` when the spec has another version than expected.
        new: Conflict ``exists_already`` where there is one.
        """
        with self._writing() as transaction:
            data = spec.model_dump(mode="json")
            values = {
                "source_connection_id": connection_id(transaction, spec.source),
                "target_connection_id": connection_id(transaction, spec.target),
                "mode": spec.mode,
                "spec": sealed(self._cipher, data),
                "updated_at": now(),
            }
            row = transaction.execute(
                select(pipelines)
                .where(pipelines.c.name == name, pipelines.c.deleted_at.is_(None))
                .with_for_update()
            ).first()
            if new and row is not None:
                raise Conflict("exists_already", f"There is a pipeline {name} already", "Change it with PUT.")
            require_version(row.spec_version if row else None, expected)
            if row is None:
                transaction.execute(
                    insert(pipelines).values(name=name, user_id=current().user, **_fresh(), **values)
                )
            elif self._opened(row.spec) != data:
                changed = {**values, "spec_version": row.spec_version + 1}
                transaction.execute(update(pipelines).where(pipelines.c.id == row.id).values(**changed))
            stored = self._pipeline_of(pipeline_row(transaction, name))
            if row is None:
                _tell(transaction, stored, {"status": stored.status})
            return stored

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline of that name or id; NotFound ``no_such_pipeline``."""
        with self._reading() as transaction:
            return self._pipeline_of(pipeline_row(transaction, name))

    def _opened(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A spec as it was stored, without the connector's settings where their key is lost."""
        with suppress(Precondition):
            return opened(self._cipher, spec)
        return {**spec, "connector": {}}

    def _pipeline_of(self, row: Row[Any]) -> Pipeline:
        return Pipeline(
            row.id,
            row.name,
            PipelineSpec.model_validate(self._opened(row.spec), context=STORED),
            row.spec_version,
            row.applied_version,
            row.desired,
            row.flags,
            row.status,
            row.phase,
            row.error,
            row.generation,
            row.lag,
            row.user_id,
            row.source_connection_id,
            row.target_connection_id,
            row.request_id,
            row.created_at,
            row.updated_at,
        )

    def ends(self, id_: str) -> tuple[str, str, dict[str, str] | None]:
        """The databases of a pipeline's source and target, and its source connector's settings as last seen."""
        with self._reading() as transaction:
            source, target, config = transaction.execute(_ENDS, {"pipeline": id_}).first() or ("", "", None)
            return source, target, config

    def pipelines(self, status: str | None = None) -> list[Pipeline]:
        """All by name, or those whose status or phase is the one given."""
        query = select(pipelines).where(pipelines.c.deleted_at.is_(None)).order_by(pipelines.c.name)
        if status:
            query = query.where((pipelines.c.status == status) | (pipelines.c.phase == status))
        with self._reading() as transaction:
            return [self._pipeline_of(row) for row in transaction.execute(query)]

    def listed(
        self,
        status: str | None = None,
        q: str | None = None,
        sort: str = "name",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Sequence[Any]], int]:
        """A page of rows of ``LISTED``, and how many fit. q: part of the name. sort: ``-`` descending.

        spec, generation and error are the JSON text as stored: reading a thousand specs would cost a list a tenth of
        a second.
        """
        fits = _fits(status, q)
        column = pipelines.c[sort.removeprefix("-")]
        order = column.desc() if sort.startswith("-") else column
        query = _LISTED.where(*fits).order_by(order, pipelines.c.id)
        with self._reading() as transaction:
            rows, total = page(transaction, query, limit, offset)
            return [self._readable(row) for row in rows], total

    def _readable(self, row: Row[Any]) -> Sequence[Any]:
        text = row[_SPEC]
        if PLAIN_SPEC in text:
            return row
        return (*row[:_SPEC], json.dumps(self._opened(json.loads(text))), *row[_SPEC + 1 :])

    def figures(
        self,
        status: str | None = None,
        q: str | None = None,
        sort: str = "name",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Id, name, status, phase, lag, error and tables by state of pipelines, without their specs.

        q: part of the name. sort: ``name`` or ``lag``, ``-`` descending.
        """
        columns = (pipelines.c.id, pipelines.c.name, pipelines.c.status, pipelines.c.phase)
        query = select(*columns, pipelines.c.lag, pipelines.c.error).where(*_fits(status, q))
        key = _lag("seconds") if sort.endswith("lag") else pipelines.c.name
        ordered = key.desc() if sort.startswith("-") else key.asc()
        query = query.order_by(ordered.nulls_last(), pipelines.c.name)
        counted = select(
            pipeline_tables.c.pipeline_id, pipeline_tables.c.state, func.count().label("tables")
        ).group_by(pipeline_tables.c.pipeline_id, pipeline_tables.c.state)
        with self._reading() as transaction:
            rows = transaction.execute(query.limit(limit).offset(offset)).all()
            if limit is not None:
                counted = counted.where(pipeline_tables.c.pipeline_id.in_([r.id for r in rows]))
            tables: dict[str, dict[str, int]] = {}
            for row in transaction.execute(counted):
                tables.setdefault(row.pipeline_id, {})[row.state] = row.tables
            return [
                {
                    "id": r.id,
                    "name": r.name,
                    "status": r.status,
                    "phase": r.phase,
                    "lag": r.lag,
                    "error": r.error,
                    "tables": tables.get(r.id, {}),
                }
                for r in rows
            ]

    def lag_sums(self, status: str | None = None, q: str | None = None) -> dict[str, Any]:
        """Of the pipelines that fit: how many, events and bytes behind in all, and the worst lag in seconds."""
        events, size, worst = _lag("events"), _lag("bytes"), func.coalesce(_lag("seconds"), 0.0)
        query = select(func.count(), func.sum(events), func.sum(size), func.max(worst)).select_from(pipelines)
        with self._reading() as transaction:
            count, events_, size_, worst_ = transaction.execute(query.where(*_fits(status, q))).one()
            return {
                "pipelines": count,
                "events": int(events_ or 0),
                "bytes": int(size_ or 0),
                "worst_seconds": worst_,
            }

    def connector_owners(self) -> dict[str, str]:
        """Connector -> the pipeline whose generation it is of."""
        query = select(pipelines.c.name, pipelines.c.generation).where(
            pipelines.c.deleted_at.is_(None), pipelines.c.generation.is_not(None)
        )
        with self._reading() as transaction:
            return {str(r.generation.get("connector")): r.name for r in transaction.execute(query)}

    def to_run(self) -> list[str]:
        """Names of those that a worker has to see to: all but drafts and those that are stopped and capture nothing."""
        at_rest = (pipelines.c.desired == "stopped") & (pipelines.c.status == "stopped")
        query = select(pipelines.c.name).where(
            pipelines.c.deleted_at.is_(None),
            pipelines.c.status != "draft",
            ~at_rest | pipelines.c.generation.is_not(None),
        )
        with self._reading() as transaction:
            return list(transaction.scalars(query))

    def remove_pipeline(self, name: str, expected: int | None = None) -> None:
        """Forget it and its tables, requests and dead letters; logs and runs stay.

        Raises NotFound, and Precondition ``stale`` when its spec has another version than expected.
        """
        with self._writing() as transaction:
            row = pipeline_row(transaction, name, lock=True)
            require_version(row.spec_version, expected)
            for owned in _OF_THE_LIVE:
                transaction.execute(delete(owned).where(owned.c.pipeline_id == row.id))
            transaction.execute(delete(leases).where(leases.c.name == row.name))
            gone = {"deleted_at": now(), "generation": None, "lag": None, "phase": None}
            transaction.execute(update(pipelines).where(pipelines.c.id == row.id).values(**gone))
            publish(transaction, "status", row.name, {"status": "deleted", "phase": None, "error": None})

    def set_desired(
        self,
        name: str,
        desired: Desired,
        *,
        status: str | None = None,
        expected: int | None = None,
        **flags: Any,
    ) -> Pipeline:
        """What the user wants from now on; flags replace the old ones. expected: as for ``remove_pipeline``.

        status: in the same transaction, the status to show until the worker takes over (phase and error are
        cleared with it), so that nobody reads the old state as the answer to the new wish.
        """
        values: dict[str, Any] = {"desired": desired, "flags": flags}
        if request := current().request_id:
            values["request_id"] = request
        if status:
            values |= {"status": status, "phase": None, "error": None}
        return self._set(name, expected=expected, **values)

    def set_status(
        self,
        name: str,
        status: str,
        phase: str | None = None,
        error: dict[str, Any] | EllipsisType | None = ...,
    ) -> Pipeline:
        """What the worker sees; error is left as it is unless given (None clears it)."""
        values: dict[str, Any] = {"status": status, "phase": phase}
        if error is not ...:
            values["error"] = error
        return self._set(name, **values)

    def set_applied(self, name: str, version: int) -> Pipeline:
        """The spec version the worker has brought about."""
        return self._set(name, applied_version=version)

    def set_generation(self, name: str, generation: dict[str, Any] | None) -> Pipeline:
        """Slot, publication, connector, prefix and so on of the current generation; None: there is none."""
        return self._set(name, generation=generation)

    def set_lag(self, name: str, lag: dict[str, Any] | None) -> None:
        """``{"events", "seconds", "bytes"}`` as last measured."""
        self._set(name, touched=False, lag=lag)

    def _set(
        self, name: str, *, touched: bool = True, expected: int | None = None, **values: Any
    ) -> Pipeline:
        with self._writing() as transaction:
            row = pipeline_row(transaction, name, lock=expected is not None)
            require_version(row.spec_version, expected)
            if all(getattr(row, field) == value for field, value in values.items()):
                # Workers say the same again and again; a commit without a change costs no fsync.
                return self._pipeline_of(row)
            if touched:
                values["updated_at"] = now()
            transaction.execute(update(pipelines).where(pipelines.c.id == row.id).values(**values))
            changed = self._pipeline_of(pipeline_row(transaction, row.id))
            _tell(transaction, changed, values)
            return changed


def _fits(status: str | None, q: str | None) -> list[ColumnElement[bool]]:
    """Those that are there, of a status or phase, with q as a part of the name."""
    fits: list[ColumnElement[bool]] = [pipelines.c.deleted_at.is_(None)]
    if status:
        fits.append((pipelines.c.status == status) | (pipelines.c.phase == status))
    if q:
        fits.append(pipelines.c.name.contains(q, autoescape=True))
    return fits


def _lag(what: str) -> ColumnElement[float]:
    # As a float: PostgreSQL's integer has no room for more than two gigabytes.
    found: ColumnElement[float] = pipelines.c.lag[what].as_float()
    return found


def _tell(transaction: Transaction, pipeline: Pipeline, values: dict[str, Any]) -> None:
    """What those who watch see of a change."""
    if values.keys() & {"status", "phase", "error", "desired"}:
        error = pipeline.error and {k: pipeline.error.get(k) for k in ("code", "message", "guidance")}
        said = {"status": pipeline.status, "phase": pipeline.phase, "desired": pipeline.desired}
        publish(transaction, "status", pipeline.name, {**said, "error": error})
    elif values.get("lag"):
        publish(
            transaction, "metrics", pipeline.name, {k: v for k, v in values["lag"].items() if k != "heads"}
        )


def sealed(cipher: Cipher, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as it lies in the database: settings of its connector may be secrets."""
    own = spec.get("connector")
    return {**spec, "connector": {_SEALED_KEY: cipher.seal(own)}} if own else spec


def opened(cipher: Cipher, spec: dict[str, Any]) -> dict[str, Any]:
    """The same again; Precondition ``secret_key``. Older versions kept it in clear."""
    own = spec.get("connector") or {}
    return {**spec, "connector": cipher.open(own[_SEALED_KEY])} if own.keys() == {_SEALED_KEY} else spec


def _fresh() -> dict[str, Any]:
    return {
        "id": new_id(),
        "spec_version": 1,
        "applied_version": 0,
        "desired": "stopped",
        "flags": {},
        "status": "draft",
        "created_at": now(),
    }
