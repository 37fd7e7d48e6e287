"""Dead letters of a pipeline: events that the target refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, Use, paged
from headrace.spec.models import Model

router = APIRouter(tags=["dead letters"], route_class=Guarded)


class DeadLetter(BaseModel):
    """An event that the target refused. key, event: as they came from Kafka."""

    id: str
    pipeline_id: str
    table: str
    topic: str
    offset: int
    key: Any
    cause: str
    message: str
    event: Any
    status: Literal["waiting", "replayed", "discarded"]
    created_at: datetime
    updated_at: datetime


class Settle(Model):
    """What is to become of which letters."""

    action: Literal["replay", "discard"]
    ids: tuple[str, ...] = Field(min_length=1, max_length=1000)


class Settled(BaseModel):
    """How many were settled."""

    settled: int


@router.get("/pipelines/{id}/dead-letters", response_model=Page[DeadLetter])
def listed(
    use: Use,
    id: str,
    status: Literal["waiting", "replayed", "discarded"] | None = None,
    table: Annotated[str | None, Query(description="schema.table of the source")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Dead letters in the order they came."""
    items, total = use.dead_letters(id, status, table, limit, offset)
    return paged(items, total, limit, offset)


@router.post("/pipelines/{id}/dead-letters", response_model=Settled)
def settle(use: Use, id: str, body: Settle) -> JSON:
    """Discard dead letters, all or none; replaying them is not supported yet (412)."""
    return use.settle_dead_letters(id, body.action, body.ids)
