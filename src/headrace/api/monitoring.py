"""Watching: figures, logs and runs of pipelines; the installation, Kafka, Connect; Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from headrace.api.answers import ErrorAnswer, LagAnswer, Phase, Status, StatusOrPhase
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, EndTime, Limit, Offset, StartTime, paged
from headrace.api.scope import Use as Cases
from headrace.control.monitoring import Monitoring, aware

router = APIRouter(tags=["monitoring"], route_class=Guarded)
TEXT = "text/plain; version=1.0.0; charset=utf-8"


class Sample(BaseModel):
    """Figures of a pipeline at a time. Counts are of the time since the sample before."""

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


class Metrics(BaseModel):
    """Samples, the oldest first. resolution_seconds: between them."""

    resolution_seconds: int | None
    items: list[Sample]


class LagPoint(BaseModel):
    """A lag at a time."""

    timestamp: datetime
    seconds: float | None
    events: int | None
    bytes: int | None


class LagOverTime(BaseModel):
    """The lag now and over the last hour."""

    name: str
    now: LagAnswer
    items: list[LagPoint]


class Rate(BaseModel):
    """Events a second at a time."""

    timestamp: datetime
    events_per_sec: float | None


class Throughput(BaseModel):
    """Events a second over a window."""

    window: Literal["1h", "24h", "7d"]
    average_events_per_sec: float | None
    peak_events_per_sec: float | None
    events: int
    bytes: int
    items: list[Rate]


class RunAnswer(BaseModel):
    """A load or another run."""

    id: str
    pipeline_id: str
    run_type: str
    status: Literal["running", "completed", "failed", "cancelled"]
    started_at: datetime
    completed_at: datetime | None
    rows_processed: int
    errors_count: int
    error_message: str | None
    run_metadata: dict[str, Any]


class PipelineConnector(BaseModel):
    """A connector of a pipeline as last seen."""

    id: int
    pipeline_id: str
    name: str
    type: Literal["source", "sink"]
    connector_class: str
    config: dict[str, str]
    status: Literal["running", "paused", "stopped", "failed"]
    tasks_max: int
    created_at: datetime
    updated_at: datetime


class PipelineConnectors(BaseModel):
    """The connectors of a pipeline."""

    items: list[PipelineConnector]


class LogAnswer(BaseModel):
    """A line of a pipeline's log. request_id: of the call that led to it."""

    id: int
    ts: datetime
    level: Literal["debug", "info", "warning", "error"]
    component: str
    message: str
    context: dict[str, Any]
    request_id: str | None


class Logs(BaseModel):
    """Lines, oldest first."""

    items: list[LogAnswer]


class PipelineFigures(BaseModel):
    """A pipeline in figures. errors: since the sample before. tables: how many in each state."""

    name: str
    status: Status
    phase: Phase | None
    lag: LagAnswer
    events_per_sec: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    errors: int
    connector: str | None
    tables: dict[str, int]
    error: ErrorAnswer | None


class Lags(BaseModel):
    """The lag of every pipeline, the worst first, and the sums."""

    pipelines: int
    events: int
    bytes: int
    worst_seconds: float | None
    items: list[PipelineFigures]


class System(BaseModel):
    """This process and its machine. Percentiles are upper bounds over the life of the process."""

    cpu_percent: float
    cpu_count: int
    memory_total_bytes: int
    memory_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    process_memory_bytes: int
    process_threads: int
    process_open_files: int
    uptime_seconds: float
    requests: dict[str, int]
    request_p50_ms: float | None
    request_p95_ms: float | None
    request_p99_ms: float | None
    live_clients: int
    metadata_pool: dict[str, int]


class Broker(BaseModel):
    """A broker."""

    id: int
    host: str
    port: int


class KafkaHealth(BaseModel):
    """What Kafka says of itself."""

    status: Literal["ok"]
    cluster_id: str | None
    controller: int
    brokers: list[Broker]
    topics: int


