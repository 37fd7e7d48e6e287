"""Stored facts in the JSON forms of the contract; nothing here reads or decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from headrace import __version__
from headrace.capture.hiding import masked as hidden
from headrace.engines.model import Cut
from headrace.engines.postgres import capture
from headrace.spec.models import PipelineSpec
from headrace.spec.secrets import masked
from headrace.store.pipelines import LISTED, PLAIN_SPEC
from headrace.store.records import (
    Audit,
    Connection,
    ConnectionTest,
    DeadLetter,
    LogLine,
    Pipeline,
    Request,
    TableState,
)
from headrace.verify.certificate import CertifiedTable
from headrace.verify.certificate import build as build_certificate

JSON = dict[str, Any]
AUDIT_FIELDS = (
    "id",
    "timestamp",
    "entity_type",
    "entity_id",
    "action",
    "user_id",
    "user_name",
    "address",
    "request_id",
    "old_values",
    "new_values",
)
References = Mapping[str, dict[str, str]]


def summary(pipeline: Pipeline) -> JSON:
    """Name, status, phase."""
    return {"name": pipeline.name, "status": pipeline.status, "phase": pipeline.phase}


def status(pipeline: Pipeline, tables: list[TableState]) -> JSON:
    """``status NAME --json``."""
    return {
        **summary(pipeline),
        "lag": lag(pipeline.lag),
        "tables": [table(t) for t in tables],
        "error": short_error(pipeline.error),
    }


def lag(stored: JSON | None) -> JSON:
    """A lag as answers show it; null before anything was measured."""
    known = {name: value for name, value in (stored or {}).items() if name != "heads"}
    return {"events": None, "seconds": None, "bytes": None, **known}


def certificate(pipeline: Pipeline, tables: list[TableState], verified: list[JSON]) -> JSON:
    """The handoff certificate, sealed."""
    generation = str((pipeline.generation or {}).get("id", ""))
    by_table = {str(v.get("table")): v.get("verification") for v in verified}
    facts = {
        "name": pipeline.name,
        "id": pipeline.id,
        "mode": pipeline.spec.mode,
        "source": pipeline.spec.source,
        "target": pipeline.spec.target,
        "generation": generation,
        "versions": {"headrace": __version__},
        "created_at": pipeline.created_at.isoformat(),
    }
    rows = [
        CertifiedTable(
            source=t.source,
            target=t.target,
            state=t.state,
            generation=generation,
            rows_loaded=t.rows_loaded,
            cut=Cut(**t.cut) if t.cut else None,
            loaded_at=t.cut["taken_at"] if t.cut else None,
            verification=by_table.get(str(t.source)),
        )
        for t in tables
    ]
    issued = datetime.now(UTC).isoformat(timespec="seconds")
    return {"name": pipeline.name, **build_certificate(facts, rows, issued_at=issued)}


def table(state: TableState) -> JSON:
    """One table of a status."""
    return {
        "name": str(state.source),
        "state": state.state,
        "rows_loaded": state.rows_loaded,
        "rows_total": state.rows_total if state.rows_total >= 0 else None,
        "cut": state.cut,
        "error": short_error(state.error),
    }


def short_error(error: JSON | None) -> JSON | None:
    """Code, message and guidance of a stored error."""
    return {name: error.get(name, "") for name in ("code", "message", "guidance")} if error else None


def pipeline(stored: Pipeline) -> JSON:
    """A pipeline with its spec."""
    return {
        "id": stored.id,
        "name": stored.name,
        "status": stored.status,
        "phase": stored.phase,
        "mode": stored.spec.mode,
        "source": stored.spec.source,
        "target": stored.spec.target,
        "user_id": stored.user_id,
        "desired": stored.desired,
        "spec": spec(stored.spec),
        "spec_version": stored.spec_version,
        "applied_version": stored.applied_version,
        "generation": stored.generation,
        "error": short_error(stored.error),
        "created_at": _at(stored.created_at),
        "updated_at": _at(stored.updated_at),
    }


def listed(row: Sequence[Any]) -> JSON:
    """The same of a row of ``store.pipelines.LISTED``; what is JSON already stays as it is, for orjson to write."""
    data = dict(zip(LISTED, row, strict=True))
    text = data["spec"]
    data["spec"] = orjson.Fragment(text) if PLAIN_SPEC in text else _spec_shown(json.loads(text))
    if data["generation"]:
        data["generation"] = orjson.Fragment(data["generation"])
    if data["error"]:
        data["error"] = short_error(json.loads(data["error"]))
    return data


def detail(
    stored: Pipeline,
    tables: list[TableState],
    source_database: str,
    target_database: str,
    connector: dict[str, str] | None,
) -> JSON:
    """A pipeline with its spec and what the older words call its parts. connector: its settings, secrets hidden."""
    own = stored.generation or {}
    loads, streams = stored.spec.mode != "cdc_only", stored.spec.mode != "full_load_only"
    positions = [t.cut["position"] for t in tables if t.cut and "position" in t.cut]
    every = stored.spec.apply.every
    return {
        **pipeline(stored),
        "source_connection_id": stored.source_id,
        "target_connection_id": stored.target_id,
        "source_database": source_database,
        "source_schemas": sorted({t.source.schema for t in tables}),
        "source_tables": [str(t.source) for t in tables],
        "target_database": target_database,
        "target_schemas": sorted({t.target.schema for t in tables}),
        "target_tables": [str(t.target) for t in tables],
        "frequency_minutes": every / 60 if every else None,
        "enable_full_load": loads,
        "full_load_status": _load_status(tables) if loads else "none",
        "full_load_lsn": _lsn(min(positions)) if positions else None,
        "cdc_status": _stream_status(stored) if streams else "none",
        "debezium_connector_name": own.get("connector"),
        "sink_connector_name": None,
        "kafka_topics": [capture.topic(own["prefix"], t.source) for t in tables] if own else [],
        "debezium_config": connector,
        "sink_config": None,
        "auto_create_target": stored.spec.create_target,
        "target_table_mapping": {str(t.source): str(t.target) for t in tables},
    }


def _load_status(tables: list[TableState]) -> str:
    states = {t.state for t in tables}
    if states & {"loading", "indexing"}:
        return "running"
    return "completed" if tables and "pending" not in states else "pending"


def _stream_status(stored: Pipeline) -> str:
    if stored.status in ("paused", "stopped", "error"):
        return stored.status
    return "running" if stored.status == "running" and stored.generation else "pending"


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def spec(wanted: PipelineSpec) -> JSON:
    """A pipeline spec as plain data, secrets among its connector's settings masked."""
    return _spec_shown(wanted.model_dump(mode="json"))


