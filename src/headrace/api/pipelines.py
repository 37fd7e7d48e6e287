"""Pipelines: their specs, their life, what is going on in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import JSONResponse

from headrace.api.answered import PipelineChange
from headrace.api.answers import (
    PipelineAnswer,
    PipelineDetail,
    PipelineStatus,
    PlanAnswer,
    RequestAnswer,
    StatusOrPhase,
    SummaryAnswer,
    TableWithTarget,
)
from headrace.api.bodies import NewPipeline, VerifyBody, resolved
from headrace.api.etags import IfMatch, etag, require
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, Use, paged
from headrace.errors import Conflict, Invalid, NotFound
from headrace.spec.patterns import parse_table

router = APIRouter(tags=["pipelines"], route_class=Guarded)
Sort = Literal[
    "name", "-name", "status", "-status", "created_at", "-created_at", "updated_at", "-updated_at"
]  # fmt: skip


@router.get("/pipelines", response_model=Page[PipelineAnswer])
def listed(
    use: Use,
    status: Annotated[StatusOrPhase | None, Query(description="Status or phase")] = None,
    q: Annotated[str | None, Query(max_length=63, description="Part of the name")] = None,
    sort: Sort = "name",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """All pipelines."""
    items, total = use.pipelines(status, q, sort, limit, offset)
    # Already in its form: validating a hundred specs again would cost more than reading them.
    body = orjson.dumps(paged(items, total, limit, offset))
    return Response(body, media_type="application/json")


@router.post("/pipelines", status_code=201, response_model=PipelineDetail)
def create(use: Use, body: NewPipeline, response: Response) -> JSON:
    """Create a pipeline from stored connections or inline ones, and start it when told to."""
    try:
        use.pipeline(body.name)
    except NotFound:
        inline = {name: resolved(connection) for name, connection in body.inline.items()}
        return _tagged(response, use.put_pipeline(body.name, body.spec(), body.start, inline))
    raise Conflict("exists_already", f"There is a pipeline {body.name} already", "Change it with PUT.")


@router.get("/pipelines/{id}", response_model=PipelineDetail)
def get(use: Use, id: str, response: Response) -> JSON:
    """One pipeline by name or id, with its spec."""
    return _tagged(response, use.pipeline(id))


@router.put("/pipelines/{id}", response_model=PipelineDetail)
def put(use: Use, id: str, body: PipelineChange, response: Response, if_match: IfMatch = None) -> JSON:
    """Change a pipeline's spec."""
    before = use.pipeline(id)
    require(if_match, _tag(before))
    body.require_same(before)
    expected = None if if_match is None else int(before["spec_version"])
    return _tagged(response, use.put_pipeline(before["name"], body.spec(), body.start, expected=expected))


@router.delete("/pipelines/{id}", status_code=202, response_model=SummaryAnswer)
def delete(use: Use, id: str, drop_target: bool = False, if_match: IfMatch = None) -> JSON:
    """Take it down: slot, publication, connector, topics, progress; it is gone when GET answers 404."""
    before = use.pipeline(id)
    require(if_match, _tag(before))
    expected = None if if_match is None else int(before["spec_version"])
    return use.delete(before["name"], drop_target, expected)


@router.post("/pipelines/{id}/plan", response_model=PlanAnswer)
def plan(use: Use, id: str) -> JSON:
    """What starting it would bring about."""
    return use.plan_of(id)


@router.post("/pipelines/{id}/start", status_code=202, response_model=SummaryAnswer)
def start(use: Use, id: str) -> JSON:
    """Want it running."""
    return use.start(id)


@router.post("/pipelines/{id}/stop", status_code=202, response_model=SummaryAnswer)
def stop(use: Use, id: str) -> JSON:
    """Want it stopped; its slot stays and holds back WAL."""
    return use.stop(id)


@router.post("/pipelines/{id}/pause", status_code=202, response_model=SummaryAnswer)
def pause(use: Use, id: str) -> JSON:
    """Want applying to rest; capture goes on."""
    return use.pause(id)


@router.post("/pipelines/{id}/resume", status_code=202, response_model=SummaryAnswer)
def resume(use: Use, id: str) -> JSON:
    """Want a paused one running again."""
    return use.resume(id)


@router.get("/pipelines/{id}/status", response_model=PipelineStatus)
def status(use: Use, id: str) -> JSON:
    """State, phase, lag, tables, error."""
    return use.pipeline_status(id)


@router.get("/pipelines/{id}/tables", response_model=Page[TableWithTarget])
def tables(use: Use, id: str, limit: Limit = 1000, offset: Offset = 0) -> JSON:
    """Per-table state."""
    items, total = use.tables(id, limit, offset)
    return paged(items, total, limit, offset)


@router.get("/pipelines/{id}/certificate", response_model=dict[str, Any])
def certificate(use: Use, id: str) -> JSONResponse:
    """The handoff certificate: per table the cut, counts and checksums."""
    name = f'attachment; filename="{use.pipeline(id)["name"]}-certificate.json"'
    return JSONResponse(use.certificate(id), headers={"content-disposition": name})


@router.post("/pipelines/{id}/verify", status_code=202, response_model=RequestAnswer)
def verify(use: Use, id: str, body: Annotated[VerifyBody | None, Body()] = None) -> JSON:
    """Ask for a comparison; follow it at ``requests/{id}``."""
    wanted = body or VerifyBody()
    return use.verify(id, wanted.table, wanted.repair)


@router.post("/pipelines/{id}/tables/{table:path}/resync", status_code=202, response_model=RequestAnswer)
def resync(use: Use, id: str, table: str) -> JSON:
    """Ask for the exact reload of one table; follow it at ``requests/{id}``."""
    return use.resync(id, table)


@router.post("/pipelines/{id}/tables/{table:path}/verify", status_code=202, response_model=RequestAnswer)
def verify_table(use: Use, id: str, table: str, body: Annotated[VerifyBody | None, Body()] = None) -> JSON:
    """Ask for a comparison of one table; follow it at ``requests/{id}``."""
    wanted = body or VerifyBody()
    if wanted.table is not None and parse_table(wanted.table) != parse_table(table):
        raise Invalid(
            "two_tables",
            f"The path names {table}, the body {wanted.table}",
            "Leave `table` out of the body, or POST it to pipelines/{id}/verify.",
        )
    return use.verify(id, table, wanted.repair)


def _tag(pipeline: JSON) -> str:
    return etag("pipeline", pipeline["id"], pipeline["spec_version"])


def _tagged(response: Response, pipeline: JSON) -> JSON:
    response.headers["etag"] = _tag(pipeline)
    return pipeline
