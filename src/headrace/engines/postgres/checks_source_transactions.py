"""Checks of what runs on the source right now: slot and cut wait for every transaction that writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.engines.postgres.checks_server import listing, read, values
from headrace.engines.postgres.checks_source_tables import Source, SourceCheck
from headrace.engines.postgres.names import literal, quoted
from headrace.errors import Finding

LONG_TRANSACTION_S = 60

# Start times of other users' transactions are hidden without pg_read_all_stats; their xid is not.
_WRITERS = """
select pid, extract(epoch from clock_timestamp() - xact_start)::int as seconds, state,
  usename::text as user, application_name as application
from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid() order by xact_start"""


@dataclass(frozen=True, slots=True)
class _Writer:
    pid: int
    seconds: int | None
    state: str | None
    user: str | None
    application: str | None


def prepared(at: Source) -> Iterator[Finding]:
    """Prepared transactions hold the cut up like running ones."""
    found = values(
        at.conn,
        "select gid, extract(epoch from clock_timestamp() - prepared)::int from pg_prepared_xacts "
        "order by prepared",
    )
    if found:
        named = listing(f"{gid} ({seconds} s)" for gid, seconds in found)
        yield Finding(
            "prepared_transactions",
            "info",
            "source",
            f"Prepared transactions are open: {named}. A cut waits until they end.",
            "Commit or roll back what was forgotten.",
            "\n".join(f"ROLLBACK PREPARED {literal(gid)};" for gid, _ in found),
        )


def long_transactions(at: Source) -> Iterator[Finding]:
    """Writing transactions that run for long: slot and cut wait for them."""
    for writer in read(at.conn, _Writer, _WRITERS):
        if writer.seconds is not None and writer.seconds >= LONG_TRANSACTION_S:
            yield _long(writer, f"{writer.seconds} s")


def _long(writer: _Writer, age: str) -> Finding:
    who = writer.application or writer.user or "unnamed"
    return Finding(
        "long_transaction",
        "warning",
        "source",
        f"The transaction of process {writer.pid} ({who}, {writer.state or 'state hidden'}) has been open for "
        f"{age}: slot and cut wait until it ends.",
        "Let it finish; end it if it was forgotten.",
        f"SELECT pg_terminate_backend({writer.pid});",
        str(writer.pid),
    )


def statistics(at: Source) -> Iterator[Finding]:
    """Without pg_read_all_stats nobody can be named who holds a cut up."""
    if not values(at.conn, "select pg_has_role('pg_read_all_stats', 'USAGE')")[0][0]:
        yield Finding(
            "statistics_hidden",
            "info",
            "source",
            f"User {at.server.user} cannot see how long other users' transactions run.",
            "Grant it, so that Headrace can name what a cut waits for.",
            f"GRANT pg_read_all_stats TO {quoted(at.server.user)};",
            at.server.user,
        )


def blocking(at: Source) -> Iterator[Finding]:
    """The writing transactions whose age is hidden from us; asked for once a wait has shown that one is long."""
    for writer in read(at.conn, _Writer, _WRITERS):
        if writer.seconds is None:
            yield _long(writer, "some time")


STREAMING: tuple[SourceCheck, ...] = (prepared, long_transactions, statistics)
