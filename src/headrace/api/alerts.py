"""Alerts: rules, the channels they speak through, what they have said."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from headrace.api.etags import IfMatch, etag, require
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, page, paged
from headrace.control.alerts import AlertCases
from headrace.spec.alerts import ChannelSpec, RuleSpec

router = APIRouter(tags=["alerts"], route_class=Guarded)


class Rule(RuleSpec):
    """A stored rule."""

    id: str
    version: int
    created_at: datetime
    updated_at: datetime


class EmailAnswer(BaseModel):
    """A mail server and whom to write to; the password masked."""

    host: str
    port: int
    tls: str
    user: str
    password: str
    sender: str
    recipients: list[str]


class Channel(BaseModel):
    """A stored channel, secrets masked."""

    id: str
    name: str
    kind: Literal["email", "webhook", "slack", "in_app"]
    enabled: bool
    email: EmailAnswer | None
    url: str | None
    signing_key: str | None
    created_at: datetime
    updated_at: datetime


class AlertAnswer(BaseModel):
    """An alert that was raised. rule, pipeline: names, null when they are gone."""

    id: str
    rule_id: str | None
    pipeline_id: str | None
    rule: str | None
    pipeline: str | None
    status: Literal["firing", "acknowledged", "resolved"]
    message: str
    triggered_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    metadata: dict[str, Any]


class Sent(BaseModel):
    """A notice was sent."""

    name: str
    sent: bool


async def _cases(request: Request) -> AlertCases:
    return cast(AlertCases, request.app.state.alerts)


Use = Annotated[AlertCases, Depends(_cases)]


@router.get("/alerts/rules", response_model=Page[Rule])
def rules(use: Use, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """All rules, by name."""
    return page(use.rules(), limit, offset)


@router.post("/alerts/rules", status_code=201, response_model=Rule)
def add_rule(use: Use, body: RuleSpec, response: Response) -> JSON:
    """A new rule."""
    return _tagged(response, use.add_rule(body))


@router.get("/alerts/rules/{id}", response_model=Rule)
def rule(use: Use, id: str, response: Response) -> JSON:
    """One rule by name or id."""
    return _tagged(response, use.rule(id))


@router.put("/alerts/rules/{id}", response_model=Rule)
def put_rule(use: Use, id: str, body: RuleSpec, response: Response, if_match: IfMatch = None) -> JSON:
    """Change a rule."""
    before = use.rule(id)
    require(if_match, _tag(before))
    expected = None if if_match is None else int(before["version"])
    return _tagged(response, use.put_rule(id, body, expected))


@router.delete("/alerts/rules/{id}", status_code=204)
def delete_rule(use: Use, id: str, if_match: IfMatch = None) -> Response:
    """Forget a rule; its history stays."""
    before = use.rule(id)
    require(if_match, _tag(before))
    use.delete_rule(before["id"], None if if_match is None else int(before["version"]))
    return Response(status_code=204)


@router.get("/alerts/channels", response_model=Page[Channel])
def channels(use: Use, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """All channels, secrets masked."""
    return page(use.channels(), limit, offset)


@router.post("/alerts/channels", status_code=201, response_model=Channel)
def add_channel(use: Use, body: ChannelSpec) -> JSON:
    """A new channel."""
    return use.add_channel(body)


@router.get("/alerts/channels/{id}", response_model=Channel)
def channel(use: Use, id: str) -> JSON:
    """One channel by name or id, secrets masked."""
    return use.channel(id)


@router.put("/alerts/channels/{id}", response_model=Channel)
def put_channel(use: Use, id: str, body: ChannelSpec) -> JSON:
    """Change a channel; a secret sent as its mask stays what it was."""
    return use.put_channel(id, body)


@router.delete("/alerts/channels/{id}", status_code=204)
def delete_channel(use: Use, id: str) -> Response:
    """Forget a channel that no rule uses."""
    use.delete_channel(id)
    return Response(status_code=204)


@router.post("/alerts/channels/{id}/test", response_model=Sent)
def test_channel(use: Use, id: str) -> JSON:
    """Send a notice through it now."""
    return use.test_channel(id)


@router.get("/alerts/history", response_model=Page[AlertAnswer])
def history(
    use: Use,
    status: Literal["firing", "acknowledged", "resolved"] | None = None,
    rule: Annotated[str | None, Query(description="Name or id of a rule")] = None,
    pipeline: Annotated[str | None, Query(description="Name or id of a pipeline")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """What was raised, the newest first."""
    items, total = use.history(status, rule, pipeline, limit, offset)
    return paged(items, total, limit, offset)


@router.post("/alerts/history/{id}/acknowledge", response_model=AlertAnswer)
def acknowledge(use: Use, id: str) -> JSON:
    """Somebody has seen it."""
    return use.settle(id, "acknowledged")


@router.post("/alerts/history/{id}/resolve", response_model=AlertAnswer)
def resolve(use: Use, id: str) -> JSON:
    """It is over."""
    return use.settle(id, "resolved")


def _tag(rule: JSON) -> str:
    return etag("alert_rule", rule["id"], rule["version"])


def _tagged(response: Response, rule: JSON) -> JSON:
    response.headers["etag"] = _tag(rule)
    return rule
