"""Preflight of a PostgreSQL target: every finding at once, each with the SQL that mends it.

Reads in read-only transactions; the one thing it tries is ``SET LOCAL session_replication_role``, rolled back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

import psycopg

from headrace.engines.model import Route, Table, TableName
from headrace.engines.postgres import checks_server, checks_target_tables
from headrace.engines.postgres.checks_pair import prerequisites, same_database
from headrace.engines.postgres.checks_server import read, values
from headrace.engines.postgres.checks_target_tables import Schema, Target, TargetCheck
from headrace.engines.postgres.connection import Connection, Login
from headrace.engines.postgres.names import literal, quoted
from headrace.errors import Finding

__all__ = ["check", "prerequisites", "same_database"]

PROGRESS_SCHEMA = "headrace"

_SCHEMAS = """
select n.nspname::text as name, has_schema_privilege(n.oid, 'USAGE') as usage,
  has_schema_privilege(n.oid, 'CREATE') as create_right
from pg_namespace n where n.nspname = any(%s)"""


_ROOM = """
select nspname::text from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'headrace')
  and has_schema_privilege(oid, 'USAGE')
  and has_schema_privilege(oid, 'CREATE') order by 1"""

_PROGRESS = """
select has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'headrace' and c.relname = 'progress'"""

_WRITERS = """
select target_schema, target_table, pipeline from headrace.progress
join unnest(%s::text[], %s::text[]) w(schema, name) on (schema, name) = (target_schema, target_table)
where pipeline <> %s order by 1, 2"""


def check(
    login: Login,
    routes: Sequence[Route],
    *,
    create_target: bool,
    fresh: Collection[TableName],
    pipeline: str | None = None,
) -> list[Finding]:
    """Every finding about the target.

    create_target: Headrace may make schemas and tables. fresh: target tables that Headrace has not made yet;
    one that exists all the same has to be empty. pipeline: its name, by which progress of others is told apart
    from its own; None asks for none. Raises HeadraceError only where the server cannot be reached
    or refuses the login.
    """
    with checks_server.open_checked(login) as conn:
        at = _look(conn, login, routes, create_target, fresh)
        return checks_server.run("target", [*_bound(at, CHECKS), partial(writers, at, pipeline)])


def check_alone(
    login: Login, tables: Sequence[TableName], schemas: Collection[str] = (), *, create_target: bool
) -> list[Finding]:
    """Every finding about a target whose source nobody knows yet.

    tables: what would be written there; none for whatever may come. schemas: others that tables would be made in.
    Raises HeadraceError only where the server cannot be reached or refuses the login.
    """
    routes = [Route(Table(name, 0, ()), name, ()) for name in tables]
    with checks_server.open_checked(login) as conn:
        at = _look(conn, login, routes, create_target, tables if create_target else (), schemas)
        checks = _bound(at, [c for c in CHECKS if c is not checks_target_tables.compatible])
        if create_target:
            checks += [partial(_creatable, at, schema) for schema in sorted(schemas)]
            checks += [] if tables or schemas else [partial(room, at)]
        return checks_server.run("target", [*checks, partial(writers, at, "")])


def _look(
    conn: Connection,
    login: Login,
    routes: Sequence[Route],
    create_target: bool,
    fresh: Collection[TableName],
    schemas: Collection[str] = (),
) -> Target:
    server = checks_server.facts(conn)
    wanted = sorted({route.target for route in routes})
    looked = [PROGRESS_SCHEMA, *{name.schema for name in wanted}, *schemas]
    return Target(
        conn,
        login,
        server,
        routes,
        create_target,
        frozenset(fresh),
        {s.name: s for s in read(conn, Schema, _SCHEMAS, (looked,))},
        {t.name: t for t in checks_target_tables.existing(conn, wanted)},
        _replica_role(conn),
    )


def _bound(at: Target, checks: Iterable[TargetCheck]) -> list[Callable[[], Iterable[Finding]]]:
    return [partial(check, at) for check in checks]


def _replica_role(conn: Connection) -> bool:
    """Whether the user may set session_replication_role: tried, and rolled back."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _general(at: Target) -> Iterator[Finding]:
    yield from checks_server.version(at.server, "target")
    yield from checks_server.encoding(at.server, "target")


def standby(at: Target) -> Iterator[Finding]:
    """A standby takes no writes."""
    if at.server.standby:
        yield Finding(
            "standby",
            "error",
            "target",
            f"{at.login.host}:{at.login.port} is a standby: it takes no writes.",
            "Point the connection at the primary.",
        )


def collisions(at: Target) -> Iterator[Finding]:
    """Two tables of the source into one of the target."""
    sources: dict[TableName, list[TableName]] = defaultdict(list)
    for route in at.routes:
        sources[route.target].append(route.source.name)
    for target, names in sources.items():
        if len(names) > 1:
            yield Finding(
                "target_collision",
                "error",
                "target",
                f"{checks_server.listing(names)} would all be written to {target}.",
                "Give each its own `target` in the spec.",
                subject=str(target),
            )


