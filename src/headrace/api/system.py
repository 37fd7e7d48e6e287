"""Health, status, whole specs, requests."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from headrace.api.answers import (
    AppliedAnswer,
    CheckAnswer,
    HealthAnswer,
    LiveAnswer,
    PlansAnswer,
    ReadyAnswer,
    RequestAnswer,
    StatusAnswer,
)
from headrace.api.bodies import SpecBody, resolved
from headrace.api.guarded import Guarded
from headrace.api.scope import JSON, Use
from headrace.errors import Unavailable
from headrace.local import installation
from headrace.spec.load import spec_from
from headrace.spec.models import SpecFile
from headrace.spec.secrets import plain

router = APIRouter(route_class=Guarded)


@router.get("/health/live", tags=["health"], response_model=LiveAnswer)
async def live() -> JSON:
    """The process answers."""
    # Not in a thread: all of them may wait for a database.
    return {"status": "ok"}


@router.get("/health/ready", tags=["health"], response_model=ReadyAnswer)
async def ready(use: Use, request: Request) -> JSON:
    """200 when every component runs, else 503 naming those that do not. For probes, which have no login."""
    lives = await request.app.state.probes.lives()
    found = await run_in_threadpool(use.components, lives)
    parts = [{"name": c["name"], "state": c["state"]} for c in found]
    if down := [c["name"] for c in parts if c["state"] != "running"]:
        raise Unavailable(
            "not_ready", f"Not running: {', '.join(down)}", "See `headrace status`.", {"components": parts}
        )
    return {"ready": True, "components": parts}


@router.get("/health", tags=["health"], response_model=HealthAnswer)
async def health(use: Use, request: Request) -> JSON:
    """Every component and its state; always 200."""
    status = await _status(use, request)
    return {"status": "ok" if status["ready"] else "degraded", "components": status["components"]}


@router.get("/status", tags=["status"], response_model=StatusAnswer)
async def status(use: Use, request: Request) -> JSON:
    """Components and pipelines."""
    return await _status(use, request)


@router.post("/check", tags=["spec"], response_model=CheckAnswer)
def check(use: Use, body: SpecBody) -> JSON:
    """Preflight of a whole spec: every finding. ``ok`` when none blocks."""
    found = use.check(_spec(body))
    blocked = any(f.severity == "error" for findings in found.values() for f in findings)
    listed = [{"name": n, "findings": [f.as_dict() for f in findings]} for n, findings in found.items()]
    return {"ok": not blocked, "pipelines": listed}


@router.post("/plan", tags=["spec"], response_model=PlansAnswer)
def plan(use: Use, body: SpecBody) -> JSON:
    """What `apply` would bring about."""
    return use.plan(_spec(body))


@router.post("/apply", tags=["spec"], response_model=AppliedAnswer)
def apply(use: Use, body: SpecBody) -> JSON:
    """Bring a spec about: stored, and started unless told not to. Repeating it changes nothing."""
    return use.apply(_spec(body), body.start, body.references)


@router.get("/requests/{id}", tags=["requests"], response_model=RequestAnswer)
def request(use: Use, id: str) -> JSON:
    """How something asked of the worker stands."""
    return use.request(id)


def _spec(body: SpecBody) -> SpecFile:
    # The models are valid each; what holds between them is checked where the YAML is checked as well.
    data: dict[str, Any] = {
        "connections": {name: plain(resolved(c)) for name, c in body.connections.items()},
        "pipelines": {
            name: p.model_dump(mode="json", exclude_unset=True) for name, p in body.pipelines.items()
        },
    }
    return spec_from(data)


async def _status(use: Use, request: Request) -> JSON:
    lives = await request.app.state.probes.lives()

    def told() -> JSON:
        supervised = installation.status(request.app.state.settings.data)
        return use.status(lives, str(request.base_url).rstrip("/"), supervised)

    return await run_in_threadpool(told)