def _spec_shown(data: JSON) -> JSON:
    return {**data, "connector": hidden(data.get("connector") or {})}


def connection(stored: Connection) -> JSON:
    """A connection, secrets masked, references shown."""
    return {
        "id": stored.id,
        "name": stored.name,
        **masked(stored.spec, stored.references),
        "last_tested_at": _at(stored.last_tested_at),
        "last_test_status": stored.last_test_status,
        "version": stored.version,
        "connection_type": stored.kind,
        "is_active": True,
        "created_at": _at(stored.created_at),
        "updated_at": _at(stored.updated_at),
    }


def connection_test(test: ConnectionTest) -> JSON:
    """One past test."""
    return {
        "id": test.id,
        "connection_id": test.connection_id,
        "test_status": test.test_status,
        "response_time_ms": test.response_time_ms,
        "error_message": test.error_message,
        "tested_at": _at(test.tested_at),
    }


def request(asked: Request) -> JSON:
    """A request and how it stands."""
    return {
        "id": asked.id,
        "pipeline": asked.pipeline,
        "kind": asked.kind,
        "args": asked.args,
        "status": asked.status,
        "result": asked.result,
        "error": asked.error,
        "created_at": _at(asked.created_at),
        "finished_at": _at(asked.finished_at),
    }


def log_line(line: LogLine) -> JSON:
    """One line of a log."""
    return {
        "id": line.id,
        "ts": _at(line.ts),
        "level": line.level,
        "component": line.component,
        "message": line.message,
        "context": line.context,
        "request_id": line.request_id,
    }


def audit(entry: Audit) -> JSON:
    """One change."""
    values = (
        entry.id,
        _at(entry.ts),
        entry.entity_type,
        entry.entity_id,
        entry.action,
        entry.user,
        entry.user_name,
        entry.address,
        entry.request_id,
        entry.old,
        entry.new,
    )
    return dict(zip(AUDIT_FIELDS, values, strict=True))


def dead_letter(letter: DeadLetter) -> JSON:
    """One event that the target refused."""
    return {
        "id": letter.id,
        "pipeline_id": letter.pipeline_id,
        "table": str(letter.source),
        "topic": letter.topic,
        "offset": letter.offset,
        "key": letter.key,
        "cause": letter.cause,
        "message": letter.message,
        "event": letter.event,
        "status": letter.status,
        "created_at": _at(letter.created_at),
        "updated_at": _at(letter.updated_at),
    }


def _at(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
