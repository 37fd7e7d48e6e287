"""One installation as one process: broker, Connect, server and worker, kept running and stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil

from headrace.entering import check_kafka
from headrace.errors import Conflict, Invalid
from headrace.local import aot, installation
from headrace.local.connect import connect_service
from headrace.local.fetch import fetch
from headrace.local.folder import prepare
from headrace.local.installation import Component, Run
from headrace.local.kafka import kafka_service
from headrace.local.keeper import Keeper
from headrace.local.logs import rotate
from headrace.local.ports import HOST, require_free
from headrace.local.process import Identity, Service
from headrace.settings import KafkaSecurity, Settings, from_environment

TICK_SECONDS = 0.2
ROTATE_SECONDS = 10
TRAIN_AFTER_SECONDS = 120
ORDER: Mapping[str, tuple[str, ...]] = {
    "kafka": (),
    "connect": ("kafka",),
    "server": ("kafka",),
    "worker": ("kafka", "server"),
}


@dataclass(frozen=True)
class Options:
    """What to run. commands: replaces the words that start ``server`` or ``worker`` (for tests). train: make the
    ahead-of-time caches in the background once the installation has run for a while.
    """

    data: Path
    port: int = 8000
    kafka_port: int = 9092
    connect_port: int = 8083
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    train: bool = True

    @property
    def url(self) -> str:
        """Address of API and web UI."""
        return f"http://{HOST}:{self.port}"


class Supervisor:
    """Starts the components in order, tends them until told to stop, stops them in the opposite order."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.settings = surroundings(options)
        self.keepers = {service.name: Keeper(service) for service in services(options, self.settings)}
        self.run = Run(Identity(os.getpid(), psutil.Process().create_time()), options.url)
        self._stop = threading.Event()
        self._seen: list[Component] = []

    def stop(self) -> None:
        """Have ``serve`` return; safe in a signal handler."""
        self._stop.set()

    def serve(self, on_ready: Callable[[], None]) -> None:
        """Run until ``stop``; Conflict before anything starts, Unavailable when a component does not come up."""
        data = self.options.data
        prepare(data)
        with sole_owner(data):
            self._clear_the_way(data)
            self._record()
            installation.remember(data, self.options.url)
            try:
                fetch(self._groups())
                self._start_all()
                if not self._stop.is_set():
                    on_ready()
                self._tend_until_stopped()
            finally:
                self._stop_all()
                installation.forget(data)

    def _clear_the_way(self, data: Path) -> None:
        before = installation.load(data)
        if before:
            installation.sweep(before.components, seconds=10)
        ports = {
            "kafka": (self.options.kafka_port, "--kafka-port"),
            "connect": (self.options.connect_port, "--connect-port"),
            "server": (self.options.port, "--port"),
        }
        for name in self.keepers.keys() & ports.keys():
            require_free(name, *ports[name])

    def _groups(self) -> list[str]:
        wanted = {"kafka": "kafka", "connect": "debezium-postgres"}
        return [group for name, group in wanted.items() if name in self.keepers]

    def _start_all(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            for name, keeper in self.keepers.items():
                if keeper.state == "stopped" and all(self._runs(other) for other in ORDER[name]):
                    keeper.start()
                elif keeper.state == "starting" and not keeper.service.alive:
                    raise keeper.service.failed(f"{name} ended while starting")
                elif keeper.state != "stopped":
                    keeper.tend()
            self._record()
            if all(map(self._runs, self.keepers)):
                return

    def _runs(self, name: str) -> bool:
        return name not in self.keepers or self.keepers[name].state == "running"

    def _tend_until_stopped(self) -> None:
        trainer = self._trainer()
        train_at = time.monotonic() + TRAIN_AFTER_SECONDS
        rotate_at = 0.0
        try:
            while not self._stop.wait(TICK_SECONDS):
                for keeper in self.keepers.values():
                    keeper.tend()
                self._record()
                now = time.monotonic()
                if now > rotate_at:
                    rotate(keeper.service.log for keeper in self.keepers.values())
                    rotate_at = now + ROTATE_SECONDS
                if self.options.train and now > train_at and trainer.process is None and not aot.trained():
                    trainer.start()
        finally:
            trainer.kill()

    def _trainer(self) -> Service:
        return Service(
            name="aot",
            command=lambda: [sys.executable, "-m", "headrace.local.aot"],
            healthy=lambda: True,
            log=self.options.data / "logs" / "aot.out",
        )

    def _record(self) -> None:
        rows = [Component("kafka", "external", self.settings.kafka)] if "kafka" not in self.keepers else []
        rows += (
            [Component("connect", "external", self.settings.connect)] if "connect" not in self.keepers else []
        )
        rows += [keeper.component() for keeper in self.keepers.values()]
        rows.sort(key=lambda row: installation.COMPONENTS.index(row.name))
        if rows != self._seen:
            self._seen = self.run.components = rows
            self.run.ready = all(row.state in ("running", "external") for row in rows)
            self.run.save(self.options.data)

    def _stop_all(self) -> None:
        for keeper in reversed(self.keepers.values()):
            keeper.service.stop()


def surroundings(options: Options) -> Settings:
    """Settings of the children: our Kafka and Connect, unless the environment names others. Invalid ``bad_setting``."""
    outside = from_environment(data=options.data)
    check_kafka(outside.kafka_security)
    if not os.environ.get("HEADRACE_KAFKA") and outside.kafka_security != KafkaSecurity():
        raise Invalid(
            "bad_setting",
            "Logins and certificates for Kafka are set, and HEADRACE_KAFKA names none: the embedded Kafka has none",
            "Set HEADRACE_KAFKA, or unset the variables that begin with HEADRACE_KAFKA_.",
        )
    kafka = outside.kafka if os.environ.get("HEADRACE_KAFKA") else f"{HOST}:{options.kafka_port}"
    if os.environ.get("HEADRACE_CONNECT"):
        return replace(outside, kafka=kafka)
    connect = f"http://{HOST}:{options.connect_port}"
    data = options.data
    secrets, log = data / "connect-secrets", data / "logs" / "connect.log"
    return replace(outside, kafka=kafka, connect=connect, connect_secrets=secrets, connect_log=log)


def services(options: Options, settings: Settings) -> list[Service]:
    """What to keep running, in the order of starting."""
    found = []
    if not os.environ.get("HEADRACE_KAFKA"):
        found.append(kafka_service(options.data, options.kafka_port))
    if not os.environ.get("HEADRACE_CONNECT"):
        found.append(
            connect_service(
                options.data, options.connect_port, settings.kafka, security=settings.kafka_security
            )
        )
    headrace = [sys.executable, "-m", "headrace"]
    server = options.commands.get("server") or [*headrace, "server", "--port", str(options.port)]
    worker = options.commands.get("worker") or [*headrace, "worker"]
    env = settings.environment()
    logs = options.data / "logs"
    found.append(
        Service("server", lambda: server, lambda: serves(options.url), logs / "server.log", env, options.url)
    )
    found.append(Service("worker", lambda: worker, lambda: True, logs / "worker.log", env))
    return found


def serves(url: str) -> bool:
    """Whether the web server answers anything but an internal error."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def sole_owner(data: Path) -> Iterator[None]:
    """Hold the data folder; Conflict when another supervisor does. The kernel lets go however we end."""
    with (data / "run.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _running_already(data) from error
        yield


def _running_already(data: Path) -> Conflict:
    run = installation.load(data)
    where = f" at {run.url} (process {run.supervisor.pid})" if run else ""
    return Conflict(
        "already_running",
        f"The installation in {data} is running already{where}.",
        "Use it, stop it with `headrace down`, or choose another folder with --data.",
        {"data": str(data), "url": run.url if run else None, "pid": run.supervisor.pid if run else None},
    )


def up(options: Options, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run an installation in this process until SIGTERM, SIGHUP or Ctrl-C. Call from the main thread."""
    supervisor = Supervisor(options)
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: supervisor.stop()) for number in signals}
    try:
        supervisor.serve(on_ready)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
