"""Headrace, by its command line and its API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from bench.ground import Ends, Ground, Wrong, until
from headrace.local.postgres import PostgresServer

NAME = "headrace"


class Pipeline:
    """One pipeline of one table, with every setting at its default."""

    def __init__(self, ground: Ground, ends: Ends, table: str) -> None:
        self._ground = ground
        self.name = ends.target
        self._http = httpx.Client(
            base_url=f"{ground.url}/api/v1",
            headers={"Authorization": f"Bearer {ground.token}"},
            timeout=60,
            trust_env=False,
        )
        body = {
            "connections": {
                f"{self.name}-source": _connection(ground.source, ends.source),
                f"{self.name}-target": _connection(ground.target, ends.target),
            },
            "pipelines": {
                self.name: {
                    "source": f"{self.name}-source",
                    "target": f"{self.name}-target",
                    "tables": [f"public.{table}"],
                }
            },
        }
        self._spec = ground.stack.settings.data / f"{self.name}.yaml"
        self._spec.write_text(json.dumps(body), encoding="utf-8")

    def apply(self) -> None:
        """``headrace apply``."""
        self._ground.headrace("apply", "-f", str(self._spec))

    def status(self) -> dict[str, Any]:
        """State of the pipeline; Wrong when it is in error."""
        answer = self._http.get(f"/pipelines/{self.name}/status")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        if found["status"] == "error":
            raise Wrong(f"headrace: {found['error']}")
        return found

    def reaches(self, wanted: str) -> None:
        """Wait for a status or a phase."""
        until(lambda: wanted in ((found := self.status())["status"], found["phase"]), 600, wanted)

    def stop(self) -> None:
        """``headrace stop``, and wait until it is."""
        self._ground.headrace("stop", self.name)
        self.reaches("stopped")

    def start(self) -> None:
        """``headrace start``."""
        self._ground.headrace("start", self.name)

    def remove(self) -> None:
        """``headrace delete``."""
        self._ground.headrace("delete", self.name)
        self._http.close()
        self._spec.unlink()


@contextmanager
def pipeline(ground: Ground, ends: Ends, table: str) -> Iterator[Pipeline]:
    """A pipeline that is not applied yet; deleted afterwards."""
    made = Pipeline(ground, ends, table)
    yield made
    # Not after a failure: what there is to see would be gone, and the whole ground is taken down anyway.
    made.remove()


def _connection(server: PostgresServer, database: str) -> dict[str, Any]:
    return {
        "engine": "postgres",
        "host": "127.0.0.1",
        "port": server.port,
        "database": database,
        "user": "postgres",
        "password": server.password,
        "tls": "disable",
    }
