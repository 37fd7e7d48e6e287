"""What Debezium needs on a PostgreSQL source, and how it is told: publication, slot, connector, markers.

The publication is the only table filter, so that adding or removing a table never touches the connector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

import orjson
import psycopg
from psycopg import sql

from headrace.engines.model import Column, Table, TableName
from headrace.engines.postgres.connection import Connection, Login, foreign_options, own_schema, translated
from headrace.errors import Precondition, Unavailable

MARKER_PREFIX = "headrace"
MARKER_TABLE = TableName("headrace", "marker")
NEVER_MS = 100 * 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one generation. Those the user gave are used and never dropped."""

    slot: str
    publication: str
    prefix: str
    own_slot: bool = True
    own_publication: bool = True


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker written on the source: its text, and the full transaction id it was written in."""

    text: str
    xid: int


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the server says of a slot. confirmed: confirmed_flush_lsn. retained: bytes of WAL it holds back.

    active_pid: the walsender that uses it. lost: the server invalidated it.
    """

    confirmed: int
    retained: int
    active_pid: int | None
    lost: bool


def has_messages(conn: Connection) -> bool:
    """Whether logical messages can be decoded (PostgreSQL 14 and later)."""
    return conn.info.server_version >= 140000


def publish(conn: Connection, names: Names, tables: Sequence[Table]) -> None:
    """Make the publication cover exactly ``tables`` (adding or removing as needed), replica identities first.

    A publication that the user named is only checked to contain them.
    """
    with translated():
        present = published(conn, names.publication)
        if names.own_publication:
            wanted = {t.name for t in tables}
            if not has_messages(conn):
                _make_marker_table(conn)
                wanted.add(MARKER_TABLE)
            for table in tables:
                set_replica_identity(conn, table)
            _reconcile_publication(conn, names.publication, present, wanted)
        elif missing := {t.name for t in tables} - (present or set()):
            raise Precondition(
                "publication_incomplete",
                f"publication {names.publication} lacks {', '.join(map(str, sorted(missing)))}",
                "Add the tables to the publication.",
            )


def _reconcile_publication(
    conn: Connection, publication: str, present: set[TableName] | None, wanted: set[TableName]
) -> None:
    name = sql.Identifier(publication)
    if present is None:
        conn.execute(
            sql.SQL(
                "CREATE PUBLICATION {} {} WITH (publish = 'insert,update,delete,truncate',"
                " publish_via_partition_root = true{})"
            ).format(name, _for_tables("FOR TABLE", wanted), sql.SQL(_generated_columns(conn)))
        )
        return
    if new := wanted - present:
        conn.execute(sql.SQL("ALTER PUBLICATION {} {}").format(name, _for_tables("ADD TABLE", new)))
    if old := present - wanted:
        conn.execute(sql.SQL("ALTER PUBLICATION {} {}").format(name, _for_tables("DROP TABLE", old)))


def _generated_columns(conn: Connection) -> LiteralString:
    # Else PostgreSQL 18 refuses the user's own updates of a table with REPLICA IDENTITY FULL that has some.
    return ", publish_generated_columns = stored" if conn.info.server_version >= 180000 else ""


def touch_publication(conn: Connection, names: Names) -> None:
    """Alter the publication without changing it, so that every later transaction decodes under it."""
    if not names.own_publication:
        return
    with translated():
        conn.execute(
            sql.SQL("ALTER PUBLICATION {} SET (publish = 'insert,update,delete,truncate')").format(
                sql.Identifier(names.publication)
            )
        )


def _for_tables(words: str, tables: set[TableName]) -> sql.Composable:
    if not tables:
        return sql.SQL("")
    # ONLY: an inheritance parent is published without its children, which are tables of their own.
    listed = sql.SQL(", ").join(
        sql.SQL("ONLY {}" if words != "DROP TABLE" else "{}").format(sql.Identifier(t.schema, t.name))
        for t in sorted(tables)
    )
    return sql.SQL("{} {}").format(sql.SQL(words), listed)


