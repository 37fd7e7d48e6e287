"""The tables, once; migrations bring a database to this shape (a test compares the two)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """An instant: stored in UTC, read back aware (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Back, aware."""
        if value is None:
            return None
        instant: datetime = value
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _json() -> JSON:
    return JSON(none_as_null=True)


def _serial() -> Any:
    # SQLite numbers rows by itself only under the exact type INTEGER.
    return BigInteger().with_variant(Integer, "sqlite")


def _owner() -> Column[str]:
    return Column("pipeline_id", String(36), ForeignKey("pipelines.id", ondelete="CASCADE"), nullable=False)


connections = Table(
    "connections",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("connection_type", String(16), nullable=False, server_default="both"),
    Column("database_type", String(32), nullable=False),
    Column("host", Text),
    Column("port", Integer),
    Column("database", Text),
    Column("username", Text),
    Column("schema", Text),
    Column("secrets", Text, nullable=False),
    Column("secret_references", _json(), nullable=False),
    Column("additional_config", _json(), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("last_tested_at", Utc),
    Column("last_test_status", String(16)),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("deleted_at", Utc),
)
pipelines = Table(
    "pipelines",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("user_id", String(36)),
    Column("source_connection_id", String(36), ForeignKey("connections.id"), nullable=False),
    Column("target_connection_id", String(36), ForeignKey("connections.id"), nullable=False),
    Column("mode", String(32), nullable=False),
    Column("spec", _json(), nullable=False),
    Column("spec_version", Integer, nullable=False),
    Column("applied_version", Integer, nullable=False),
    Column("desired", String(16), nullable=False),
    Column("flags", _json(), nullable=False),
    Column("status", String(16), nullable=False),
    Column("phase", String(16)),
    Column("error", _json()),
    Column("generation", _json()),
    Column("lag", _json()),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("deleted_at", Utc),
)
for _named in (connections, pipelines):
    Index(
        f"uq_{_named.name}_name",
        _named.c.name,
        unique=True,
        sqlite_where=_named.c.deleted_at.is_(None),
        postgresql_where=_named.c.deleted_at.is_(None),
    )
pipeline_tables = Table(
    "pipeline_tables",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    _owner(),
    Column("source_schema", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("target_schema", Text, nullable=False),
    Column("target_name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("rows_loaded", BigInteger, nullable=False),
    Column("rows_total", BigInteger, nullable=False),
    Column("cut", _json()),
    Column("error", _json()),
    Column("detail", _json(), nullable=False),
    Column("certificate", _json()),
    Column("updated_at", Utc, nullable=False),
    UniqueConstraint("pipeline_id", "source_schema", "source_name"),
)
pipeline_connectors = Table(
    "pipeline_connectors",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    _owner(),
    Column("name", Text, nullable=False),
    Column("type", String(16), nullable=False),
    Column("connector_class", Text, nullable=False),
    Column("config", _json(), nullable=False),
    Column("status", String(16), nullable=False),
    Column("tasks_max", Integer, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    UniqueConstraint("pipeline_id", "name"),
)
pipeline_runs = Table(
    "pipeline_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    _owner(),
    Column("run_type", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("completed_at", Utc),
    Column("rows_processed", BigInteger, nullable=False),
    Column("errors_count", Integer, nullable=False),
    Column("error_message", Text),
    Column("run_metadata", _json(), nullable=False),
)
pipeline_metrics = Table(
    "pipeline_metrics",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    _owner(),
    Column("timestamp", Utc, nullable=False),
    Column("throughput_events_per_sec", Float),
    Column("lag_seconds", Float),
    Column("error_count", Integer, nullable=False),
    Column("bytes_processed", BigInteger, nullable=False),
    Column("source_offset", Text),
    Column("target_offset", Text),
    Column("connector_status", _json()),
    Index("ix_pipeline_metrics_time", "pipeline_id", "timestamp"),
)
pipeline_logs = Table(
    "pipeline_logs",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    _owner(),
    Column("ts", Utc, nullable=False),
    Column("level", String(16), nullable=False),
    Column("component", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("context", _json(), nullable=False),
    Index("ix_pipeline_logs_time", "pipeline_id", "ts"),
)
connection_tests = Table(
    "connection_tests",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    Column("connection_id", String(36), ForeignKey("connections.id", ondelete="CASCADE"), nullable=False),
    Column("test_status", String(16), nullable=False),
    Column("response_time_ms", Float, nullable=False),
    Column("error_message", Text),
    Column("tested_at", Utc, nullable=False),
    Index("ix_connection_tests_connection", "connection_id", "tested_at"),
)
audit_logs = Table(
    "audit_logs",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    Column("entity_type", String(32), nullable=False),
    Column("entity_id", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("user_id", String(64)),
    Column("old_values", _json()),
    Column("new_values", _json()),
    Column("timestamp", Utc, nullable=False, index=True),
)
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String(36), primary_key=True),
    _owner(),
    Column("source_schema", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    Column("event_key", _json()),
    Column("cause", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("event", _json()),
    Column("status", String(16), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    UniqueConstraint("pipeline_id", "topic", "event_offset"),
)
requests = Table(
    "requests",
    metadata,
    Column("number", _serial(), primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    _owner(),
    Column("kind", String(32), nullable=False),
    Column("args", _json(), nullable=False),
    Column("status", String(16), nullable=False),
    Column("result", _json()),
    Column("error", _json()),
    Column("created_at", Utc, nullable=False),
    Column("finished_at", Utc),
    Index("ix_requests_waiting", "pipeline_id", "status"),
)
leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("expires_at", Utc, nullable=False),
)
beats = Table(
    "beats",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("owner", String(128), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("url", Text),
    Column("seen_at", Utc, nullable=False),
)
