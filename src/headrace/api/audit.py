"""Who changed what, to look through and to take away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, EndTime, Limit, Offset, StartTime, Use, paged
from headrace.control import forms
from headrace.control.monitoring import window
from headrace.store.audits import AuditFilter

router = APIRouter(tags=["audit"], route_class=Guarded)


class AuditEntry(BaseModel):
    """A change. user_id, user_name: who made it, null for the program itself. Secrets are masked in both values."""

    id: int
    timestamp: datetime
    entity_type: str
    entity_id: str
    action: str
    user_id: str | None
    user_name: str | None
    address: str | None
    request_id: str | None
    old_values: dict[str, Any] | None
    new_values: dict[str, Any] | None


def _filter(
    entity_type: Annotated[str | None, Query(max_length=32, description="e.g. pipeline")] = None,
    entity_id: Annotated[str | None, Query(max_length=64)] = None,
    action: Annotated[str | None, Query(max_length=32)] = None,
    user: Annotated[str | None, Query(max_length=320, description="Id or name")] = None,
    start_time: StartTime = None,
    end_time: EndTime = None,
) -> AuditFilter:
    return AuditFilter(entity_type, entity_id, action, user, *window(start_time, end_time))


Which = Annotated[AuditFilter, Depends(_filter)]


@router.get("/audit", response_model=Page[AuditEntry])
def listed(use: Use, which: Which, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """Changes, the newest first."""
    items, total = use.audits(which, limit, offset)
    return paged(items, total, limit, offset)


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A file",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string", "description": "An AuditEntry a line"}},
                "text/csv": {"schema": {"type": "string", "description": "A head, then a change a line"}},
            },
        }
    },
)
def export(use: Use, which: Which, format: Literal["jsonl", "csv"] = "jsonl") -> StreamingResponse:
    """All changes that fit, the oldest first, as a file: JSON lines or CSV."""
    kinds = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
    rows = use.every_audit(which)
    name = f"headrace-audit-{datetime.now(UTC):%Y%m%d-%H%M%S}.{format}"
    return StreamingResponse(
        (orjson.dumps(row) + b"\n" for row in rows) if format == "jsonl" else _csv(rows),
        media_type=kinds[format],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _csv(rows: Iterator[JSON]) -> Iterator[str]:
    yield ",".join(forms.AUDIT_FIELDS) + "\r\n"
    for row in rows:
        yield ",".join(_cell(row[name]) for name in forms.AUDIT_FIELDS) + "\r\n"


def _cell(value: Any) -> str:
    text = "" if value is None else orjson.dumps(value).decode() if isinstance(value, dict) else str(value)
    # Spreadsheets run what begins like a formula.
    text = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return '"' + text.replace('"', '""') + '"'
