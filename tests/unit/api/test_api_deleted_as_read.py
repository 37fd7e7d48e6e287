"""DELETE with If-Match takes away what was read, and nothing that was changed after the tag was looked at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import people
import psycopg
import pytest

from headrace.spec.models import PipelineSpec
from headrace.store.users import _ADMINS_LOCK

pytestmark = pytest.mark.parametrize("metadata_url", ["postgresql"], indirect=True)
CONNECTOR = {"connector.class": "x.Y", "tasks.max": "1"}


class Connect(ThreadingHTTPServer):
    """One connector ``c``, whose configuration changes as soon as it was read once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.changes, self.read, self.deleted = False, 0, False


class _Answers(BaseHTTPRequestHandler):
    server: Connect

    def do_GET(self) -> None:
        config = {**CONNECTOR, "tasks.max": str(self.server.read)}
        if self.path == "/connectors/c/config":
            self.server.read += self.server.changes
            self._say(200, config)
        elif self.path == "/connectors/c":
            self._say(200, {"name": "c", "config": config, "type": "source", "tasks": []})
        else:
            self._say(404, {})

    def do_DELETE(self) -> None:
        self.server.deleted = True
        self._say(204)

    def _say(self, status: int, body: Any = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def kafka_connect() -> Iterator[Connect]:
    with Connect() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def connect(kafka_connect: Connect) -> str:
    return f"http://127.0.0.1:{kafka_connect.server_port}"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("pipelines/p", "UPDATE pipelines SET spec_version = spec_version + 1"),
        ("pipelines/started", "UPDATE pipelines SET spec_version = spec_version + 1"),
        ("connections/c", "UPDATE connections SET version = version + 1"),
        ("alerts/rules/lag", "UPDATE alert_rules SET version = version + 1"),
        ("users/ann@example.org", "UPDATE users SET version = version + 1 WHERE email LIKE 'ann%'"),
    ],
)
def test_what_changes_meanwhile_stays(
    api: httpx.Client, running: Any, pipeline: PipelineSpec, metadata_url: str, path: str, change: str
) -> None:
    running.store.put_pipeline("started", pipeline)
    running.store.set_desired("started", "running", status="running")
    running.store.put_connection("c", running.store.connection("a").spec)
    api.post("alerts/rules", json={"name": "lag", "metric": "lag_seconds"})
    people.add(api, "ann")
    headers = {"if-match": api.get(path).headers["etag"]}
    with ThreadPoolExecutor(1) as pool, psycopg.connect(metadata_url) as conn:
        # Users are changed under this lock.
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (_ADMINS_LOCK,))
        conn.execute(change)
        deleted = pool.submit(api.delete, path, headers=headers)
        # The tag was looked at while the change is not there yet; now it waits for the row.
        _until_one_waits(metadata_url)
        conn.commit()
        answer = deleted.result()
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    fresh = api.get(path)
    assert fresh.status_code == 200
    assert fresh.json().get("desired") != "deleted"
    assert [a for a in running.store.audits()[0] if "delete" in a.action] == []
    assert api.delete(path, headers={"if-match": fresh.headers["etag"]}).status_code in (202, 204)


def test_a_connector_that_changes_meanwhile_stays(api: httpx.Client, kafka_connect: Connect) -> None:
    tag = api.get("connectors/c").headers["etag"]
    assert api.delete("connectors/c", headers={"if-match": '"another"'}).status_code == 412
    kafka_connect.changes = True
    answer = api.delete("connectors/c", headers={"if-match": tag})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    assert not kafka_connect.deleted
    kafka_connect.changes = False
    fresh = api.get("connectors/c").headers["etag"]
    assert api.delete("connectors/c", headers={"if-match": fresh}).status_code == 204
    assert kafka_connect.deleted


def _until_one_waits(url: str) -> None:
    until = time.monotonic() + 20
    with psycopg.connect(url, autocommit=True) as conn:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while conn.execute(waiting).fetchone() is None:
            assert time.monotonic() < until, "the call does not wait"
            time.sleep(0.02)
