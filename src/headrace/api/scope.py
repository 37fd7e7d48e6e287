"""What endpoints get handed: the use cases, and paging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request

from headrace.control.cases import Cases

JSON = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many items")]
Offset = Annotated[int, Query(ge=0, description="Skip so many items")]


def _cases(request: Request) -> Cases:
    return cast(Cases, request.app.state.cases)


Use = Annotated[Cases, Depends(_cases)]


def page(items: Sequence[JSON], limit: int, offset: int) -> JSON:
    """``{"items", "total", "limit", "offset"}``."""
    return {
        "items": list(items[offset : offset + limit]),
        "total": len(items),
        "limit": limit,
        "offset": offset,
    }
