"""Checks of replication itself: WAL level, slots, senders, the right to replicate, what ends a slot."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from headrace.engines.postgres.checks_server import listing, read, setting
from headrace.engines.postgres.checks_source_tables import Source, SourceCheck
from headrace.engines.postgres.checks_source_transactions import blocking
from headrace.engines.postgres.connection import connect, translated
from headrace.engines.postgres.names import literal, quoted
from headrace.errors import Finding, Unavailable

PROOF_TIMEOUT = "5s"

_STATE = """
select current_setting('wal_level') as wal_level,
  current_setting('max_replication_slots')::int as slots, current_setting('max_wal_senders')::int as senders,
  (select count(*) from pg_replication_slots) as slots_used,
  (select count(*) from pg_stat_replication) as senders_used,
  (select array_agg(slot_name::text order by slot_name) from pg_replication_slots where not active) as idle,
  current_setting('max_slot_wal_keep_size') as wal_limit,
  coalesce(current_setting('idle_replication_slot_timeout', true), '0') as idle_timeout"""

_SLOT = """
select slot_type = 'logical' and plugin = 'pgoutput' and database = current_database() and not temporary
  as ours, active_pid as pid, wal_status is not distinct from 'lost' as lost,
  (select application_name from pg_stat_activity where pid = active_pid) as reader
from pg_replication_slots where slot_name = %s"""


@dataclass(frozen=True, slots=True)
class _State:
    wal_level: str
    slots: int
    senders: int
    slots_used: int
    senders_used: int
    idle: list[str] | None
    wal_limit: str
    idle_timeout: str


@dataclass(frozen=True, slots=True)
class _Slot:
    ours: bool
    pid: int | None
    lost: bool
    reader: str | None


def _state(at: Source) -> _State:
    return read(at.conn, _State, _STATE)[0]


def wal_level(at: Source) -> Iterator[Finding]:
    """wal_level = logical."""
    level = _state(at).wal_level
    if level != "logical":
        guidance, fix = setting(at.server, "wal_level", "logical", restart=True)
        yield Finding(
            "wal_level", "error", "source", f"wal_level is {level}, not logical.", guidance, fix, "wal_level"
        )


def slot_room(at: Source) -> Iterator[Finding]:
    """A replication slot of our own that is there already, or a free one."""
    state = _state(at)
    if not read(at.conn, _Slot, _SLOT, (at.slot,)):
        idle = f" Unused ones could be dropped: {listing(state.idle)}." if state.idle else ""
        yield from _room(at, "replication_slots", state.slots, state.slots_used, idle)


def sender_room(at: Source) -> Iterator[Finding]:
    """A free WAL sender, unless our slot is being read already."""
    state = _state(at)
    if not any(slot.pid for slot in read(at.conn, _Slot, _SLOT, (at.slot,))):
        yield from _room(at, "wal_senders", state.senders, state.senders_used)


def _room(at: Source, code: str, limit: int, used: int, hint: str = "") -> Iterator[Finding]:
    if limit - used > 1:
        return
    name = f"max_{code}"
    guidance, fix = setting(at.server, name, str(max(limit, used) + 5), restart=True)
    last = limit - used == 1
    yield Finding(
        code + "_last" if last else code,
        "warning" if last else "error",
        "source",
        f"{used} of {name} = {limit} are in use: {'one is' if last else 'none is'} left.{hint}",
        guidance,
        fix,
        name,
    )


def slot(at: Source) -> Iterator[Finding]:
    """The slot's name can be used, and nobody else uses it."""
    if not re.fullmatch("[a-z0-9_]{1,63}", at.slot):
        yield Finding(
            "slot_name",
            "error",
            "source",
            f"{at.slot!r} cannot be the name of a replication slot.",
            "Use up to 63 lower-case letters, digits and underscores.",
            subject=at.slot,
        )
    for found in read(at.conn, _Slot, _SLOT, (at.slot,)):
        drop = f"SELECT pg_drop_replication_slot({literal(at.slot)});"
        if not found.ours:
            yield Finding(
                "slot_taken",
                "error",
                "source",
                f"Replication slot {at.slot} belongs to something else (another database, plugin or kind).",
                "Choose another name in the spec: names: {slot: ...}; drop it only if nothing needs it.",
                drop,
                at.slot,
            )
        elif found.lost:
            yield Finding(
                "slot_lost",
                "error",
                "source",
                f"Replication slot {at.slot} has lost its WAL.",
                "Drop it; every table then gets a new cut.",
                drop,
                at.slot,
            )
        elif found.pid:
            yield Finding(
                "slot_active",
                "warning",
                "source",
                f"Replication slot {at.slot} is being read by process {found.pid} ({found.reader or 'unnamed'}).",
                "Fine if that is this pipeline; else stop the reader or choose another slot.",
                subject=at.slot,
            )


