"""What the store hands out: plain, immutable values. Times are aware and in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.names import TableName

ConnectionKind = Literal["source", "target", "both"]
Desired = Literal["running", "paused", "stopped", "deleted"]


@dataclass(frozen=True, slots=True)
class Connection:
    """A stored connection. spec: decrypted. references: field -> ``${env:X}``, for display only.

    kind: ``source``, ``target`` or ``both``.
    """

    id: str
    name: str
    kind: ConnectionKind
    spec: ConnectionSpec
    references: dict[str, str]
    last_tested_at: datetime | None
    last_test_status: str | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A stored pipeline: what is wanted (spec, desired, flags) and what the worker last said of it.

    spec_version rises with every change of the spec; applied_version is the one the worker brought about
    (0: none). flags: e.g. ``{"drop_target": true}``. generation, lag, error: JSON of the worker, or None. user_id: who made
    it. source_id, target_id: its connections'. request_id: of the call that wished last.
    """

    id: str
    name: str
    spec: PipelineSpec
    spec_version: int
    applied_version: int
    desired: Desired
    flags: dict[str, Any]
    status: str
    phase: str | None
    error: dict[str, Any] | None
    generation: dict[str, Any] | None
    lag: dict[str, Any] | None
    user_id: str | None
    source_id: str
    target_id: str
    request_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TableState:
    """One table of a pipeline. state: pending, loading, indexing, catching_up, live, paused or error.

    rows_total: estimate, -1 unknown. cut, error: JSON or None. detail: whatever the worker keeps per table.
    """

    source: TableName
    target: TableName
    state: str = "pending"
    rows_loaded: int = 0
    rows_total: int = -1
    cut: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """Something a face asked of the worker. status: queued, running, done or failed."""

    id: str
    pipeline: str
    kind: str
    args: dict[str, Any]
    status: str
    result: Any
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a pipeline's log."""

    id: int
    ts: datetime
    level: str
    component: str
    message: str
    context: dict[str, Any]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log file is read. identity: of the file, whatever its name is by now. position: in bytes."""

    identity: str
    position: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run (load, resync, stream) of a pipeline."""

    id: str
    pipeline_id: str
    run_type: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    rows_processed: int
    errors_count: int
    error_message: str | None
    metadata: dict[str, Any]


class Metric(NamedTuple):
    """One sample of a pipeline's figures. resolution: seconds that it stands for; counts are of these seconds.

    A tuple, for they come by the thousand.
    """

    timestamp: datetime
    throughput_events_per_sec: float | None
    lag_seconds: float | None
    lag_events: int | None
    lag_bytes: int | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    error_count: int
    events_processed: int
    bytes_processed: int
    source_offset: str | None
    target_offset: str | None
    connector_status: dict[str, Any] | None
    resolution: int


@dataclass(frozen=True, slots=True)
class PipelineConnector:
    """A connector of a pipeline. config: with references for secrets."""

    id: int
    pipeline_id: str
    name: str
    type: str
    connector_class: str
    config: dict[str, str]
    status: str
    tasks_max: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """One past test of a connection."""

    id: int
    connection_id: str
    test_status: str
    response_time_ms: float
    error_message: str | None
    tested_at: datetime


@dataclass(frozen=True, slots=True)
class Audit:
    """One change somebody made; secrets are masked before they get here."""

    id: int
    ts: datetime
    entity_type: str
    entity_id: str
    action: str
    user: str | None
    user_name: str | None
    address: str | None
    request_id: str | None
    old: dict[str, Any] | None
    new: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row the target refused. status: waiting, replayed or discarded. event: the change, JSON."""

    id: str
    pipeline_id: str
    source: TableName
    topic: str
    offset: int
    key: Any
    cause: str
    message: str
    event: Any
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of a process. component: e.g. ``worker``."""

    component: str
    owner: str
    pid: int
    url: str | None
    seen_at: datetime
