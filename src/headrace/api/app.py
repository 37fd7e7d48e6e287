"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from headrace.alerts.reach import reach
from headrace.api import (
    alerts,
    audit,
    auth,
    connections,
    connectors,
    dead_letters,
    live,
    monitoring,
    openapi,
    page,
    pipelines,
    problems,
    schemas,
    system,
    topics,
    users,
)
from headrace.api.beating import beating
from headrace.api.bounded import Bounded
from headrace.api.guard import LOOPBACK, Aliases, Bugs, Hosts
from headrace.api.heads import Heads
from headrace.api.hub import Hub
from headrace.api.request_ids import RequestIds
from headrace.api.token import ensure_token
from headrace.auth.gate import Gate
from headrace.auth.signin import SignIn
from headrace.control.alerts import AlertCases
from headrace.control.browsing import Browsing
from headrace.control.cases import Cases
from headrace.control.components import Probes
from headrace.control.connectors import Connectors
from headrace.control.monitoring import Monitoring
from headrace.control.topics import TopicCases
from headrace.monitor.traffic import Traffic
from headrace.secrecy import known
from headrace.settings import Settings
from headrace.store import Store

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
# Routes are searched in this order: what is asked for all the time stands first.
ROOMS = (
    pipelines, monitoring, system, auth, users, connections, schemas, connectors, topics, dead_letters, live, alerts, audit,
)  # fmt: skip


def create_app(settings: Settings, host: str = "127.0.0.1") -> FastAPI:
    """The server's application; opens (and migrates) the store. host: what the server is bound to."""
    store = Store(settings)
    token = ensure_token(settings.token_file)
    known.learn(token, *store.secret_keys)
    reach.private = settings.web.webhook_private
    gate = Gate(settings, store, token)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        app.state.hub.start()
        async with beating(store):
            yield
            await app.state.hub.close()
        gate.refusals.flush()
        app.state.browsing.close()
        app.state.connectors.close()
        app.state.topics.close()
        app.state.monitoring.close()
        store.close()

    app = bare_app(lifespan)
    app.state.settings = settings
    app.state.traffic = Traffic()
    app.state.gate = gate
    app.state.sign_in = SignIn(settings, gate.signer, gate.foreigners)
    app.state.store = store
    app.state.cases = Cases(settings, store)
    app.state.probes = Probes(settings)
    app.state.alerts = AlertCases(store)
    app.state.browsing = Browsing(store)
    app.state.connectors = Connectors(settings, store)
    app.state.topics = TopicCases(settings)
    app.state.hub = Hub(store, settings.web.live_each)
    app.state.monitoring = Monitoring(settings, store, app.state.traffic, lambda: app.state.hub.watching)
    _surround(app, settings, host)
    return app


def bare_app(lifespan: Lifespan | None = None) -> FastAPI:
    """All routes, without anything behind them: enough to tell what the API is."""
    app = FastAPI(
        title="Headrace",
        version="1",
        summary="Change data capture that a team can trust",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
    )
    problems.install(app)
    openapi.install(app)
    for room in ROOMS:
        app.include_router(room.router, prefix="/api/v1")
    page.install(app)
    return app


def _surround(app: FastAPI, settings: Settings, host: str) -> None:
    """What stands around every request; the last added is the first met."""
    web = settings.web
    app.add_middleware(Heads)
    app.add_middleware(Bounded, max_bytes=web.max_body_bytes, seconds=web.receive_seconds)
    app.add_middleware(Aliases)
    app.add_middleware(Bugs)
    if web.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[o.rstrip("/") for o in web.cors_origins],
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                "if-match",
                "idempotency-key",
                "x-csrf-token",
                "x-request-id",
            ],
            expose_headers=["etag", "x-request-id", "retry-after", "idempotency-replayed"],
        )
    known = {*LOOPBACK, *filter(None, [urlsplit(web.public_url).hostname])}
    https = web.public_url.lower().startswith("https:")
    app.add_middleware(Hosts, allowed=known if host in LOOPBACK else None, https=https)
    app.add_middleware(RequestIds, traffic=app.state.traffic)
