"""Connections and what they lead to."""

from __future__ import annotations

from fastapi import APIRouter, Response

from headrace.api.bodies import ConnectionBody, NewConnection
from headrace.api.guarded import Guarded
from headrace.api.scope import JSON, Limit, Offset, Use, page

router = APIRouter(tags=["connections"], route_class=Guarded)


@router.get("/connections")
def listed(use: Use, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """All connections, secrets masked."""
    return page(use.connections(), limit, offset)


@router.post("/connections", status_code=201)
def create(use: Use, body: NewConnection) -> JSON:
    """Store a new connection."""
    return use.add_connection(body.name, body.spec(), body.references)


@router.get("/connections/{id}")
def get(use: Use, id: str) -> JSON:
    """One connection by name or id, secrets masked."""
    return use.connection(id)


@router.put("/connections/{id}")
def put(use: Use, id: str, body: ConnectionBody) -> JSON:
    """Change a connection."""
    return use.put_connection(use.connection(id)["name"], body.spec(), body.references)


@router.delete("/connections/{id}", status_code=204)
def delete(use: Use, id: str) -> Response:
    """Forget a connection that no pipeline uses."""
    use.delete_connection(id)
    return Response(status_code=204)


@router.post("/connections/{id}/test")
def log_in(use: Use, id: str) -> JSON:
    """Log in and say what is there."""
    return use.test_connection(id)


@router.get("/connections/{id}/tests")
def past_tests(use: Use, id: str, limit: Limit = 50, offset: Offset = 0) -> JSON:
    """Past tests, newest first."""
    return page(use.connection_tests(id), limit, offset)


@router.get("/connections/{id}/tables")
def tables(use: Use, id: str) -> JSON:
    """The tables behind a connection, with columns, keys and estimates."""
    return use.discover(id)
