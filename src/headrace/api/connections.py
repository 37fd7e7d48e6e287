"""Connections and what they lead to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, SecretStr

from headrace.api.answered import ConnectionChange
from headrace.api.answers import ConnectionAnswer, ConnectionTestAnswer, TestedAnswer
from headrace.api.bodies import NewConnection
from headrace.api.etags import IfMatch, etag, require
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.schemas import DiscoveredTable
from headrace.api.scope import JSON, Limit, Offset, Use, paged
from headrace.secrecy import MASK
from headrace.store.records import ConnectionKind

router = APIRouter(tags=["connections"], route_class=Guarded)
Sort = Literal["name", "-name", "host", "-host", "created_at", "-created_at", "updated_at", "-updated_at"]


class ConnectionTables(BaseModel):
    """The tables behind a connection."""

    name: str
    tables: list[DiscoveredTable]


@router.get("/connections", response_model=Page[ConnectionAnswer])
def listed(
    use: Use,
    q: Annotated[str | None, Query(max_length=200, description="Part of the name, host or database")] = None,
    engine: Annotated[str | None, Query(max_length=32)] = None,
    connection_type: Annotated[
        ConnectionKind | None, Query(description="Those that may be one; `both`: that may be either")
    ] = None,
    sort: Sort = "name",
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """All connections, secrets masked."""
    items, total = use.connections(q, engine, sort, limit, offset, connection_type)
    return paged(items, total, limit, offset)


@router.get("/connections/schema", response_model=dict[str, Any])
def schema() -> JSON:
    """The JSON schema of a connection, from which forms are drawn."""
    return NewConnection.model_json_schema()


@router.post("/connections", status_code=201, response_model=ConnectionAnswer)
def create(use: Use, body: NewConnection, response: Response) -> JSON:
    """Store a new connection."""
    made = use.add_connection(body.name, body.spec(), body.references, body.connection_type)
    return _tagged(response, made)


@router.get("/connections/{id}", response_model=ConnectionAnswer)
def get(use: Use, id: str, response: Response) -> JSON:
    """One connection by name or id, secrets masked."""
    return _tagged(response, use.connection(id))


@router.put("/connections/{id}", response_model=ConnectionAnswer)
def put(use: Use, id: str, body: ConnectionChange, response: Response, if_match: IfMatch = None) -> JSON:
    """Change a connection; a password that is left out, or sent as an answer shows it, stays: for the same server."""
    before = use.connection(id)
    require(if_match, _tag(before))
    body.require_same(before)
    if "password" not in body.model_fields_set:
        body = body.model_copy(update={"password": SecretStr(MASK)})
    expected = None if if_match is None else int(before["version"])
    spec = body.spec(before)
    changed = use.put_connection(before["name"], spec, body.references, expected, body.connection_type)
    return _tagged(response, changed)


@router.delete("/connections/{id}", status_code=204)
def delete(use: Use, id: str, if_match: IfMatch = None) -> Response:
    """Forget a connection that no pipeline uses."""
    before = use.connection(id)
    require(if_match, _tag(before))
    use.delete_connection(before["name"], None if if_match is None else int(before["version"]))
    return Response(status_code=204)


@router.post("/connections/{id}/test", response_model=TestedAnswer)
def log_in(use: Use, id: str) -> JSON:
    """Log in and say what is there."""
    return use.test_connection(id)


@router.get("/connections/{id}/tests", response_model=Page[ConnectionTestAnswer])
def past_tests(use: Use, id: str, limit: Limit = 50, offset: Offset = 0) -> JSON:
    """Past tests, newest first."""
    items, total = use.connection_tests(id, limit, offset)
    return paged(items, total, limit, offset)


@router.get("/connections/{id}/tables", response_model=ConnectionTables)
def tables(use: Use, id: str) -> JSON:
    """The tables behind a connection, with columns, keys and estimates."""
    return use.discover(id)


def _tag(connection: JSON) -> str:
    return etag("connection", connection["id"], connection["version"])


def _tagged(response: Response, connection: JSON) -> JSON:
    response.headers["etag"] = _tag(connection)
    return connection
