"""Kafka's topics, messages in them, and the schema registry."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, page
from headrace.capture.messages import Wanted
from headrace.control.topics import TopicCases

router = APIRouter(tags=["topics"], route_class=Guarded)
TopicName = Annotated[str, InPath(min_length=1, max_length=249)]
Subject = Annotated[str, InPath(min_length=1, max_length=500)]


class TopicAnswer(BaseModel):
    """A topic in short. internal: Kafka's own."""

    name: str
    partitions: int
    replication: int
    internal: bool


class PartitionAnswer(BaseModel):
    """A partition. begin: the first offset that is kept. end: the next to come (committed)."""

    partition: int
    leader: int
    replicas: list[int]
    in_sync: list[int]
    begin: int
    end: int


class TopicDetail(BaseModel):
    """A topic. messages: at most so many (markers of transactions count). settings: those that are not the default."""

    name: str
    partitions: list[PartitionAnswer]
    messages: int
    settings: dict[str, str]


class GroupAnswer(BaseModel):
    """A consumer group. lag: records that it has not read of the partitions it has read from."""

    group: str
    state: str
    members: int
    lag: int


class ValueAnswer(BaseModel):
    """A key or value.

    format: what it was; binary is shown in hexadecimal digits. schema_id: of the schema registry, where the value
    names one. reason: why it is not decoded by that schema, or not shown.
    """

    format: Literal["json", "avro", "text", "binary", "null", "too_large"]
    data: Any
    bytes: int
    schema_id: int | None
    reason: str | None


class HeaderAnswer(BaseModel):
    """A header."""

    name: str
    value: str | None


class MessageAnswer(BaseModel):
    """A message. timestamp: milliseconds since the epoch."""

    partition: int
    offset: int
    timestamp: int | None
    key: ValueAnswer
    value: ValueAnswer
    headers: list[HeaderAnswer]


class Messages(BaseModel):
    """Messages, the newest first unless an offset was given."""

    items: list[MessageAnswer]


class SchemaVersion(BaseModel):
    """A version of a subject."""

    subject: str
    id: int
    version: int
    type: str
    schema_: str = Field(alias="schema")


async def _topics(request: Request) -> TopicCases:
    return cast(TopicCases, request.app.state.topics)


Use = Annotated[TopicCases, Depends(_topics)]


@router.get("/monitoring/consumer-groups", tags=["monitoring"], response_model=Page[GroupAnswer])
def groups(
    use: Use,
    q: Annotated[str | None, Query(max_length=249, description="Part of the name")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Kafka's consumer groups, those of sink connectors among them."""
    found = [g for g in use.groups() if not q or q.lower() in g["group"].lower()]
    return page(found, limit, offset)


@router.get("/topics", response_model=Page[TopicAnswer])
def listed(
    use: Use,
    q: Annotated[str | None, Query(max_length=249, description="Part of the name")] = None,
    internal: Annotated[bool, Query(description="Kafka's own, too")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Topics, by name."""
    found = [
        t
        for t in use.topics()
        if (internal or not t["internal"]) and (q is None or q.lower() in t["name"].lower())
    ]
    return page(found, limit, offset)


@router.get("/topics/{name}", response_model=TopicDetail)
def get(use: Use, name: TopicName) -> JSON:
    """One topic with its partitions."""
    return use.topic(name)


@router.get("/topics/{name}/messages", response_model=Messages)
def messages(
    use: Use,
    name: TopicName,
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
    offset: Annotated[
        int | None, Query(ge=0, le=2**62, description="From here on; the newest without")
    ] = None,
    partition: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    key: Annotated[str | None, Query(max_length=4000, description="Only of this key, as text")] = None,
) -> JSON:
    """Messages: the newest, from an offset on, or of a key (looked for in the newest 200,000)."""
    return {"items": use.messages(name, Wanted(limit, partition, offset, key))}


@router.get("/schema-registry/subjects", response_model=Page[str])
def subjects(
    use: Use,
    q: Annotated[str | None, Query(max_length=500, description="Part of the name")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Subjects of the schema registry, by name."""
    return page([s for s in use.subjects() if q is None or q.lower() in s.lower()], limit, offset)


@router.get("/schema-registry/subjects/{subject}/versions", response_model=Page[int])
def versions(use: Use, subject: Subject, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """Versions of a subject, the oldest first."""
    return page(use.versions(subject), limit, offset)


@router.get("/schema-registry/subjects/{subject}/versions/{version}", response_model=SchemaVersion)
def schema(
    use: Use, subject: Subject, version: Annotated[str, InPath(pattern=r"^(latest|[0-9]{1,9})$")]
) -> JSON:
    """One version of a subject with its schema."""
    return use.schema(subject, version)
