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
    Column("version", Integer, nullable=False, server_default=text("1")),
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
    Column("request_id", String(64)),
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
    Column("resolution", Integer, nullable=False, server_default=text("10")),
    Column("lag_events", BigInteger),
    Column("lag_bytes", BigInteger),
    Column("latency_p50_ms", Float),
    Column("latency_p99_ms", Float),
    Column("events_processed", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_pipeline_metrics_series", "pipeline_id", "resolution", "timestamp"),
    Index("ix_pipeline_metrics_age", "resolution", "timestamp"),
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
    Column("request_id", String(64)),
    Index("ix_pipeline_logs_time", "pipeline_id", "ts"),
    Index("ix_pipeline_logs_age", "ts"),
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
    Column("user_name", Text),
    Column("address", Text),
    Column("request_id", String(64)),
    Column("old_values", _json()),
    Column("new_values", _json()),
    Column("timestamp", Utc, nullable=False, index=True),
    Index("ix_audit_logs_entity", "entity_type", "entity_id"),
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
    Column("request_id", String(64)),
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
users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("email", String(320), nullable=False),
    Column("full_name", Text, nullable=False, server_default=""),
    Column("hashed_password", Text),
    Column("role_name", String(16), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("is_superuser", Boolean, nullable=False, server_default=text("false")),
    Column("issuer", Text),
    Column("subject", Text),
    # Whether the role is what the issuer named.
    Column("role_claimed", Boolean, nullable=False, server_default=text("false")),
    Column("failed_logins", Integer, nullable=False, server_default=text("0")),
    Column("locked_until", Utc),
    Column("last_login_at", Utc),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("deleted_at", Utc),
)
Index(
    "uq_users_email",
    users.c.email,
    unique=True,
    sqlite_where=users.c.deleted_at.is_(None),
    postgresql_where=users.c.deleted_at.is_(None),
)
Index("uq_users_subject", users.c.issuer, users.c.subject, unique=True)
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("refresh_hash", String(64), nullable=False),
    Column("previous_hash", String(64)),
    Column("rotated_at", Utc),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False, server_default=""),
    Column("created_at", Utc, nullable=False),
    Column("last_used_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False, index=True),
    Column("revoked_at", Utc),
)
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("scopes", _json(), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc),
    Column("last_used_at", Utc),
    Column("revoked_at", Utc),
)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Column("created_at", Utc, nullable=False, index=True),
)
schema_cache = Table(
    "schema_cache",
    metadata,
    Column("connection_id", String(36), ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("what", Text, primary_key=True),
    Column("value", _json(), nullable=False),
    Column("fetched_at", Utc, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("id", _serial(), primary_key=True, autoincrement=True),
    Column("ts", Utc, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("pipeline", String(63)),
    Column("data", _json(), nullable=False),
    # A number is never given twice, for readers resume by it.
    sqlite_autoincrement=True,
)
log_places = Table(
    "log_places",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("identity", String(255), nullable=False),
    Column("position", BigInteger, nullable=False),
)
alert_rules = Table(
    "alert_rules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("metric", String(64), nullable=False),
    Column("condition", String(8), nullable=False),
    Column("threshold", Float, nullable=False),
    Column("duration_seconds", Integer, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("channels", _json(), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
)
alert_channels = Table(
    "alert_channels",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("config", _json(), nullable=False),
    Column("secrets", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
)
alert_history = Table(
    "alert_history",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("rule_id", String(36), ForeignKey("alert_rules.id", ondelete="SET NULL")),
    Column("pipeline_id", String(36), ForeignKey("pipelines.id", ondelete="CASCADE")),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("triggered_at", Utc, nullable=False, index=True),
    Column("acknowledged_at", Utc),
    Column("resolved_at", Utc),
    Column("alert_metadata", _json(), nullable=False),
)
