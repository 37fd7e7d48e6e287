"""What the lock says: which files make up each part of the engine, and where each lies in the cache.

Pure: reads ``engine.lock`` and composes paths, touches neither network nor cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from headrace.errors import NotFound

LOCK = Path(__file__).with_name("engine.lock")
ENGINE = ("kafka", "debezium-postgres")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the lock: Maven coordinates, ``size`` in bytes, hex SHA-256."""

    group: str
    artifact: str
    version: str
    packaging: str
    classifier: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """File name as Maven lays it out."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"

    @property
    def path(self) -> str:
        """Path below a Maven repository, with forward slashes."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"

    @property
    def unpacked_name(self) -> str:
        """Folder name of the unpacked archive, unique to its content."""
        return f"{self.artifact}-{self.version}-{self.sha256[:12]}"


@cache
def locked() -> dict[str, tuple[Artifact, ...]]:
    """Every group of the lock."""
    groups = json.loads(LOCK.read_text())["groups"]
    return {name: tuple(Artifact(**raw) for raw in rows) for name, rows in groups.items()}


def of_groups(groups: Iterable[str]) -> list[Artifact]:
    """The artifacts of the groups named; NotFound for a group that the lock does not have."""
    known = locked()
    for name in groups:
        if name not in known:
            raise NotFound(
                "artifact_group", f"No group {name!r} of artifacts.", f"Known: {', '.join(known)}."
            )
    return [artifact for name in groups for artifact in known[name]]


def cache_folder() -> Path:
    """Folder shared by every installation of this user: ``HEADRACE_CACHE`` or the platform's cache folder."""
    return Path(os.environ.get("HEADRACE_CACHE") or platformdirs.user_cache_dir("headrace")).expanduser()


def file_of(artifact: Artifact) -> Path:
    """Where the downloaded file lies."""
    return cache_folder() / "maven" / artifact.path


def unpacked(artifact: Artifact) -> Path:
    """Where the archive's content lies once it is unpacked."""
    return cache_folder() / "unpacked" / artifact.unpacked_name
