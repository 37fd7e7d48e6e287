"""Kafka and Connect in a folder, for tests and for whoever needs only the engine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from headrace.errors import NotFound
from headrace.local.connect import connect_service
from headrace.local.fetch import fetch
from headrace.local.folder import prepare
from headrace.local.kafka import kafka_service
from headrace.local.ports import free_ports
from headrace.local.process import Service
from headrace.local.scoped import Scoped
from headrace.settings import Settings


class Stack(Scoped):
    """Kafka and Connect on free ports; a context manager that starts, stops and removes a temporary folder.

    plugins: groups of the lock for Connect (``debezium-postgres``, ``jdbc``). kafka_settings, connect_settings:
    overrides of broker and worker properties. record: where each program writes an ahead-of-time cache at its exit.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        plugins: Iterable[str] = ("debezium-postgres",),
        kafka_settings: Mapping[str, object] | None = None,
        connect_settings: Mapping[str, object] | None = None,
        record: Mapping[str, Path] | None = None,
    ) -> None:
        self._temporary = data is None
        self.data = data or Path(tempfile.mkdtemp(prefix="headrace-stack-"))
        kafka_port, connect_port = free_ports(2)
        caches = record or {}
        kafka = kafka_service(self.data, kafka_port, kafka_settings, caches.get("kafka"))
        connect = connect_service(
            self.data,
            connect_port,
            kafka.url,
            groups=plugins,
            settings=connect_settings,
            record=caches.get("connect"),
        )
        self.services: dict[str, Service] = {"kafka": kafka, "connect": connect}
        self._groups = ("kafka", *plugins)

    @property
    def settings(self) -> Settings:
        """Settings with which Headrace uses this stack."""
        return Settings(
            data=self.data,
            kafka=self.services["kafka"].url,
            connect=self.services["connect"].url,
            connect_secrets=self.data / "connect-secrets",
            connect_log=self.data / "logs" / "connect.log",
        )

    def start(self) -> Self:
        """Start what does not run and wait until healthy; Unavailable when that fails."""
        prepare(self.data)
        fetch(self._groups)
        for service in self.services.values():
            if not service.alive:
                service.start()
            service.wait_healthy()
        return self

    def kill(self, name: str) -> None:
        """SIGKILL to ``kafka`` or ``connect``."""
        self._service(name).kill()

    def restart(self, name: str) -> None:
        """Stop one if it runs, start it, wait until healthy."""
        service = self._service(name)
        service.stop()
        service.start()
        service.wait_healthy()

    def stop(self) -> None:
        """Stop both orderly; a folder that we made is removed."""
        for service in reversed(self.services.values()):
            service.stop()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def _service(self, name: str) -> Service:
        if name not in self.services:
            raise NotFound("component", f"No component {name!r}.", f"Known: {', '.join(self.services)}.")
        return self.services[name]
