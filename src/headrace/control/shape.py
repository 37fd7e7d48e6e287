"""The shape of a route: changes whenever what is carried of a table changes, by the spec or on the source."""

from __future__ import annotations

import hashlib

from headrace.engines.model import Route


def shape_of(route: Route) -> str:
    """A short digest of target, filter, columns, masks, key and the source's signature."""
    parts = [
        str(route.target),
        route.where or "",
        *(f"{m.source.name}/{m.target}/{m.mask}" for m in route.columns),
        route.source.signature,
        *route.key,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
