"""The same tests on SQLite and on a real PostgreSQL server, each with an empty database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        return Settings(tmp_path)
    return Settings(tmp_path, database_url=request.getfixturevalue("fresh_url")("template0"))


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        return Settings(tmp_path)
    return Settings(tmp_path, database_url=request.getfixturevalue("fresh_url")())


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings)
    yield opened
    opened.close()


@pytest.fixture
def connection() -> ConnectionSpec:
    return ConnectionSpec.model_validate(
        {
            "engine": "postgres",
            "host": "db",
            "database": "shop",
            "user": "u",
            "password": "hunter2",
            "tls": "require",
        }
    )


@pytest.fixture
def pipeline(store: Store, connection: ConnectionSpec) -> PipelineSpec:
    """The spec of a stored pipeline ``p``."""
    for name in ("a", "b"):
        store.put_connection(name, connection.model_copy(update={"database": name}))
    spec = PipelineSpec(source="a", target="b")
    store.put_pipeline("p", spec)
    return spec
