"""What the answers about connections, pipelines and the installation look like."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from headrace.spec.models import Mode

LivingStatus = Literal["draft", "starting", "running", "idle", "paused", "stopping", "stopped", "error"]
Status = Literal[LivingStatus, "deleted"]
Phase = Literal["seeding", "catching_up", "incremental"]
StatusOrPhase = Literal[LivingStatus, Phase]


class ErrorAnswer(BaseModel):
    """What is wrong. code: stable. guidance: the next step."""

    code: str
    message: str
    guidance: str


class FailureAnswer(ErrorAnswer):
    """kind: of the error, from which the command line makes its exit code."""

    kind: str


class ConnectionAnswer(BaseModel):
    """A stored connection; its password is masked, or shown as the reference that it came from."""

    id: str
    name: str
    engine: str
    connection_type: Literal["source", "target", "both"]
    host: str
    port: int
    database: str
    user: str
    password: str
    tls: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    additional_config: dict[str, str] = Field(default_factory=dict)
    is_active: bool
    version: int
    last_tested_at: datetime | None
    last_test_status: Literal["ok", "failed"] | None
    created_at: datetime
    updated_at: datetime


class ConnectionTestAnswer(BaseModel):
    """A past test."""

    id: int
    connection_id: str
    test_status: Literal["ok", "failed"]
    response_time_ms: float
    error_message: str | None
    tested_at: datetime


class TestedAnswer(BaseModel):
    """A login, and what was found or why it failed. response_time_ms: until then."""

    name: str
    ok: bool
    version: str | None
    response_time_ms: float
    error: FailureAnswer | None


class SummaryAnswer(BaseModel):
    """A pipeline in short."""

    name: str
    status: Status
    phase: Phase | None


class PipelineAnswer(SummaryAnswer):
    """A stored pipeline. desired: what it is wanted to do. applied_version: the spec version that was brought about."""

    id: str
    mode: Mode
    source: str
    target: str
    user_id: str | None
    desired: Literal["running", "paused", "stopped", "deleted"]
    spec: dict[str, Any]
    spec_version: int
    applied_version: int
    generation: dict[str, Any] | None
    error: ErrorAnswer | None
    created_at: datetime
    updated_at: datetime


class PipelineDetail(PipelineAnswer):
    """A pipeline with what the older words call its parts."""

    source_connection_id: str
    target_connection_id: str
    source_database: str
    source_schemas: list[str]
    source_tables: list[str] = Field(description="Those that the spec's patterns led to")
    target_database: str
    target_schemas: list[str]
    target_tables: list[str]
    frequency_minutes: float | None
    enable_full_load: bool
    full_load_status: Literal["pending", "running", "completed", "none"]
    full_load_lsn: str | None = Field(description="The earliest cut of its tables")
    cdc_status: Literal["none", "pending", "running", "paused", "stopped", "error"]
    debezium_connector_name: str | None
    sink_connector_name: str | None
    kafka_topics: list[str]
    debezium_config: dict[str, str] | None = Field(
        description="As last seen in Kafka Connect, secrets hidden"
    )
    sink_config: dict[str, str] | None = Field(description="null: Headrace itself writes to the target")
    auto_create_target: bool
    target_table_mapping: dict[str, str]


class TableStatus(BaseModel):
    """One table of a pipeline. rows_total: an estimate, null when unknown. cut: the join of load and stream."""

    name: str
    state: Literal["pending", "loading", "indexing", "catching_up", "live", "paused", "error"]
    rows_loaded: int
    rows_total: int | None
    cut: dict[str, Any] | None
    error: ErrorAnswer | None


class TableWithTarget(TableStatus):
    """One table and where it goes."""

    target: str


class LagAnswer(BaseModel):
    """How far the target is behind; null before anything was measured. bytes: WAL that the slot holds back."""

    model_config = {"extra": "allow"}

    events: int | None
    seconds: float | None
    bytes: int | None


class PipelineStatus(SummaryAnswer):
    """State, phase, lag, tables, error."""

    lag: LagAnswer
    tables: list[TableStatus]
    error: ErrorAnswer | None


class RequestAnswer(BaseModel):
    """Something asked of the worker, and how it stands."""

    id: str
    pipeline: str
    kind: str
    args: dict[str, Any]
    status: Literal["queued", "running", "done", "failed"]
    result: Any
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


class ComponentAnswer(BaseModel):
    """A part of the installation."""

    name: Literal["kafka", "connect", "server", "worker"]
    pid: int | None
    state: str
    url: str | None


class StatusAnswer(BaseModel):
    """Components and pipelines. ready: every component runs."""

    ready: bool
    components: list[ComponentAnswer]
    pipelines: list[SummaryAnswer]


class PartAnswer(BaseModel):
    """A part of the installation, as strangers see it."""

    name: Literal["kafka", "connect", "server", "worker"]
    state: str


class ReadyAnswer(BaseModel):
    """Every component runs."""

    ready: Literal[True]
    components: list[PartAnswer]


class HealthAnswer(BaseModel):
    """Every component and its state."""

    status: Literal["ok", "degraded"]
    components: list[ComponentAnswer]


class LiveAnswer(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class FindingAnswer(BaseModel):
    """One finding. severity error: a pipeline cannot start. fix: SQL (or a command) that mends it."""

    code: str
    severity: Literal["error", "warning", "info"]
    side: str
    message: str
    guidance: str
    fix: str | None
    subject: str | None


class CheckedPipeline(BaseModel):
    """Every finding about one pipeline."""

    name: str
    findings: list[FindingAnswer]


class CheckAnswer(BaseModel):
    """Preflight of a whole spec; ok when nothing blocks."""

    ok: bool
    pipelines: list[CheckedPipeline]


class PlannedTable(BaseModel):
    """What becomes of a table. reread: columns that are read again from the source. rows, bytes: estimates."""

    source: str
    target: str
    key: list[str]
    columns: int
    masked: list[str]
    reread: list[str]
    where: str | None
    rows: int | None
    bytes: int | None


class PlanAnswer(BaseModel):
    """What starting a pipeline would bring about."""

    name: str
    result: Literal["created", "updated", "unchanged"]
    starts: bool
    tables: list[PlannedTable]
    ddl: list[str]
    estimate: dict[str, Any]
    findings: list[FindingAnswer]


class PlansAnswer(BaseModel):
    """What applying a spec would bring about."""

    pipelines: list[PlanAnswer]


class AppliedConnection(BaseModel):
    """What became of a connection."""

    name: str
    result: Literal["created", "updated", "unchanged"]


class AppliedPipeline(AppliedConnection):
    """What became of a pipeline."""

    status: Status
    started: bool
    findings: list[FindingAnswer]


class AppliedAnswer(BaseModel):
    """What applying a spec brought about."""

    connections: list[AppliedConnection]
    pipelines: list[AppliedPipeline]
