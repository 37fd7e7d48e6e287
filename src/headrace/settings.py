"""Where this process finds its surroundings: read once from the environment, passed on as one value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs


@dataclass(frozen=True, slots=True)
class Settings:
    """Surroundings of one process.

    data: folder of this installation (metadata, keys, token, logs, the embedded Kafka's log).
    kafka: bootstrap servers. connect: base URL of Kafka Connect's REST API.
    database_url: SQLAlchemy URL of the metadata; SQLite in ``data`` unless set.
    connect_secrets: folder that Kafka Connect's DirectoryConfigProvider may read (embedded Connect only);
    None where Connect is external and cannot see our files.
    """

    data: Path
    kafka: str = "127.0.0.1:9092"
    connect: str = "http://127.0.0.1:8083"
    database_url: str = ""
    connect_secrets: Path | None = None

    @property
    def metadata_url(self) -> str:
        """SQLAlchemy URL of the metadata store."""
        return self.database_url or f"sqlite:///{self.data / 'headrace.db'}"

    @property
    def token_file(self) -> Path:
        """File with the local API token, mode 0600."""
        return self.data / "token"

    @property
    def key_file(self) -> Path:
        """File with the key that encrypts stored secrets, mode 0600."""
        return self.data / "secret.key"

    def environment(self) -> dict[str, str]:
        """The variables that give a child process the same surroundings."""
        env = {
            "HEADRACE_DATA": str(self.data),
            "HEADRACE_KAFKA": self.kafka,
            "HEADRACE_CONNECT": self.connect,
        }
        if self.database_url:
            env["HEADRACE_DATABASE_URL"] = self.database_url
        if self.connect_secrets:
            env["HEADRACE_CONNECT_SECRETS"] = str(self.connect_secrets)
        return env


def from_environment(env: Mapping[str, str] = os.environ, data: Path | None = None) -> Settings:
    """Settings from ``HEADRACE_*`` variables; ``data`` wins over ``HEADRACE_DATA``."""
    folder = data or Path(env.get("HEADRACE_DATA") or platformdirs.user_data_dir("headrace"))
    base = Settings(data=folder.expanduser().absolute())
    secrets = env.get("HEADRACE_CONNECT_SECRETS")
    return replace(
        base,
        kafka=env.get("HEADRACE_KAFKA") or base.kafka,
        connect=env.get("HEADRACE_CONNECT") or base.connect,
        database_url=env.get("HEADRACE_DATABASE_URL") or "",
        connect_secrets=Path(secrets) if secrets else None,
    )