def published(conn: Connection, publication: str) -> set[TableName] | None:
    """Tables of a publication, None when there is no such publication.

    Those that it names, and those that it covers FOR ALL TABLES or FOR TABLES IN SCHEMA.
    """
    # Publications of whole schemas came with PostgreSQL 15.
    schemas = (
        " OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)"
        if conn.info.server_version >= 150000
        else ""
    )
    row = conn.execute(
        f"SELECT oid, puballtables{schemas} FROM pg_publication p WHERE pubname = %s".encode(),  # nosec B608  # constants
        [publication],
    ).fetchone()
    if row is None:
        return None
    named = (
        "SELECT n.nspname, c.relname FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = %(oid)s"
    )
    covered = "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %(name)s"
    found = conn.execute(
        (f"{named} UNION {covered}" if row[1] else named).encode(), {"oid": row[0], "name": publication}
    )
    return {TableName(s, t) for s, t in found.fetchall()}


def set_replica_identity(conn: Connection, table: Table) -> None:
    """Give the table the replica identity that its key needs; nothing happens when it has it already.

    Keyless tables get FULL; a key that is not the primary key gets USING INDEX.
    """
    wanted: tuple[str, ...]
    if table.key and table.key == table.primary_key:
        wanted = ("default", "full")
    elif table.key and table.key_index:
        wanted = (f"index:{table.key_index}", "full")
    else:
        wanted = ("full",)
    if table.replica_identity in wanted:
        return
    form = (
        sql.SQL("USING INDEX {}").format(sql.Identifier(table.key_index))
        if wanted[0].startswith("index:") and table.key_index
        else sql.SQL("DEFAULT" if wanted[0] == "default" else "FULL")
    )
    names = [table.name] if not table.partitioned else [table.name, *(leaf.name for leaf in table.leaves)]
    for name in names:
        if wanted[0].startswith("index:") and name != table.name:
            form = sql.SQL("FULL")
        _alter_quickly(
            conn,
            name,
            sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(
                sql.Identifier(name.schema, name.name), form
            ),
        )


# While ALTER TABLE waits for its lock, everybody else on the table waits behind it.
LOCK_PATIENCE = "500ms"

_HOLDERS = """
    SELECT string_agg(DISTINCT format('pid %%s (%%s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename)), ', ')
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.relation = format('%%I.%%I', %s::text, %s::text)::regclass AND l.granted AND a.pid <> pg_backend_pid()
"""


def _alter_quickly(conn: Connection, table: TableName, statement: sql.Composed) -> None:
    """Run a statement that locks a table of the user's; Unavailable, naming who holds it, rather than wait."""
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
            conn.execute(statement)
    except psycopg.errors.LockNotAvailable:
        row = conn.execute(_HOLDERS, [table.schema, table.name]).fetchone()
        raise Unavailable(
            "table_locked",
            f"{table} is held by {(row and row[0]) or 'a transaction that just ended'}; its replica identity cannot"
            " be set yet",
            "It is tried again by itself; end the transaction, or set the replica identity by hand.",
        ) from None


def _make_marker_table(conn: Connection) -> None:
    own_schema(conn)
    if not _has_marker_table(conn):
        conn.execute(
            "CREATE TABLE IF NOT EXISTS headrace.marker (pipeline text PRIMARY KEY, marker text NOT NULL)"
        )


def _has_marker_table(conn: Connection) -> bool:
    return conn.execute("SELECT to_regclass('headrace.marker')").fetchone() != (None,)


def create_slot(conn: Connection, names: Names) -> int:
    """Create the slot unless it exists; its confirmed position."""
    with translated():
        if (state := slot_state(conn, names.slot)) is not None:
            return state.confirmed
        failover = ", failover => true" if conn.info.server_version >= 170000 else ""
        conn.execute(f"SELECT pg_create_logical_replication_slot(%s, 'pgoutput'{failover})", [names.slot])
        state = slot_state(conn, names.slot)
        assert state is not None
        return state.confirmed


