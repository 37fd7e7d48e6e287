"""The metadata as a file, and back: rows as they are, secrets still encrypted, SQLite and PostgreSQL alike.

A backup sees one state while everything runs. A restore is one transaction: it ends as the backup was, or as it was
before. Both follow the shape that the database has at its revision, so that older ones can be carried along.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Engine,
    MetaData,
    Table,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DataError

from headrace.actor import current
from headrace.errors import Conflict, Denied, Invalid, NotFound, Precondition
from headrace.settings import Settings
from headrace.store import schema
from headrace.store.archive import Manifest, Reader, Row, Writer, bad_backup, newer_backup
from headrace.store.database import connect, now, snapshot, writing
from headrace.store.owners import dead, machine
from headrace.store.secrets import VARIABLE, Cipher, cipher
from headrace.store.shape import lock_shape, revision_of, revisions, upgrade

# Who holds and does what just now, who is logged in, what can be found out again.
LEFT_OUT = frozenset({"leases", "beats", "idempotency_keys", "sessions", "schema_cache"})
_LIFE = timedelta(seconds=30)
_BATCH = 500


def backup(settings: Settings, out: IO[bytes]) -> Manifest:
    """Write a backup to a stream: one consistent state, in batches, while everything runs.

    NotFound ``no_metadata``, Precondition ``secret_key`` where there is no key to seal it with.
    """
    keys, engine = _keys(settings).keys, _there(settings)
    try:
        with snapshot(engine) as connection:
            revision, at = revision_of(connection), now()
            if revision is None:
                raise _no_metadata(settings)
            with Writer(out) as writer:
                for table in _shape(connection).sorted_tables:
                    writer.table(table.name, _dumped(connection, table))
                return writer.finish(version("headrace"), revision, at, keys)
    finally:
        engine.dispose()


def restore(settings: Settings, file: IO[bytes], *, replace: bool = False, force: bool = False) -> Manifest:
    """Put a backup in the place of the metadata, all or nothing; everybody has to log in again.

    replace: also where there are accounts, connections or pipelines (Conflict ``not_empty``). force: also while
    something shows signs of life (Precondition ``still_running``). Further errors: those of ``archive.Reader``.
    """
    ring = _keys(settings)
    backup = Reader(file, ring.keys)
    if backup.manifest.revision not in revisions():
        raise newer_backup(backup.manifest.headrace)
    backup.check()
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = connect(settings.metadata_url)
    try:
        with writing(engine) as connection:
            lock_shape(connection)
            _refuse(connection, replace, force)
            numbers = _numbers(connection)
            _clear(connection, backup.manifest.revision)
            _fill(connection, backup, ring)
            upgrade(connection)
            _renumber(connection, numbers)
            _note(connection, backup.manifest)
    finally:
        engine.dispose()
    return backup.manifest


# --- reading


def _dumped(connection: Connection, table: Table) -> Iterator[Row]:
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": _BATCH}).mappings():
        yield {name: v.isoformat() if isinstance(v, datetime) else v for name, v in row.items()}


def _shape(connection: Connection) -> MetaData:
    """Our tables as this database has them, without those that are left out."""
    shape = MetaData()

    @event.listens_for(shape, "column_reflect")
    def _typed(_inspector: Any, _table: Any, column: Any) -> None:
        if isinstance(column["type"], DateTime):
            column["type"] = schema.Utc()
        elif isinstance(column["type"], JSON):
            column["type"] = JSON(none_as_null=True)

    shape.reflect(connection, only=sorted(_present(connection) - LEFT_OUT))
    return shape


def _present(connection: Connection) -> set[str]:
    return schema.metadata.tables.keys() & set(inspect(connection).get_table_names())


def _there(settings: Settings) -> Engine:
    engine = connect(settings.metadata_url)
    # SQLite would make the file.
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        raise _no_metadata(settings)
    return engine


def _keys(settings: Settings) -> Cipher:
    if not os.environ.get(VARIABLE, "").strip() and not settings.key_file.exists():
        raise Precondition(
            "secret_key",
            f"There is no key in {settings.data}",
            f"Put the installation's secret.key there, set {VARIABLE} to it, or name the folder with --data.",
        )
    try:
        return cipher(settings.key_file)
    except OSError as error:
        raise Denied(
            "key_unreadable",
            f"{settings.key_file} cannot be read: {error.strerror}",
            "Run as the user who runs Headrace.",
        ) from None


def _no_metadata(settings: Settings) -> NotFound:
    return NotFound(
        "no_metadata",
        "There is no metadata of Headrace in that database",
        f"Name the installation with --data (now {settings.data}) or HEADRACE_DATABASE_URL.",
    )


# --- writing


def _refuse(connection: Connection, replace: bool, force: bool) -> None:
    revision, present = revision_of(connection), _present(connection)
    if revision is not None and revision not in revisions():
        raise Precondition(
            "newer_metadata",
            f"The metadata there has the shape {revision}, which this program does not know",
            "Restore with the Headrace that runs there, or into another database.",
        )
    if not force and (signs := _signs_of_life(connection, present)):
        raise Precondition(
            "still_running",
            f"Something works with this metadata: {', '.join(signs)}",
            "Stop it first: headrace down. What ran on another machine is forgotten after half a minute. --force restores all the same.",
        )
    kept = [n for n in ("users", "connections", "pipelines") if n in present and _any(connection, n)]
    if kept and not replace:
        raise Conflict(
            "not_empty",
            f"There are {', '.join(kept)} in this metadata already",
            "Take a backup of it, then use --replace; what is there now is lost by that.",
        )


def _any(connection: Connection, name: str) -> bool:
    table = schema.metadata.tables[name]
    return connection.execute(select(text("1")).select_from(table).limit(1)).first() is not None


def _signs_of_life(connection: Connection, present: set[str]) -> list[str]:
    beats, leases, at = schema.beats, schema.leases, now()
    alive: list[str] = []
    if beats.name in present:
        seen = select(beats).where(beats.c.seen_at > at - _LIFE)
        rows = connection.execute(seen).all()
        alive += [f"{r.component} (process {r.pid} on {machine(r.owner)})" for r in rows if not dead(r.owner)]
    if leases.name in present:
        held = connection.execute(select(leases).where(leases.c.expires_at > at)).all()
        alive += [f"the holder of {r.name}" for r in held if not dead(r.owner)]
    return alive


def _clear(connection: Connection, revision: str) -> None:
    """All tables, empty, in the shape of a revision."""
    if revision_of(connection) != revision:
        schema.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        upgrade(connection, revision)
        return
    tables = [t for t in schema.metadata.sorted_tables if t.name in _present(connection)]
    if connection.dialect.name == "postgresql":
        names = ", ".join(connection.dialect.identifier_preparer.quote(t.name) for t in tables)
        connection.execute(text(f"TRUNCATE {names}"))
        return
    for table in reversed(tables):
        connection.execute(table.delete())


def _fill(connection: Connection, backup: Reader, ring: Cipher) -> None:
    tables = {table.name: table for table in _shape(connection).sorted_tables}
    if unknown := backup.manifest.tables.keys() - tables:
        raise bad_backup(f"the shape {backup.manifest.revision} has no {', '.join(sorted(unknown))}")
    for name, table in tables.items():
        if name not in backup.manifest.tables:
            continue
        rows = (_loaded(table, row, connection.dialect.name) for row in backup.rows(name))
        while batch := list(islice(rows, _BATCH)):
            _open_secrets(ring, table, batch)
            _insert(connection, table, batch)


def _insert(connection: Connection, table: Table, batch: list[Row]) -> None:
    try:
        connection.execute(insert(table), batch)
    except DataError as error:
        # SQLite keeps texts that are longer than their column; PostgreSQL does not.
        raise Invalid(
            "does_not_fit",
            f"{table.name} cannot be restored into this database: {error.orig}",
            "Restore into a database of the kind that the backup is from.",
        ) from error


def _loaded(table: Table, row: Row, dialect: str) -> Row:
    if set(row) != set(table.columns.keys()):
        raise bad_backup(f"a row of {table.name} has other columns than the table")
    return {column.name: _value(column.type, row[column.name], dialect) for column in table.columns}


def _value(kind: Any, value: Any, dialect: str) -> Any:
    if isinstance(kind, schema.Utc) and value is not None:
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise bad_backup(f"{value!r} is no instant") from None
    # PostgreSQL's texts cannot hold this one.
    return value.replace("\0", "\ufffd") if dialect == "postgresql" and isinstance(value, str) else value


def _open_secrets(ring: Cipher, table: Table, rows: list[Row]) -> None:
    """Precondition ``secret_key`` when a secret cannot be opened with our keys."""
    if "secrets" in table.columns:
        for row in rows:
            if row["secrets"]:
                ring.open(row["secrets"])


# --- the numbers of new rows


def _serials() -> Iterator[tuple[Table, str]]:
    for table in schema.metadata.sorted_tables:
        if (column := table.autoincrement_column) is not None:
            yield table, column.name


def _numbers(connection: Connection) -> dict[str, int]:
    """The last number that was given, by table, where the database counts."""
    present = _present(connection)
    if connection.dialect.name == "postgresql":
        given = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "
        return {
            table.name: int(connection.execute(text(given + sequence)).scalar_one())
            for table, column in _serials()
            if table.name in present and (sequence := _sequence(connection, table, column))
        }
    if schema.events.name not in present:
        return {}
    return {r.name: r.seq for r in connection.execute(text("SELECT name, seq FROM sqlite_sequence"))}


def _renumber(connection: Connection, before: dict[str, int]) -> None:
    """New rows get numbers that no row has, nor had here before."""
    given = _numbers(connection)
    for table, column in _serials():
        highest = connection.execute(select(func.max(table.c[column]))).scalar() or 0
        last = max(highest, before.get(table.name, 0), given.get(table.name, 0))
        if connection.dialect.name == "postgresql":
            sequence = _sequence(connection, table, column)
            said = {"s": sequence, "n": max(last, 1), "given": last > 0}
            connection.execute(text("SELECT setval(CAST(:s AS regclass), :n, :given)"), said)
        elif table.dialect_options["sqlite"]["autoincrement"]:
            for sql in (
                "DELETE FROM sqlite_sequence WHERE name = :t",
                "INSERT INTO sqlite_sequence (name, seq) VALUES (:t, :n)",
            ):
                connection.execute(text(sql), {"t": table.name, "n": last})


def _sequence(connection: Connection, table: Table, column: str) -> str | None:
    found = select(func.pg_get_serial_sequence(table.name, column))
    return connection.execute(found).scalar()


def _note(connection: Connection, manifest: Manifest) -> None:
    actor = current()
    said = {
        "created_at": manifest.created_at.astimezone(UTC).isoformat(),
        "headrace": manifest.headrace,
        "revision": manifest.revision,
        "rows": manifest.rows,
    }
    connection.execute(
        insert(schema.audit_logs).values(
            entity_type="metadata",
            entity_id=manifest.revision,
            action="restored",
            user_id=actor.user,
            user_name=actor.name or None,
            new_values=said,
            timestamp=now(),
        )
    )
