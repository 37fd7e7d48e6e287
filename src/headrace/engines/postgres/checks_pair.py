"""Checks that need both sides: one database under two names, and what the target has to have beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from headrace.engines.model import Route
from headrace.engines.postgres.checks_server import listing, open_checked, values
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.engines.postgres.prerequisites import prerequisite_findings
from headrace.engines.postgres.prerequisites import prerequisites as statements
from headrace.errors import Finding

# The start time is to the microsecond, and clones of a server share its system identifier but not this.
_INSTANCE = """
select pg_postmaster_start_time(), d.oid::int8 from pg_database d where d.datname = current_database()"""


def same_database(source: Login, target: Login, routes: Sequence[Route] = ()) -> Finding | None:
    """Source and target are one database: an error where a table would be written that is also read.

    Told by the server's start time and the database's oid, which every user may read and no other host name,
    port, pooler or clone can hide or fake. Other tables of the same database are a warning only: they work,
    but load and stream then share one server. Raises HeadraceError where one of them cannot be reached.
    """
    if _instance(source) != _instance(target):
        return None
    both = sorted({r.target for r in routes} & {r.source.name for r in routes})
    where = f"{target.host}:{target.port}/{target.database}"
    if both:
        return Finding(
            "same_database",
            "error",
            "target",
            f"Source and target are the same database ({where}), and {listing(both)} would be written while "
            "being read: every change would come back as another.",
            "Map them into another schema (`target:` in the spec), or choose another database.",
            subject=str(both[0]),
        )
    return Finding(
        "same_database",
        "warning",
        "target",
        f"Source and target are the same database ({where}).",
        "Fine for a copy in another schema; the server does both sides' work.",
        subject=target.database,
    )


def _instance(login: Login) -> tuple[object, ...]:
    with open_checked(login) as conn:
        return values(conn, _INSTANCE)[0]


def prerequisites(
    source: Login, target: Login, routes: Sequence[Route], ddl: list[str] | None = None
) -> list[Finding]:
    """Extensions, types and collations that the target lacks and Headrace could not make.

    ddl: takes the statements that would make what is lacking.

    What it could make is proven by trying, in a transaction that is rolled back; only for pipelines that
    create their tables. Raises HeadraceError where one side cannot be reached.
    """
    with open_checked(source) as left:
        with connect(target, name="headrace check", statement_timeout="10s", lock_timeout="3s") as right:
            with translated(target):
                if found := prerequisite_findings(left, right, routes):
                    return found
                needed = statements(left, right, routes)
                if ddl is not None:
                    ddl += needed
                return list(_refused(right, needed))


def _refused(conn: Connection, needed: Sequence[str]) -> Iterator[Finding]:
    with conn.transaction(force_rollback=True):
        for statement in needed:
            try:
                with conn.transaction():
                    conn.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege as error:
                if not statement.startswith("CREATE SCHEMA"):
                    yield _right(statement, error)
            except psycopg.errors.InvalidSchemaName:
                # The schema was refused before it, which the target's own check tells.
                continue


def _right(statement: str, error: psycopg.Error) -> Finding:
    extension = statement.startswith("CREATE EXTENSION")
    return Finding(
        "extension" if extension else "type_right",
        "error",
        "target",
        f"The target's user may not make what the tables need: {error.diag.message_primary}",
        "Run the fix as an administrator of the target, or grant CREATE on the database.",
        statement + ";",
    )