def slot_state(conn: Connection, slot: str) -> SlotState | None:
    """The slot's state, None when it does not exist."""
    invalid = "wal_status = 'lost'"
    if conn.info.server_version >= 170000:
        invalid += " OR invalidation_reason IS NOT NULL"
    with translated():
        row = conn.execute(
            "SELECT coalesce(confirmed_flush_lsn - '0/0', 0)::bigint,"
            " coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint, active_pid,"
            f" coalesce({invalid}, false) FROM pg_replication_slots WHERE slot_name = %s",  # nosec B608  # one of two constants
            [slot],
        ).fetchone()
    return SlotState(*row) if row else None


def drop(conn: Connection, names: Names, pipeline: str) -> None:
    """Drop what this generation owns on the source: slot, publication, marker row. Repeatable."""
    with translated():
        if names.own_slot:
            conn.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE slot_name = %s AND active_pid IS NOT NULL",
                [names.slot],
            )
            conn.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                [names.slot],
            )
        if names.own_publication:
            conn.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(names.publication)))
        if not has_messages(conn) and _has_marker_table(conn):
            conn.execute("DELETE FROM headrace.marker WHERE pipeline = %s", [pipeline])


def emit_marker(conn: Connection, pipeline: str, text: str) -> Marker:
    """Write a marker in a transaction of its own, flushed before this returns."""
    with translated(), conn.transaction():
        conn.execute("SET LOCAL synchronous_commit = on")
        if has_messages(conn):
            conn.execute(
                "SELECT pg_logical_emit_message(true, %s, %s)", [MARKER_PREFIX, f"{pipeline} {text}"]
            )
        else:
            conn.execute(
                "INSERT INTO headrace.marker VALUES (%s, %s)"
                " ON CONFLICT (pipeline) DO UPDATE SET marker = excluded.marker",
                [pipeline, f"{pipeline} {text}"],
            )
        row = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        return Marker(f"{pipeline} {text}", int(row[0]))


def marker_topic(prefix: str, messages: bool) -> str:
    """Topic that carries the markers."""
    return f"{prefix}.message" if messages else f"{prefix}.{MARKER_TABLE.schema}.{MARKER_TABLE.name}"


def marker_text(value: bytes) -> str | None:
    """The text of a marker event, None when the event is something else."""
    import base64

    event = orjson.loads(value)
    if message := event.get("message"):
        if message.get("prefix") != MARKER_PREFIX:
            return None
        return base64.b64decode(message["content"]).decode()
    after = event.get("after")
    return after.get("marker") if after else None


def topic(prefix: str, table: TableName) -> str:
    """Debezium's topic for a table: anything but ASCII letters, digits, ``.``, ``_`` and ``-`` becomes ``_``."""
    raw = f"{prefix}.{table.schema}.{table.name}"
    return "".join(c if (c.isascii() and c.isalnum()) or c in "._-" else "_" for c in raw)


EXCLUDED = "column.exclude.list"