class ConnectHealth(BaseModel):
    """What Kafka Connect says of itself."""

    status: Literal["ok"]
    version: str | None
    kafka_cluster_id: str | None
    plugins: int
    connectors: int


async def _monitoring(request: Request) -> Monitoring:
    return cast(Monitoring, request.app.state.monitoring)


Use = Annotated[Monitoring, Depends(_monitoring)]


@router.get("/pipelines/{id}/metrics", response_model=Metrics)
def metrics(
    use: Use,
    id: str,
    start_time: StartTime = None,
    end_time: EndTime = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 1100,
) -> Response:
    """Samples of the last hour, or of a window; the longer it is, the coarser they are."""
    # Already in its form: validating a thousand samples would cost more than reading them.
    found = use.metrics(id, start_time, end_time, limit)
    return Response(orjson.dumps(found), media_type="application/json")


@router.get("/pipelines/{id}/lag", response_model=LagOverTime)
def lag(use: Use, id: str) -> JSON:
    """How far the target is behind, now and over the last hour."""
    return use.lag(id)


@router.get("/pipelines/{id}/throughput", response_model=Throughput)
def throughput(use: Use, id: str, window: Literal["1h", "24h", "7d"] = "1h") -> JSON:
    """Events a second over a window."""
    return use.throughput(id, window)


@router.get("/pipelines/{id}/runs", response_model=Page[RunAnswer])
def runs(use: Use, id: str, limit: Limit = 50, offset: Offset = 0) -> JSON:
    """Loads and other runs, the newest first."""
    items, total = use.runs(id, limit, offset)
    return paged(items, total, limit, offset)


@router.get("/pipelines/{id}/connectors", response_model=PipelineConnectors)
def connectors(use: Use, id: str) -> JSON:
    """The connectors of a pipeline as last seen, secrets as references."""
    return {"items": use.connectors(id)}


@router.get("/pipelines/{id}/logs", response_model=Logs)
def logs(
    use: Cases,
    id: str,
    level: Literal["debug", "info", "warning", "error"] | None = None,
    limit: Limit = 200,
    start_time: StartTime = None,
    component: Annotated[str | None, Query(max_length=64, description="e.g. control, apply, connect")] = None,
    request_id: Annotated[str | None, Query(max_length=64, description="What a call led to")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="Older than the line of this id")] = None,
) -> JSON:
    """The newest lines of at least that level, oldest first."""
    return {"items": use.logs(id, level, limit, aware(start_time), component, request_id, before)}


@router.get("/monitoring/pipelines", response_model=Page[PipelineFigures])
def pipelines(
    use: Use,
    status: Annotated[StatusOrPhase | None, Query(description="Status or phase")] = None,
    q: Annotated[str | None, Query(max_length=63, description="Part of the name")] = None,
    sort: Literal["name", "-name", "lag", "-lag"] = "name",
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Every pipeline in figures."""
    items, total = use.pipelines(status, q, sort, limit, offset)
    return paged(items, total, limit, offset)


@router.get("/monitoring/lag", response_model=Lags)
def lags(use: Use, limit: Limit = 100) -> JSON:
    """The lag of all pipelines, the worst first."""
    return use.lags(limit)


@router.get("/monitoring/metrics", response_model=System)
def system(use: Use) -> JSON:
    """This process and its machine."""
    return use.system()


@router.get("/health/kafka", tags=["health"], response_model=KafkaHealth)
def kafka(use: Use) -> JSON:
    """What Kafka says of itself; 503 when it does not answer."""
    return use.kafka()


@router.get("/health/connect", tags=["health"], response_model=ConnectHealth)
def connect(use: Use) -> JSON:
    """What Kafka Connect says of itself; 503 when it does not answer."""
    return use.connect()


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def prometheus(use: Use) -> Response:
    """All figures for Prometheus; the path `/metrics` answers the same."""
    return Response(use.prometheus(), media_type=TEXT)
