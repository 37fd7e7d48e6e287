"""Preflight of a PostgreSQL source: every finding at once, each with the SQL that mends it.

Reads in read-only transactions. The one thing it makes is a temporary replication slot, to prove that one
can be made; it is dropped at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

from headrace.engines.model import Table
from headrace.engines.postgres import (
    checks_server,
    checks_source_generated,
    checks_source_publication,
    checks_source_slot,
    checks_source_tables,
    checks_source_transactions,
)
from headrace.engines.postgres.checks_source_tables import Source, SourceCheck
from headrace.engines.postgres.connection import Login
from headrace.errors import Finding


def check(
    login: Login,
    tables: Sequence[Table],
    *,
    slot: str,
    publication: str | None,
    replica_identity: Literal["set", "keep"],
    mode: str,
    sequences: Collection[tuple[int, str]] | None = None,
) -> list[Finding]:
    """Every finding about the source.

    tables: what the pipeline reads, without excluded columns. publication: an existing one that the user
    named; None lets Headrace make its own. mode: as in the spec; ``full_load_only`` needs no replication.
    sequences: columns (oid of the table, name) whose sequences the target's are to follow; None for all.
    Raises HeadraceError only where the server cannot be reached or refuses the login.
    """
    with checks_server.open_checked(login) as conn:
        server = checks_server.facts(conn)
        relations = checks_source_tables.relations(conn, tables)
        if sequences is None:
            sequences = {(t.oid, c.name) for t in tables for c in t.columns}
        set_identity = replica_identity == "set"
        at = Source(conn, login, server, tables, relations, slot, publication, set_identity, sequences)
        streams = mode != "full_load_only"
        found = checks_server.run("source", _bound(at, GENERAL + (STREAMING if streams else ())))
        if streams and not any(
            f.severity == "error" and f.code in checks_source_slot.PROOF_NEEDS for f in found
        ):
            found += checks_server.run("source", _bound(at, [checks_source_slot.temporary_slot]))
        return found


def _bound(at: Source, checks: Iterable[SourceCheck]) -> list[Callable[[], Iterable[Finding]]]:
    return [partial(check, at) for check in checks]


def _general(at: Source) -> Iterator[Finding]:
    yield from checks_server.version(at.server, "source")
    yield from checks_server.encoding(at.server, "source")


def standby(at: Source) -> Iterator[Finding]:
    """Cuts are taken on the primary only: a standby's snapshot does not list running transactions."""
    if at.server.standby:
        yield Finding(
            "standby",
            "error",
            "source",
            f"{at.login.host}:{at.login.port} is a standby; an exact cut exists on the primary only.",
            "Point the connection at the primary.",
        )


GENERAL: tuple[SourceCheck, ...] = (_general, standby, *checks_source_tables.READING)
STREAMING: tuple[SourceCheck, ...] = (
    *checks_source_slot.STREAMING,
    *checks_source_publication.STREAMING,
    *checks_source_tables.STREAMING,
    *checks_source_generated.STREAMING,
    *checks_source_transactions.STREAMING,
)
