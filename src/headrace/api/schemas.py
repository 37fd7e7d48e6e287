"""What is behind connections: discovery, schemas, previews; and validation of a database before there is a pipeline."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from headrace.api.answers import FindingAnswer
from headrace.api.bodies import resolved
from headrace.api.guarded import Guarded
from headrace.api.scope import JSON
from headrace.control.browsing import Browsing
from headrace.errors import Finding
from headrace.spec.models import ConnectionSpec, Mode, Model, TablePattern
from headrace.store import Store

router = APIRouter(tags=["schemas"], route_class=Guarded)
Refresh = Annotated[bool, Query(description="Ask the database, not what was found in the last ten minutes")]
Named = Annotated[str, Query(min_length=1, max_length=255, description="Name or id of a connection")]
Database = Annotated[
    str | None, Query(min_length=1, max_length=255, description="Another database of the server")
]
SchemaName = Annotated[str | None, Query(min_length=1, max_length=255)]

TableParameter = Annotated[
    str,
    Query(min_length=1, max_length=600, description="schema.table, or a name alone; quoted as in SQL or not"),
]
TableSchema = Annotated[
    str | None,
    Query(
        min_length=1, max_length=255, description="Of a name alone; else the connection's own, else `public`"
    ),
]


class Place(Model):
    """A stored connection by name or id, or a whole one."""

    connection: str | ConnectionSpec = Field(examples=["shop"])

    def spec(self, store: Store) -> ConnectionSpec:
        """The connection; NotFound, Invalid ``unresolved_secret``."""
        if isinstance(self.connection, str):
            return store.connection(self.connection).spec
        return resolved(self.connection)


class DiscoverBody(Place):
    """Where to look. refresh: a stored connection is asked anew."""

    refresh: bool = False


class ValidateBody(Place):
    """What to validate. tables: names and patterns, all when left out."""

    tables: tuple[TablePattern, ...] = ()
    mode: Mode = "full_load_and_cdc"

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        # A connection alone may be the whole body.
        return {"connection": data} if isinstance(data, dict) and "engine" in data else data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Either form."""
        told = handler(schema)
        _, whole = handler.resolve_ref_schema(told)["properties"]["connection"]["anyOf"]
        return {"anyOf": [told, whole]}


class ColumnAnswer(BaseModel):
    """A column. carriage: how its values travel in the stream (``event``, ``reread``)."""

    name: str
    type: str
    nullable: bool
    generated: bool
    carriage: str


class TableAnswer(BaseModel):
    """A table; rows and bytes are estimates, null when unknown."""

    name: str
    schema_: str = Field(alias="schema")
    table: str
    rows: int | None
    bytes: int | None
    key: list[str]
    replica_identity: str
    partitioned: bool


class DiscoveredTable(BaseModel):
    """A table with its columns; rows and bytes are estimates, null when unknown."""

    name: str
    rows: int | None
    bytes: int | None
    key: list[str]
    replica_identity: str
    partitioned: bool
    columns: list[ColumnAnswer]


class SchemaAnswer(BaseModel):
    """A schema and how many tables it has."""

    name: str
    tables: int


class _Found(BaseModel):
    """fetched_at: when the database was asked."""

    connection: str
    fetched_at: datetime


class Databases(_Found):
    """Databases that the connection's user may connect to."""

    items: list[str]


class Schemas(_Found):
    """Schemas."""

    items: list[SchemaAnswer]


class Tables(_Found):
    """Tables."""

    items: list[TableAnswer]


class Columns(_Found):
    """Columns of one table."""

    items: list[ColumnAnswer]


class Discovered(BaseModel):
    """Everything behind a connection."""

    items: list[DiscoveredTable]


class PreviewColumn(BaseModel):
    """A column of a preview; masked: a pipeline masks it, and so does the preview."""

    name: str
    type: str
    masked: bool


class Preview(BaseModel):
    """The first rows of a table as text; null is NULL."""

    table: str
    columns: list[PreviewColumn]
    rows: list[list[str | None]]


class Validated(BaseModel):
    """Every finding; ok when none of them is an error."""

    ok: bool
    findings: list[FindingAnswer]


async def _browsing(request: Request) -> Browsing:
    return cast(Browsing, request.app.state.browsing)


async def _store(request: Request) -> Store:
    return cast(Store, request.app.state.store)


Use = Annotated[Browsing, Depends(_browsing)]
Kept = Annotated[Store, Depends(_store)]


@router.post("/discovery/discover", response_model=Discovered)
def discover(use: Use, store: Kept, body: DiscoverBody) -> JSON:
    """All tables with columns, keys and estimates behind a stored or a whole connection."""
    return {"items": use.discover(body.spec(store))}


@router.get("/discovery/schemas", response_model=Schemas)
def discovered_schemas(
    use: Use, connection: Named, database: Database = None, refresh: Refresh = False
) -> JSON:
    """Schemas behind a connection."""
    return use.schemas(connection, database, refresh)


@router.get("/discovery/tables", response_model=Tables)
def discovered_tables(
    use: Use,
    connection: Named,
    database: Database = None,
    schema: SchemaName = None,
    refresh: Refresh = False,
) -> JSON:
    """Tables behind a connection."""
    return use.tables(connection, database, schema, refresh)


@router.get("/schemas/{connection_id}/databases", response_model=Databases)
def databases(use: Use, connection_id: str, refresh: Refresh = False) -> JSON:
    """Databases of the connection's server."""
    return use.databases(connection_id, refresh)


@router.get("/schemas/{connection_id}/tables", response_model=Tables)
def tables(
    use: Use,
    connection_id: str,
    database: Database = None,
    schema: SchemaName = None,
    refresh: Refresh = False,
) -> JSON:
    """Tables with keys and estimates."""
    return use.tables(connection_id, database, schema, refresh)


@router.get("/schemas/{connection_id}/columns", response_model=Columns)
def columns(
    use: Use,
    connection_id: str,
    table: TableParameter,
    schema: TableSchema = None,
    database: Database = None,
    refresh: Refresh = False,
) -> JSON:
    """Columns of a table."""
    return use.columns(connection_id, table, schema, database, refresh)


@router.get("/schemas/{connection_id}/preview", response_model=Preview)
def preview(
    use: Use,
    connection_id: str,
    table: TableParameter,
    schema: TableSchema = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    database: Database = None,
) -> JSON:
    """The first rows of a table; columns that a pipeline masks are masked here too."""
    return use.preview(connection_id, table, limit, database, schema)


@router.post("/validate/source", response_model=Validated)
def validate_source(use: Use, store: Kept, body: ValidateBody) -> JSON:
    """Every finding about a database as a source."""
    return _validated(use.validate_source(body.spec(store), body.tables, body.mode))


@router.post("/validate/destination", response_model=Validated)
def validate_destination(use: Use, store: Kept, body: ValidateBody) -> JSON:
    """Every finding about a database as a target: of its tables what can be told without a source."""
    return _validated(use.validate_target(body.spec(store), body.tables, body.mode))


def _validated(found: list[Finding]) -> JSON:
    return {
        "ok": not any(f.severity == "error" for f in found),
        "findings": [f.as_dict() for f in found],
    }
