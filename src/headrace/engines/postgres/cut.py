"""The cut: a snapshot that is certainly newer than a marker, shared by all load workers.

An event is covered - the snapshot holds it already - when its transaction is visible in the snapshot. Only
events written before ``position`` can be, so ids that wrap around are never compared across epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from headrace.engines.model import Cut
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.errors import Conflict, Precondition

_IDENTITY = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           (SELECT timeline_id::text FROM pg_control_checkpoint()),
           extract(epoch FROM pg_postmaster_start_time())::text
"""
_IDENTITY_UNPRIVILEGED = "SELECT extract(epoch FROM pg_postmaster_start_time())::text"


def server_identity(conn: Connection) -> str:
    """Identity of the running server instance: system, timeline, start time."""
    with translated():
        may = conn.execute(
            "SELECT has_function_privilege('pg_control_system()', 'execute')"
            " AND has_function_privilege('pg_control_checkpoint()', 'execute')"
        ).fetchone()
        row = conn.execute(_IDENTITY if may == (True,) else _IDENTITY_UNPRIVILEGED).fetchone()
    assert row is not None
    return "/".join(str(part) for part in row)


class Snapshot:
    """An open, exported snapshot. Lives as long as its holder connection; close it after the load."""

    def __init__(self, holder: Connection, exported: str, cut: Cut) -> None:
        self._holder = holder
        self.exported = exported
        self.cut = cut

    def close(self) -> None:
        """End the holding transaction."""
        self._holder.close()

    def alive(self) -> bool:
        """Whether the holding transaction still stands."""
        try:
            self._holder.execute("SELECT 1")
        except Exception:
            return False
        return True


def open_snapshot(
    login: Login,
    newer_than: int,
    *,
    patience: float = 3600.0,
    waiting: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Snapshot:
    """Open a snapshot whose xmin is above ``newer_than`` (a full transaction id).

    Waits for older transactions to end and names them through ``waiting``. The cut is returned only once all
    it could see is flushed on the same server instance. Raises Precondition after ``patience`` seconds, or on
    a standby; Conflict when the server changed meanwhile.
    """
    deadline = time.monotonic() + patience
    while True:
        if (found := _try_snapshot(login, newer_than)) is not None:
            return found
        who = blockers(login, newer_than)
        waiting(who)
        if stop():
            raise Conflict("stopped", "stopped while waiting for the cut")
        if time.monotonic() > deadline:
            raise Precondition(
                "old_transactions",
                f"transactions older than the marker still run: {who}",
                "End them (pg_terminate_backend) or wait; the load starts by itself then.",
            )
        time.sleep(0.1)


def _try_snapshot(login: Login, newer_than: int) -> Snapshot | None:
    holder = connect(login, name="headrace snapshot")
    try:
        with translated():
            before = server_identity(holder)
            if holder.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                raise Precondition(
                    "standby", "the source is a standby", "Point the connection at the primary."
                )
            holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = holder.execute(
                "SELECT pg_current_snapshot()::text, pg_export_snapshot(),"
                " (pg_current_wal_insert_lsn() - '0/0')::bigint"
            ).fetchone()
            assert row is not None
            snapshot, exported, position = str(row[0]), str(row[1]), int(row[2])
            if int(snapshot.split(":", maxsplit=1)[0]) <= newer_than:
                holder.close()
                return None
            _wait_flushed(login, position, before)
    except BaseException:
        holder.close()
        raise
    cut = Cut(snapshot, position, before, datetime.now(UTC).isoformat(timespec="milliseconds"))
    return Snapshot(holder, exported, cut)


def _wait_flushed(login: Login, position: int, server: str) -> None:
    # What an asynchronous commit showed to the snapshot must not vanish with the server.
    with connect(login, name="headrace flush") as conn:
        for _ in range(600):
            with translated():
                row = conn.execute(
                    "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint, pg_is_in_recovery()"
                ).fetchone()
            assert row is not None
            if row[0] >= position:
                break
            with translated(), conn.transaction():
                conn.execute("SET LOCAL synchronous_commit = on")
                conn.execute("SELECT pg_current_xact_id()")
        if server_identity(conn) != server:
            raise Conflict("server_changed", "the source server restarted while the snapshot was opened")


def blockers(login: Login, newer_than: int) -> str:
    """Who still runs a transaction not newer than the given id: ``pid 12 (app, 34 s)``."""
    with connect(login) as conn, translated():
        rows = conn.execute(
            "SELECT pid, coalesce(application_name, ''), coalesce(usename, ''),"
            " extract(epoch FROM now() - xact_start)::int"
            " FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
            " AND age(backend_xid) >= age((%s::bigint %% 4294967296)::text::xid)"
            " ORDER BY xact_start LIMIT 5",
            [newer_than],
        ).fetchall()
        prepared = conn.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE age(transaction) >="
            " age((%s::bigint %% 4294967296)::text::xid) LIMIT 5",
            [newer_than],
        ).fetchall()
    who = [f"pid {pid} ({app or user}, {age} s)" for pid, app, user, age in rows]
    who += [f"prepared transaction {gid!r}" for (gid,) in prepared]
    return ", ".join(who) or "a transaction that just ended"


def coverage(cut: Cut) -> Callable[[int, int], bool]:
    """A predicate ``covered(position, xid)`` for events of this cut.

    position: source LSN of the event. xid: the transaction's id as the event carries it (32 bits).
    """
    _, xmax_text, xip_text = cut.snapshot.split(":")
    xmax = int(xmax_text)
    running = frozenset(int(x) & 0xFFFFFFFF for x in xip_text.split(",") if x)
    low_xmax = xmax & 0xFFFFFFFF
    limit = cut.position

    def covered(position: int, xid: int) -> bool:
        if position >= limit:
            return False
        # Signed distance modulo 2^32: negative means older than xmax.
        older = ((xid - low_xmax) & 0xFFFFFFFF) >= 0x80000000
        return older and xid not in running

    return covered