def connector(
    login: Login,
    names: Names,
    *,
    pipeline: str,
    token: str,
    password: str,
    messages: bool,
    version: int = 0,
    heartbeat_ms: int = 10_000,
    tables: Iterable[Table] = (),
    extra: dict[str, str] | None = None,
) -> dict[str, str]:
    """The connector's configuration.

    token: the placeholder for unchanged TOAST values. password: literal or a reference that Connect resolves.
    version: of the server, as ``server_version_num``; limits that came later than it are not lifted. tables: those it captures. extra: the user's own settings; what Headrace needs wins over them.
    """
    beat = (
        f"SELECT pg_catalog.pg_logical_emit_message(true, 'headrace-beat', '{pipeline}')"
        if messages
        else f"INSERT INTO headrace.marker VALUES ('{pipeline}', 'beat') ON CONFLICT (pipeline)"  # nosec B608  # the spec lets no quote into a name
        " DO UPDATE SET marker = 'beat'"
    )
    ours = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": login.host,
        "database.port": str(login.port),
        "database.dbname": login.database,
        "database.user": login.user,
        "database.password": password,
        # libpq verifies whenever it has a CA; pgjdbc only when told to.
        "database.sslmode": "verify-ca" if login.tls == "require" and login.ca else login.tls,
        # How values look must not depend on what the role or the database is set to: Debezium would read another
        # bytea or interval out of them, and some it would read wrongly without a word.
        "driver.options": foreign_options(version),
        "plugin.name": "pgoutput",
        "slot.name": names.slot,
        "slot.drop.on.stop": "false",
        "slot.retry.delay.ms": "1000",
        "slot.max.retries": "60",
        "publication.name": names.publication,
        "publication.autocreate.mode": "disabled",
        "topic.prefix": names.prefix,
        # It begins at offsets that Headrace gives it. Without any it would choose its place itself, and nothing would
        # tell: as it is, it waits for a snapshot that never comes.
        "snapshot.mode": "initial",
        "snapshot.delay.ms": str(NEVER_MS),
        "offset.mismatch.strategy": "trust_offset",
        "skipped.operations": "none",
        "tombstones.on.delete": "false",
        EXCLUDED: ",".join(_column_pattern(t.name, c.name) for t, c in _not_carried(tables)),
        "binary.handling.mode": "bytes",
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "interval.handling.mode": "string",
        "hstore.handling.mode": "json",
        "include.unknown.datatypes": "true",
        "unavailable.value.placeholder": token,
        "provide.transaction.metadata": "false",
        "extended.headers.enabled": "false",
        "heartbeat.interval.ms": str(heartbeat_ms),
        "heartbeat.action.query": beat,
        "poll.interval.ms": "10",
        "max.batch.size": "4096",
        # What waits in the queue is copied by each collection of the young generation.
        "max.queue.size": "6144",
        "max.queue.size.in.bytes": str(96 * 1024 * 1024),
        # Quantiles that nobody reads cost two fifths of the reading thread.
        "statistics.metrics.enabled": "false",
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
        "producer.override.transaction.timeout.ms": "5000",
        "producer.override.max.request.size": str(128 * 1024 * 1024),
        "producer.override.buffer.memory": str(192 * 1024 * 1024),
        # No wait for a quiet source: the commit of each poll's transaction flushes.
        "producer.override.linger.ms": "100",
        # A tenth of the bytes to flush, and a tenth of the disk that a kept topic takes.
        "producer.override.compression.type": "lz4",
        "producer.override.batch.size": str(1024 * 1024),
        "topic.creation.default.replication.factor": "-1",
        "topic.creation.default.partitions": "1",
        "topic.creation.default.retention.ms": "-1",
        "topic.creation.default.max.message.bytes": str(128 * 1024 * 1024),
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        # Left to itself the converter puts a column's default where NULL is.
        "key.converter.replace.null.with.default": "false",
        "value.converter.replace.null.with.default": "false",
        # Then the task fails and is restarted by Headrace, which can say why; retrying for ever says nothing.
        "errors.max.retries": "8",
        "errors.retry.delay.initial.ms": "500",
        "errors.retry.delay.max.ms": "5000",
    }
    tls = {"database.sslrootcert": login.ca, "database.sslcert": login.cert, "database.sslkey": login.key}
    return {k: v for k, v in {**(extra or {}), **ours, **tls}.items() if v}


def _not_carried(tables: Iterable[Table]) -> Iterator[tuple[Table, Column]]:
    """Columns whose event values nobody reads. Debezium makes NULL of some, and stops where NULL may not be."""
    return (
        (t, c)
        for t in tables
        for c in t.columns
        if c.carriage != "event" and c.name not in (*t.key, *t.primary_key)
    )


def _column_pattern(table: TableName, column: str) -> str:
    """Debezium's pattern for one column and no other, whatever its name is made of."""
    name = f"{table.schema}.{table.name}.{column}"
    return "(?-i)" + "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in name)


def leaving_out(config: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """The configuration, with the columns left out that another one leaves out."""
    rest = {k: v for k, v in config.items() if k != EXCLUDED}
    return {**rest, EXCLUDED: other[EXCLUDED]} if EXCLUDED in other else rest


def suffices(config: dict[str, str], tables: Iterable[Table]) -> bool:
    """Whether a connector with this configuration gets by with these tables."""
    excluded = set(config.get(EXCLUDED, "").split(","))
    return all(c.nullable or _column_pattern(t.name, c.name) in excluded for t, c in _not_carried(tables))
