"""What endpoints get handed: the use cases, and paging."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request

from headrace.control.cases import Cases

JSON = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many items")]
StartTime = Annotated[datetime | None, Query(description="Since then; UTC unless it has a zone")]
EndTime = Annotated[datetime | None, Query(description="Before then; UTC unless it has a zone")]
Offset = Annotated[int, Query(ge=0, le=2**53, description="Skip so many items")]


async def _cases(request: Request) -> Cases:
    return cast(Cases, request.app.state.cases)


Use = Annotated[Cases, Depends(_cases)]


def page(items: Sequence[Any], limit: int, offset: int) -> JSON:
    """``{"items", "total", "limit", "offset"}``."""
    return paged(list(items[offset : offset + limit]), len(items), limit, offset)


def paged(items: list[Any], total: int, limit: int, offset: int) -> JSON:
    """The same, of items that are a page already."""
    return {"items": items, "total": total, "limit": limit, "offset": offset}
