"""Running the command line against a real server, and standing in for the worker with the store it would hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.store import Store
from headrace.store.records import Request

PASSWORD = "hunter2"
ADMIN, ADMIN_PASSWORD = "admin@localhost", "correct horse battery"


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """data: folder of the installation. store: its metadata. env: further variables."""

    data: Path
    store: Store
    env: dict[str, str]

    def __call__(self, *words: str, stdin: str = "", **env: str) -> Answer:
        """Run one command."""
        surroundings = {"HEADRACE_DATA": str(self.data), "COLUMNS": "200", **self.env, **env}
        result = CliRunner().invoke(app, list(words), input=stdin, env=surroundings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    @property
    def url(self) -> str:
        """Address of the server."""
        return str(json.loads((self.data / "server.json").read_text())["url"])

    @contextmanager
    def worker(self, name: str, work: Callable[[Store, Request], None]) -> Iterator[None]:
        """While inside, requests of a pipeline are taken and worked on, as a worker does."""
        end = threading.Event()

        def tend() -> None:
            while not end.wait(0.05):
                self.store.beat("worker", "test", 1)
                taken = self.store.take_request(name)
                if taken:
                    work(self.store, taken)

        thread = threading.Thread(target=tend)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
