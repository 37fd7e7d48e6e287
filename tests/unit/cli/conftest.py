"""One server process and one PostgreSQL server for all tests of the command line; no Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from cli_tools import ADMIN_PASSWORD, PASSWORD, Cli

from headrace.local.postgres import PostgresServer
from headrace.settings import Settings
from headrace.store import Store


@pytest.fixture(scope="session")
def database() -> Iterator[PostgresServer]:
    with PostgresServer(version="18", fsync=False) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            conn.execute(f"CREATE ROLE owner SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
            conn.execute("CREATE DATABASE shop")
            conn.execute("CREATE DATABASE warehouse")
        with psycopg.connect(server.conninfo_of("shop"), autocommit=True) as conn:
            conn.execute("CREATE TABLE users (id int PRIMARY KEY, email text)")
            conn.execute('CREATE TABLE "Odd Table" (id int PRIMARY KEY)')
        yield server


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    data, home = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("home")
    outside = {
        "XDG_STATE_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "HEADRACE_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "HEADRACE_RATE_LOGIN": "1000",
        "HEADRACE_KAFKA": "127.0.0.1:1",
        "HEADRACE_CONNECT": "http://127.0.0.1:1",
    }
    words = [sys.executable, "-m", "headrace", "server", "--port", "0", "--json", "--data", str(data)]
    with subprocess.Popen(words, env={**os.environ, **outside}, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert "".join(server.stdout.readline() for _ in range(2)).strip()
        store = Store(Settings(data))
        yield Cli(data, store, outside)
        store.close()
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    assert not (data / "server.json").exists()


@pytest.fixture(scope="session")
def spec_text(database: PostgresServer) -> Callable[..., str]:
    """Text of a spec with pipelines of the given names, against the real server."""

    def text(*names: str, lines: str = "", port: int = database.port) -> str:
        login = (
            f"engine: postgres, host: 127.0.0.1, port: {port}, user: owner, password: '${{env:PG_PASSWORD}}'"
        )
        body = "".join(f"  {n}:\n    source: shop\n    target: warehouse\n{lines}" for n in names)
        return (
            "connections:\n"
            f"  shop: {{{login}, database: shop}}\n"
            f"  warehouse: {{{login}, database: warehouse}}\n"
            f"pipelines:\n{body}"
        )

    return text


@pytest.fixture
def name(_numbers: Iterator[int]) -> str:
    """A pipeline name that no other test uses."""
    return f"pipe-{next(_numbers)}"


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def applied(
    cli: Cli, database: PostgresServer, spec_text: Callable[..., str], name: str, tmp_path: Path
) -> str:
    """The name of a pipeline that was applied and not started."""
    file = tmp_path / "spec.yaml"
    file.write_text(spec_text(name))
    answer = cli("apply", "-f", str(file), "--no-start", "--json", PG_PASSWORD=PASSWORD)
    assert answer.code == 0, answer
    assert json.loads(answer.out)["pipelines"][0]["result"] == "created"
    return name
