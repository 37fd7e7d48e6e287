"""How long ``headrace up`` takes, and how much memory the whole holds at rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.ground import Wrong
from bench.works import Run
from headrace.local import installation
from headrace.local.artifacts import cache_folder
from headrace.local.fetch import fetch, plugins
from headrace.local.ports import free_ports

FIRST = "headrace, first start in a new folder"
LATER = "headrace, later start"
IDLE_SECONDS = 60.0


class Start:
    """``headrace up --detach`` on fetched artifacts: first without Java's ahead-of-time caches, then with them."""

    def __init__(self, scale: float) -> None:
        self._idle = max(IDLE_SECONDS * scale, 5.0)
        fetch()
        plugins()

    def runs(self, _number: int) -> Iterator[Run]:
        """One repetition: a new folder, a first start, the caches, a later start, rest."""
        folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        cache = folder / "cache"
        cache.mkdir()
        # The fetched files as they are, and no ahead-of-time cache yet.
        for name in ("maven", "unpacked"):
            (cache / name).symlink_to(cache_folder() / name)
        env = os.environ | {"HEADRACE_CACHE": str(cache), "XDG_STATE_HOME": str(folder / "state")}
        try:
            yield Run("start", FIRST, self._up(folder / "data", env), 0)
            self._headrace(env, "down", "--data", str(folder / "data"))
            self._headrace(env, "fetch", "--train")
            seconds = self._up(folder / "data", env)
            time.sleep(self._idle)
            yield Run("start", LATER, seconds, 0, more=_memory(folder / "data"))
        finally:
            self._headrace(env, "down", "--data", str(folder / "data"))
            shutil.rmtree(folder, ignore_errors=True)

    def _up(self, data: Path, env: dict[str, str]) -> float:
        ports = [str(port) for port in free_ports(3)]
        words = ["--port", ports[0], "--kafka-port", ports[1], "--connect-port", ports[2]]
        began = time.monotonic()
        self._headrace(env, "up", "--detach", "--data", str(data), *words)
        return time.monotonic() - began

    def _headrace(self, env: dict[str, str], *args: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *args], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Wrong(f"headrace {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def _memory(data: Path) -> dict[str, float]:
    """Resident MB of supervisor, broker, Connect, server and worker; ``pss_mb`` counts shared pages once."""
    run = installation.load(data)
    if run is None:
        raise Wrong("the installation is not there any more")
    resident: dict[str, float] = {}
    shared = 0.0
    identities = {"supervisor": run.supervisor, **{c.name: c.identity for c in run.components}}
    for name, identity in identities.items():
        if identity is not None:
            info = psutil.Process(identity.pid).memory_full_info()
            resident[f"{name}_mb"] = round(info.rss / 1e6, 1)
            shared += info.pss / 1e6
    return {"rss_mb": round(sum(resident.values()), 1), "pss_mb": round(shared, 1), **resident}
