"""What an installation says about itself: ``run.json`` in its data folder and a pointer to it per user.

``run.json`` may be stale (power loss, SIGKILL): every pid in it counts only together with its creation time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from headrace.errors import Unavailable
from headrace.local.folder import write_over
from headrace.local.process import Identity, end, pause

COMPONENTS = ("kafka", "connect", "server", "worker")


@dataclass
class Component:
    """One row of ``status``; state: starting, running, unhealthy, restarting, external or stopped."""

    name: str
    state: str = "stopped"
    url: str = ""
    identity: Identity | None = None

    def as_dict(self) -> dict[str, Any]:
        """The contract's form: name, pid (None when it does not run here), state, url."""
        pid = self.identity.pid if self.identity else None
        return {"name": self.name, "pid": pid, "state": self.state, "url": self.url}


@dataclass
class Run:
    """The content of ``run.json``. started: seconds since the epoch."""

    supervisor: Identity
    url: str
    ready: bool = False
    started: float = field(default_factory=time.time)
    components: list[Component] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor.find() is not None

    def save(self, data: Path) -> None:
        """Write ``run.json``."""
        write_over(_file(data), json.dumps(asdict(self), indent=1))


def load(data: Path) -> Run | None:
    """What ``run.json`` says, None when there is none (or it was torn by a power loss)."""
    try:
        raw = json.loads(_file(data).read_text())
        components = [_component(row) for row in raw.pop("components")]
        return Run(supervisor=Identity(**raw.pop("supervisor")), components=components, **raw)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None


def status(data: Path) -> list[dict[str, Any]]:
    """The components of the installation in ``data``, in the order they start: name, pid, state, url."""
    run = load(data)
    if run is None or not run.alive:
        return [Component(name).as_dict() for name in COMPONENTS]
    for component in run.components:
        if component.identity and component.identity.find() is None:
            component.state, component.identity = "restarting", None
    return [component.as_dict() for component in run.components]


def ready(data: Path) -> bool:
    """Whether every component of the installation runs."""
    return all(row["state"] in ("running", "external") for row in status(data))


def down(data: Path, seconds: float = 90) -> bool:
    """Stop the installation and wait until it is gone; false when none ran. Unavailable when it does not end."""
    run = load(data)
    if run is None:
        return False
    was_alive = run.alive
    end(run.supervisor, seconds)
    sweep(run.components, seconds=10)
    deadline = time.monotonic() + 10
    while run.alive:
        if time.monotonic() > deadline:
            raise Unavailable(
                "down_timeout", f"Process {run.supervisor.pid} does not end.", "End it by hand."
            )
        pause(0.1)
    forget(data)
    return was_alive


def sweep(components: Iterable[Component], seconds: float) -> None:
    """End what an earlier run left behind."""
    for component in components:
        if component.identity:
            end(component.identity, seconds)


def forget(data: Path) -> None:
    """Remove the traces of a run that ended."""
    _file(data).unlink(missing_ok=True)
    pointer = current()
    if pointer and pointer["data"] == str(data):
        _pointer_file().unlink(missing_ok=True)


def remember(data: Path, url: str) -> None:
    """Note per user which installation runs; a home that cannot be written is no reason to fail."""
    try:
        _pointer_file().parent.mkdir(parents=True, exist_ok=True)
        write_over(_pointer_file(), json.dumps({"data": str(data), "url": url}))
    except OSError:
        return


def current() -> dict[str, str] | None:
    """``{"data", "url"}`` of the installation this user last started, None when there is none."""
    try:
        raw = json.loads(_pointer_file().read_text())
        return {"data": str(raw["data"]), "url": str(raw["url"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(data: Path) -> Path:
    return data / "run.json"


def _pointer_file() -> Path:
    return Path(platformdirs.user_state_dir("headrace")) / "current.json"


def _component(row: dict[str, Any]) -> Component:
    identity = row.pop("identity")
    return Component(**row, identity=Identity(**identity) if identity else None)