def writers(at: Target, pipeline: str | None) -> Iterator[Finding]:
    """Tables that other pipelines write, of whatever installation and by whatever address: the target knows."""
    readable = checks_server.values(at.conn, _PROGRESS)
    if pipeline is None or not (readable and readable[0][0]):
        return
    names = [route.target for route in at.routes]
    given = ([n.schema for n in names], [n.name for n in names], pipeline)
    for schema, name, other in checks_server.values(at.conn, _WRITERS, given):
        table = TableName(schema, name)
        yield Finding(
            "target_written",
            "error",
            "target",
            f"{table} has the progress of pipeline {other}, which may run elsewhere or name this server otherwise.",
            "Give the table another `target`, or delete that pipeline. Only where it was lost with its installation, "
            "run the fix, which forgets it.",
            f"DELETE FROM headrace.progress WHERE pipeline = {literal(other)};",  # nosec B608  # quoted
            str(table),
        )


def progress_schema(at: Target) -> Iterator[Finding]:
    """Schema headrace holds the progress, in the transaction of the data; it has to be ours to use."""
    found = at.schemas.get(PROGRESS_SCHEMA)
    user = quoted(at.server.user)
    if found and not (found.usage and found.create_right):
        fix = f"GRANT USAGE, CREATE ON SCHEMA {PROGRESS_SCHEMA} TO {user};"
    elif not found and not at.server.create_right:
        fix = f"CREATE SCHEMA {PROGRESS_SCHEMA} AUTHORIZATION {user};"
    else:
        return
    yield Finding(
        "progress_schema",
        "error",
        "target",
        f"User {at.server.user} may not create or use schema {PROGRESS_SCHEMA}, where the progress is kept.",
        "Make the schema for the user.",
        fix,
        PROGRESS_SCHEMA,
    )


def temporary_tables(at: Target) -> Iterator[Finding]:
    """Changes come through temporary tables; everybody may make them unless somebody took it back."""
    if values(at.conn, "select has_database_privilege(current_database(), 'TEMP')") != [(True,)]:
        yield Finding(
            "temp_right",
            "error",
            "target",
            f"User {at.server.user} may not make temporary tables in {at.server.database}, through which changes come.",
            "Grant TEMPORARY on the database.",
            f"GRANT TEMPORARY ON DATABASE {quoted(at.server.database)} TO {quoted(at.server.user)};",
            at.server.database,
        )


def missing_tables(at: Target) -> Iterator[Finding]:
    """Tables that have to be made: by Headrace with the right to it, or by the user."""
    missing = [r for r in at.routes if r.target not in at.existing]
    if not at.create_target:
        for route in missing:
            yield Finding(
                "target_missing",
                "error",
                "target",
                f"Table {route.target} does not exist, and create_target is off.",
                "Create it, or set `create_target: true` in the spec.",
                subject=str(route.target),
            )
        return
    for schema in sorted({r.target.schema for r in missing}):
        yield from _creatable(at, schema)


def _creatable(at: Target, schema: str) -> Iterator[Finding]:
    found = at.schemas.get(schema)
    user = quoted(at.server.user)
    if found and not (found.create_right and found.usage):
        fix = f"GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {user};"
        what = f"create tables in schema {schema}"
    elif not found and not at.server.create_right:
        fix = f"CREATE SCHEMA {quoted(schema)} AUTHORIZATION {user};"
        what = f"create schema {schema}"
    else:
        return
    yield Finding(
        "target_create",
        "error",
        "target",
        f"User {at.server.user} may not {what}.",
        "Grant it, or create the tables yourself and set `create_target: false`.",
        fix,
        schema,
    )


def room(at: Target) -> Iterator[Finding]:
    """Whether there is any place for tables that are not known yet."""
    if at.server.create_right:
        return
    open_to_us = [name for (name,) in checks_server.values(at.conn, _ROOM)]
    only = f"only tables in {checks_server.listing(open_to_us)}" if open_to_us else "and tables nowhere"
    yield Finding(
        "target_create",
        "warning" if open_to_us else "error",
        "target",
        f"User {at.server.user} may not create schemas in {at.server.database}, {only}.",
        "Grant it, or create the tables yourself and set `create_target: false`.",
        f"GRANT CREATE ON DATABASE {quoted(at.server.database)} TO {quoted(at.server.user)};",
        at.server.database,
    )


def replica_role(at: Target) -> Iterator[Finding]:
    """Without the right nothing is wrong until triggers or foreign keys come; say how it is given."""
    if at.replica_role:
        return
    user = quoted(at.server.user)
    grantable = at.server.major >= 15
    yield Finding(
        "replication_role",
        "info",
        "target",
        f"User {at.server.user} may not set session_replication_role: triggers and foreign keys on the target "
        "tables would act on replicated rows, and are refused.",
        "Grant it if the target tables are to have any."
        if grantable
        else f"PostgreSQL {at.server.release} gives it to superusers only.",
        f"GRANT SET ON PARAMETER session_replication_role TO {user};" if grantable else None,
        at.server.user,
    )


CHECKS: tuple[TargetCheck, ...] = (
    _general,
    standby,
    collisions,
    progress_schema,
    temporary_tables,
    missing_tables,
    replica_role,
    *checks_target_tables.CHECKS,
)