def replication(at: Source) -> Iterator[Finding]:
    """The right to replicate, proven by a replication connection, for which a sender has to be free."""
    state = _state(at)
    if state.senders <= state.senders_used:
        return
    parameters: dict[str, Any] = dict(at.conn.info.get_parameters())
    parameters |= {"password": at.login.password or None, "replication": "database", "autocommit": True}
    try:
        with psycopg.connect(**parameters) as conn:
            conn.pgconn.exec_(b"IDENTIFY_SYSTEM")
    except psycopg.Error as error:
        yield _replication_refused(at, str(error).strip())


def _replication_refused(at: Source, text: str) -> Finding:
    user = quoted(at.server.user)
    rds = at.server.platform == "rds"
    return Finding(
        "replication",
        "error",
        "source",
        f"User {at.server.user} cannot open a replication connection: {text.splitlines()[-1]}",
        "Give the user the right, and connect to the server itself: poolers (PgBouncer, Supavisor, RDS Proxy) "
        "carry no replication.",
        f"GRANT rds_replication TO {user};" if rds else f"ALTER ROLE {user} REPLICATION;",
        at.server.user,
    )


def temporary_slot(at: Source) -> Iterator[Finding]:
    """A logical slot can really be made. Waits for running transactions, 5 s at most."""
    name = f"headrace_check_{secrets.token_hex(6)}"
    proof = connect(at.login, name="headrace check", statement_timeout=PROOF_TIMEOUT)
    with proof:
        try:
            with translated(at.login):
                proof.execute("select pg_create_logical_replication_slot(%s, 'pgoutput', true)", (name,))
                proof.execute("select pg_drop_replication_slot(%s)", (name,))
        except Unavailable as error:
            if error.code != "canceled":
                raise
            # The rights were there; it waits for transactions, and the next check names them.
            yield from blocking(at)


def slot_limits(at: Source) -> Iterator[Finding]:
    """Server settings that end a slot that lags or rests."""
    state = _state(at)
    if state.wal_limit != "-1":
        guidance, fix = setting(at.server, "max_slot_wal_keep_size", "-1", restart=False)
        yield Finding(
            "slot_wal_limit",
            "warning",
            "source",
            f"max_slot_wal_keep_size is {state.wal_limit}: a slot further behind is lost, and every table "
            "loads again.",
            f"{guidance} Or keep it well above what is written during the longest pause.",
            fix,
            "max_slot_wal_keep_size",
        )
    if state.idle_timeout not in {"0", "0s"}:
        guidance, fix = setting(at.server, "idle_replication_slot_timeout", "0", restart=False)
        yield Finding(
            "slot_idle_limit",
            "warning",
            "source",
            f"idle_replication_slot_timeout is {state.idle_timeout}: a pipeline stopped for longer loses its "
            "slot, and every table loads again.",
            guidance,
            fix,
            "idle_replication_slot_timeout",
        )


STREAMING: tuple[SourceCheck, ...] = (wal_level, slot_room, sender_room, slot, replication, slot_limits)
# With one of these the proof could not succeed, and its error would only repeat them.
PROOF_NEEDS = frozenset(
    {"version", "standby", "wal_level", "replication_slots", "wal_senders", "replication", "slot_name"}
)
