"""Headrace's own rows in the target: progress of each topic and marks of finished load ranges."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from headrace.engines.model import Cut, Progress, TableName
from headrace.engines.postgres.connection import Connection, own_schema, translated
from headrace.errors import Conflict

_TABLES = """
CREATE TABLE IF NOT EXISTS headrace.progress (
    pipeline text NOT NULL,
    source_schema text NOT NULL,
    source_table text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    generation text NOT NULL,
    topic text NOT NULL,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL,
    last_offset bigint NOT NULL DEFAULT -1,
    last_position bigint NOT NULL DEFAULT -1,
    last_ts_ms bigint NOT NULL DEFAULT 0,
    state text NOT NULL,
    cut jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source_schema, source_table),
    UNIQUE (target_schema, target_table)
) WITH (fillfactor = 20);
CREATE TABLE IF NOT EXISTS headrace.load_range (
    pipeline text NOT NULL,
    load text NOT NULL,
    number int NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (pipeline, load, number)
);
"""

_COLUMNS = (
    "pipeline, source_schema, source_table, target_schema, target_table, generation, topic, topic_id,"
    " next_offset, last_offset, last_position, state, cut"
)


def install(conn: Connection) -> None:
    """Make Headrace's schema in the target unless it is there."""
    with translated():
        if conn.execute("SELECT to_regclass('headrace.load_range')").fetchone() == (None,):
            # Two workers may come here at once.
            with conn.transaction():
                conn.execute("SELECT pg_advisory_xact_lock(7165131041)")
                own_schema(conn)
                conn.execute(_TABLES)


def load_all(conn: Connection, pipeline: str) -> dict[TableName, Progress]:
    """Every progress row of a pipeline, by source table; empty where nothing was installed yet."""
    with translated():
        if conn.execute("SELECT to_regclass('headrace.progress')").fetchone() == (None,):
            return {}
        rows = conn.execute(
            f"SELECT {_COLUMNS} FROM headrace.progress WHERE pipeline = %s",  # nosec B608  # constant
            [pipeline],
        ).fetchall()
    found = (_progress(row) for row in rows)
    return {p.source: p for p in found}


def _progress(row: tuple[Any, ...]) -> Progress:
    return Progress(
        pipeline=row[0],
        source=TableName(row[1], row[2]),
        target=TableName(row[3], row[4]),
        generation=row[5],
        topic=row[6],
        topic_id=row[7],
        next_offset=row[8],
        last_offset=row[9],
        last_position=row[10],
        state=row[11],
        cut=Cut(**row[12]) if row[12] else None,
    )


def put(conn: Connection, progress: Progress) -> None:
    """Insert or replace a table's progress row (part of the caller's transaction).

    Raises Conflict ``target_taken`` when another pipeline writes into the same target table.
    """
    values = [
        progress.pipeline,
        progress.source.schema,
        progress.source.name,
        progress.target.schema,
        progress.target.name,
        progress.generation,
        progress.topic,
        progress.topic_id,
        progress.next_offset,
        progress.last_offset,
        progress.last_position,
        progress.state,
        _json(progress.cut),
    ]
    with translated():
        taken = conn.execute(
            "SELECT pipeline FROM headrace.progress WHERE target_schema = %s AND target_table = %s"
            " AND (pipeline, source_schema, source_table) <> (%s, %s, %s)",
            [*values[3:5], *values[0:3]],
        ).fetchone()
        if taken:
            raise Conflict(
                "target_taken",
                f"table {progress.target} is written by pipeline {taken[0]} already",
                "Give the table another target name, or delete the other pipeline.",
            )
        conn.execute(
            f"INSERT INTO headrace.progress ({_COLUMNS}) VALUES ({', '.join(['%s'] * 13)})"  # nosec B608  # constants
            " ON CONFLICT (pipeline, source_schema, source_table) DO UPDATE SET"
            " target_schema = excluded.target_schema, target_table = excluded.target_table,"
            " generation = excluded.generation, topic = excluded.topic, topic_id = excluded.topic_id,"
            " next_offset = excluded.next_offset, last_offset = excluded.last_offset,"
            " last_position = excluded.last_position, state = excluded.state, cut = excluded.cut,"
            " updated_at = now()",
            values,
        )


def _json(cut: Cut | None) -> str | None:
    return json.dumps(asdict(cut)) if cut else None


