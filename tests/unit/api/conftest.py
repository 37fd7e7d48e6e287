"""A real server on a free port, with its store beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_server import Running

from headrace.api import serving
from headrace.api.app import create_app
from headrace.settings import Settings, Web
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.store import Store


@pytest.fixture
def metadata_url(request: pytest.FixtureRequest) -> str:
    """Of the server's metadata: SQLite, unless a file asks for ``postgresql`` as well (BOTH)."""
    kind = getattr(request, "param", "sqlite")
    return "" if kind == "sqlite" else str(request.getfixturevalue("fresh_url")())


@pytest.fixture
def web() -> Web:
    """How the server serves; modules say otherwise."""
    return Web()


@pytest.fixture
def connect() -> str:
    """Where Kafka Connect would be; nobody answers there."""
    return "http://127.0.0.1:1"


@pytest.fixture
def kafka() -> str:
    """Where Kafka would be; nobody answers there."""
    return "127.0.0.1:1"


@pytest.fixture
def running(tmp_path: Path, metadata_url: str, web: Web, connect: str, kafka: str) -> Iterator[Running]:
    settings = Settings(tmp_path, kafka=kafka, connect=connect, database_url=metadata_url, web=web)
    server = serving.Server(serving.config(create_app(settings), settings, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    store = Store(settings)

    def stop() -> None:
        server.should_exit = True

    url, token = f"http://127.0.0.1:{port}", settings.token_file.read_text().strip()
    yield Running(url, token, store, stop, thread.is_alive)
    store.close()
    server.should_exit = True
    thread.join()


@pytest.fixture
def api(running: Running) -> Iterator[httpx.Client]:
    """A client with the token, at the API's base."""
    headers = {"authorization": f"Bearer {running.token}"}
    with httpx.Client(base_url=f"{running.url}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def pipeline(running: Running) -> PipelineSpec:
    """The spec of a stored, stopped pipeline ``p`` from ``a`` to ``b``; nobody answers at either."""
    for name in ("a", "b"):
        connection = {"engine": "postgres", "host": "127.0.0.1", "port": 1, "database": name, "user": "u"}
        running.store.put_connection(
            name, ConnectionSpec.model_validate({**connection, "password": "hunter2"})
        )
    spec = PipelineSpec(source="a", target="b")
    running.store.put_pipeline("p", spec)
    return spec
