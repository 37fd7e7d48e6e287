"""The revisions of the metadata's shape: which one a database has, which ones we know, how to bring one about."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

# Any number will do; it only has to be ours. Held while migrating.
_MIGRATION_LOCK = 7_237_723


def lock_shape(connection: Connection) -> None:
    """Nobody else changes the shape until the end of this (writing) transaction."""
    # SQLite has one writer as it is.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring a database up to a revision, in the transaction of the connection."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revision_of(connection: Connection) -> str | None:
    """The revision that a database has; None when it has no shape of ours at all."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """All revisions that this program knows, the oldest first."""
    walked = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    return walked[::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
