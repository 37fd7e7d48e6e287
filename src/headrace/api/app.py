"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI

from headrace.api import connections, page, pipelines, problems, system
from headrace.api.guard import LOOPBACK, Hosts, token_check
from headrace.api.token import ensure_token
from headrace.control.cases import Cases
from headrace.settings import Settings
from headrace.store import Store


def create_app(settings: Settings, host: str = "127.0.0.1") -> FastAPI:
    """The server's application; opens (and migrates) the store. host: what the server is bound to."""
    store = Store(settings)
    token = ensure_token(settings.token_file)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(
        title="Headrace",
        version="1",
        summary="Change data capture that a team can trust",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.cases = Cases(settings, store)
    problems.install(app)
    app.add_middleware(Hosts, allowed=LOOPBACK if host in LOOPBACK else None)
    for prefix in ("/api/v1", "/api"):
        app.include_router(_rooms(token), prefix=prefix, include_in_schema=prefix == "/api/v1")
    app.include_router(page.router)
    return app


def _rooms(token: str) -> APIRouter:
    guarded = APIRouter(dependencies=[Depends(token_check(token))])
    for room in (system, connections, pipelines):
        guarded.include_router(room.router)
    rooms = APIRouter()
    rooms.include_router(system.open_router)
    rooms.include_router(guarded)
    return rooms