def advance(
    conn: Connection, progress: Progress, next_offset: int, last_offset: int, last_position: int, ts_ms: int
) -> None:
    """Compare-and-set: the first statement of every apply transaction.

    Raises Conflict ``zombie`` when the row is not where this worker left it: somebody else applies the table,
    it was put on hold, or it was loaded again since (offset and state may be the same then, the cut is not).
    """
    with translated():
        done = conn.execute(
            "UPDATE headrace.progress SET next_offset = %s, last_offset = %s, last_position = %s,"
            " last_ts_ms = %s, updated_at = now() WHERE pipeline = %s AND source_schema = %s"
            " AND source_table = %s AND generation = %s AND topic_id = %s AND next_offset = %s"
            " AND state = 'live' AND cut IS NOT DISTINCT FROM %s::jsonb",
            [
                next_offset,
                last_offset,
                last_position,
                ts_ms,
                progress.pipeline,
                progress.source.schema,
                progress.source.name,
                progress.generation,
                progress.topic_id,
                progress.next_offset,
                _json(progress.cut),
            ],
        )
        if done.rowcount != 1:
            raise Conflict(
                "zombie",
                f"progress of {progress.source} is not where this worker left it",
                "Another worker applies the table, or it is on hold.",
            )


def set_state(conn: Connection, pipeline: str, source: TableName, state: str) -> None:
    """Put a table on hold (any state but ``live``) or let it go on."""
    with translated():
        conn.execute(
            "UPDATE headrace.progress SET state = %s, updated_at = now()"
            " WHERE pipeline = %s AND source_schema = %s AND source_table = %s",
            [state, pipeline, source.schema, source.name],
        )


# Number of the row that says whose a load is; ranges count from 0.
_OWNED = -1


def begin_load(conn: Connection, pipeline: str, load: str) -> None:
    """Make ``load`` (``table:attempt``) the only load of its table; every other one is refused from here on.

    Waits for a transaction of another that is just writing.
    """
    table = load.rpartition(":")[0] + ":"
    with translated(), conn.transaction():
        conn.execute(
            "DELETE FROM headrace.load_range WHERE pipeline = %s AND starts_with(load, %s)", [pipeline, table]
        )
        conn.execute("INSERT INTO headrace.load_range VALUES (%s, %s, %s, 0)", [pipeline, load, _OWNED])


def own_load(conn: Connection, pipeline: str, load: str) -> None:
    """Part of every transaction of a load. Raises Conflict ``superseded`` when another worker loads the table."""
    with translated():
        ours = conn.execute(
            "SELECT 1 FROM headrace.load_range WHERE pipeline = %s AND load = %s AND number = %s FOR KEY SHARE",
            [pipeline, load, _OWNED],
        ).fetchone()
    if ours is None:
        raise Conflict("superseded", f"another worker has begun to load {load.rpartition(':')[0]} anew")


def mark_range(conn: Connection, pipeline: str, load: str, number: int, rows: int) -> None:
    """Say that a range is in, in the transaction that wrote it."""
    with translated():
        conn.execute(
            "INSERT INTO headrace.load_range VALUES (%s, %s, %s, %s)", [pipeline, load, number, rows]
        )


def marked(conn: Connection, pipeline: str, load: str) -> dict[int, int]:
    """Ranges of a load that are in, with their rows."""
    with translated():
        rows = conn.execute(
            "SELECT number, rows FROM headrace.load_range WHERE pipeline = %s AND load = %s AND number >= 0",
            [pipeline, load],
        ).fetchall()
    return {int(n): int(r) for n, r in rows}


def forget_load(conn: Connection, pipeline: str, load: str) -> None:
    """Remove what is noted of a finished load."""
    with translated():
        conn.execute("DELETE FROM headrace.load_range WHERE pipeline = %s AND load = %s", [pipeline, load])


def forget(conn: Connection, pipeline: str, source: TableName | None = None) -> None:
    """Remove a pipeline's rows (or one table's); the schema goes with the last of them."""
    with translated():
        if conn.execute("SELECT to_regclass('headrace.progress')").fetchone() == (None,):
            return
        with conn.transaction():
            if source is not None:
                conn.execute(
                    "DELETE FROM headrace.progress WHERE pipeline = %s AND source_schema = %s"
                    " AND source_table = %s",
                    [pipeline, source.schema, source.name],
                )
                return
            conn.execute("LOCK TABLE headrace.progress IN ACCESS EXCLUSIVE MODE")
            conn.execute("DELETE FROM headrace.progress WHERE pipeline = %s", [pipeline])
            conn.execute("DELETE FROM headrace.load_range WHERE pipeline = %s", [pipeline])
            if conn.execute("SELECT count(*) FROM headrace.progress").fetchone() == (0,):
                conn.execute("DROP TABLE headrace.progress, headrace.load_range")
                # What an administrator made for us stays: we could not make it again.
                ours_alone = conn.execute(
                    "SELECT pg_has_role(nspowner, 'USAGE') AND has_database_privilege(current_database(), 'CREATE')"
                    " AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid)"
                    " FROM pg_namespace n WHERE nspname = 'headrace'"
                ).fetchone()
                if ours_alone == (True,):
                    conn.execute("DROP SCHEMA headrace")
