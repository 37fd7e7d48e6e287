"""Kafka Connect: any connector's whole life, and the plugins it can run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from headrace.api.etags import IfMatch, etag, require
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, page
from headrace.control.connectors import Connectors
from headrace.spec.models import Model, Setting, Text

router = APIRouter(tags=["connectors"], route_class=Guarded)
Config = dict[Text, Setting]
Name = Annotated[str, InPath(min_length=1, max_length=500)]
Force = Annotated[bool, Query(description="Also one that belongs to a pipeline")]
Sort = Literal["name", "-name", "type", "-type", "state", "-state"]
_CONNECTS = "The same by Kafka Connect's own name, which counts first"
_EXAMPLE = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "db1.internal",
    "database.user": "debezium",
    "database.password": "${file:/run/secrets/db:password}",
    "database.dbname": "shop",
    "topic.prefix": "shop",
}


class NewConnector(Model):
    """A connector to make. Secrets in its configuration are put where Connect reads them, and not into Connect."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    config: Config = Field(min_length=1, examples=[_EXAMPLE])
    initial_state: Literal["RUNNING", "PAUSED", "STOPPED"] = "RUNNING"


class OffsetEntry(Model):
    """An offset of a source partition; offset null: forget it."""

    partition: dict[str, Any]
    offset: dict[str, Any] | None


class OffsetsBody(Model):
    """Offsets to set."""

    offsets: tuple[OffsetEntry, ...] = Field(min_length=1, max_length=1000)


class DebeziumBody(Model):
    """A connector's configuration to validate; ``connector.class`` says the plugin."""

    config: Config = Field(min_length=1, examples=[_EXAMPLE])


class StateAnswer(BaseModel):
    """State of a connector. trace: why it failed."""

    state: str
    worker_id: str | None
    trace: str | None


class TaskAnswer(StateAnswer):
    """State of a task."""

    id: int


class TaskWithConfig(TaskAnswer):
    """A task with its configuration, secrets masked."""

    config: dict[str, str]


class StatusAnswer(BaseModel):
    """States of a connector and its tasks."""

    name: str
    connector: StateAnswer
    tasks: list[TaskAnswer]
    type: Literal["source", "sink", "unknown"]


class ConnectorAnswer(StatusAnswer):
    """A connector. pipeline: the Headrace pipeline it belongs to."""

    connector_class: str
    pipeline: str | None


class ConnectorDetail(ConnectorAnswer):
    """A connector with its configuration, secrets masked."""

    config: dict[str, str]


class TaskList(BaseModel):
    """Tasks of a connector."""

    items: list[TaskWithConfig]


class OffsetAnswer(BaseModel):
    """An offset of a partition."""

    partition: dict[str, Any]
    offset: dict[str, Any] | None


class OffsetsAnswer(BaseModel):
    """Offsets of a connector."""

    offsets: list[OffsetAnswer]


class PluginAnswer(BaseModel):
    """A plugin."""

    class_: str = Field(alias="class")
    type: str
    version: str | None


class SettingAnswer(BaseModel):
    """A setting of a plugin, what was given for it, and what is wrong with that."""

    name: str
    type: str | None
    required: bool
    default_value: str | None
    documentation: str
    group: str | None
    value: str | None
    recommended_values: list[Any]
    errors: list[str]
    visible: bool


class ValidationAnswer(BaseModel):
    """What Connect says of a configuration. errors: setting -> what is wrong."""

    name: str
    error_count: int
    errors: dict[str, list[str]]
    configs: list[SettingAnswer]


async def _connectors(request: Request) -> Connectors:
    return cast(Connectors, request.app.state.connectors)


Use = Annotated[Connectors, Depends(_connectors)]


@router.get("/connectors", response_model=Page[ConnectorAnswer])
def listed(
    use: Use,
    type: Literal["source", "sink"] | None = None,
    state: Annotated[
        str | None, Query(max_length=20, description="e.g. RUNNING, FAILED (tasks count)")
    ] = None,
    q: Annotated[str | None, Query(max_length=200, description="Part of the name")] = None,
    sort: Sort = "name",
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """All connectors of the Connect cluster."""
    found = [
        c
        for c in use.listed()
        if type in (None, c["type"])
        and (state is None or state.upper() in {c["connector"]["state"], *(t["state"] for t in c["tasks"])})
        and (q is None or q.lower() in c["name"].lower())
    ]
    key = sort.removeprefix("-")
    found.sort(key=lambda c: c["connector"]["state"] if key == "state" else c[key], reverse=sort[0] == "-")
    return page(found, limit, offset)


@router.post("/connectors", status_code=201, response_model=ConnectorDetail)
def create(use: Use, body: NewConnector, response: Response) -> JSON:
    """Make a connector."""
    return _tagged(response, use.create(body.name, body.config, body.initial_state))


@router.get("/connectors/{name}", response_model=ConnectorDetail)
def get(use: Use, name: Name, response: Response) -> JSON:
    """One connector with its configuration, secrets masked."""
    return _tagged(response, use.one(name))


@router.put("/connectors/{name}/config", response_model=ConnectorDetail)
def configure(
    use: Use,
    name: Name,
    body: Config,
    response: Response,
    force: Force = False,
    if_match: IfMatch = None,
) -> JSON:
    """Replace its configuration (or make it); a secret sent as an answer shows it stays: for the same server."""
    return _tagged(response, use.configure(name, body, force, _known(use, name, if_match)))


@router.delete("/connectors/{name}", status_code=204)
def delete(use: Use, name: Name, force: Force = False, if_match: IfMatch = None) -> Response:
    """Delete it; its offsets stay in Kafka until a connector of that name resets them."""
    use.delete(name, force, _known(use, name, if_match))
    return Response(status_code=204)


@router.put("/connectors/{name}/pause", status_code=202, response_model=ConnectorDetail)
def pause(use: Use, name: Name, force: Force = False) -> JSON:
    """Its tasks rest and stay assigned."""
    return use.pause(name, force)


@router.put("/connectors/{name}/resume", status_code=202, response_model=ConnectorDetail)
def resume(use: Use, name: Name) -> JSON:
    """Run again, paused or stopped."""
    return use.resume(name)


@router.put("/connectors/{name}/stop", status_code=202, response_model=ConnectorDetail)
def stop(use: Use, name: Name, force: Force = False) -> JSON:
    """Its tasks end; configuration and offsets stay."""
    return use.stop(name, force)


@router.post("/connectors/{name}/restart", status_code=202, response_model=StatusAnswer)
def restart(
    use: Use,
    name: Name,
    include_tasks: Annotated[bool, Query(description="Its tasks too")] = True,
    only_failed: Annotated[bool, Query(description="Only what has failed")] = False,
    connects_tasks: Annotated[bool | None, Query(alias="includeTasks", description=_CONNECTS)] = None,
    connects_failed: Annotated[bool | None, Query(alias="onlyFailed", description=_CONNECTS)] = None,
) -> JSON:
    """Restart it."""
    return use.restart(
        name,
        include_tasks if connects_tasks is None else connects_tasks,
        only_failed if connects_failed is None else connects_failed,
    )


@router.get("/connectors/{name}/status", response_model=StatusAnswer)
def status(use: Use, name: Name) -> JSON:
    """States of the connector and its tasks."""
    return use.status(name)


@router.get("/connectors/{name}/tasks", response_model=TaskList)
def tasks(use: Use, name: Name) -> JSON:
    """Its tasks with their configurations."""
    return {"items": use.tasks(name)}


@router.post("/connectors/{name}/tasks/{task}/restart", status_code=202, response_model=StatusAnswer)
def restart_task(use: Use, name: Name, task: Annotated[int, InPath(ge=0, le=10_000)]) -> JSON:
    """Restart one task."""
    return use.restart_task(name, task)


@router.get("/connectors/{name}/offsets", response_model=OffsetsAnswer)
def offsets(use: Use, name: Name) -> JSON:
    """Its offsets: of a source in its partitions, of a sink in its topics."""
    return {"offsets": use.offsets(name)}


@router.patch("/connectors/{name}/offsets", response_model=OffsetsAnswer)
def alter_offsets(use: Use, name: Name, body: OffsetsBody, force: Force = False) -> JSON:
    """Set offsets of a stopped connector."""
    return {"offsets": use.alter_offsets(name, [o.model_dump() for o in body.offsets], force)}


@router.delete("/connectors/{name}/offsets", status_code=204)
def reset_offsets(use: Use, name: Name, force: Force = False) -> Response:
    """Forget the offsets of a stopped connector."""
    use.reset_offsets(name, force)
    return Response(status_code=204)


@router.get("/connector-plugins", response_model=Page[PluginAnswer])
def plugins(use: Use, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """What this Connect cluster can run."""
    return page(use.plugins(), limit, offset)


@router.put("/connector-plugins/{name}/config/validate", response_model=ValidationAnswer)
def validate(use: Use, name: Name, body: Config) -> JSON:
    """Validate a configuration against a plugin: every setting, every error."""
    return use.validate(name, body)


@router.post("/validate/debezium", response_model=ValidationAnswer)
def validate_debezium(use: Use, body: DebeziumBody) -> JSON:
    """Validate a Debezium (or any other) connector's configuration; Connect tries the database itself."""
    plugin = body.config.get("connector.class", "io.debezium.connector.postgresql.PostgresConnector")
    return use.validate(plugin, body.config)


def _known(use: Connectors, name: str, if_match: str | None) -> str | None:
    """The version that the caller has read and that is there; None where they do not care."""
    if if_match is None:
        return None
    known = use.version(name)
    require(if_match, etag("connector", name, known))
    return known


def _tagged(response: Response, connector: JSON) -> JSON:
    response.headers["etag"] = etag("connector", connector["name"], connector["version"])
    return connector
