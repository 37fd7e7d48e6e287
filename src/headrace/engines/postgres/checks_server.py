"""What the checks of both sides share: facts about a server, fix SQL for its platform, and how checks run.

Every statement runs in a read-only transaction of its own; nothing here changes a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from psycopg.rows import class_row

from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.engines.postgres.names import literal
from headrace.errors import Finding, HeadraceError

Platform = Literal["plain", "rds", "cloudsql", "azure", "supabase"]
Row = TypeVar("Row")

OLDEST = 13
# Before these, a change of the publication was not seen by transactions that were open at the time, and
# their rows were not decoded: https://www.postgresql.org/docs/release/17.5/
MENDED = {13: 21, 14: 18, 15: 13, 16: 9, 17: 5}

_FACTS = """
select current_setting('server_version_num')::int as version, pg_is_in_recovery() as standby,
  pg_encoding_to_char(d.encoding) as encoding, d.datname::text as database, r.rolname::text as user,
  r.rolsuper as superuser, has_database_privilege(d.oid, 'CREATE') as create_right,
  coalesce((select case s.rolname when 'rds_superuser' then 'rds' when 'azure_pg_admin' then 'azure'
    when 'supabase_admin' then 'supabase' else 'cloudsql' end from pg_roles s where s.rolname in
    ('rds_superuser', 'azure_pg_admin', 'supabase_admin', 'cloudsqlsuperuser', 'alloydbsuperuser')
    limit 1), 'plain') as platform
from pg_database d, pg_roles r where d.datname = current_database() and r.rolname = current_user"""


@dataclass(frozen=True, slots=True)
class Server:
    """Facts about one server as one user sees them. version: as ``server_version_num`` (150018)."""

    version: int
    standby: bool
    encoding: str
    database: str
    user: str
    superuser: bool
    create_right: bool
    platform: Platform

    @property
    def major(self) -> int:
        """15 of 15.18."""
        return self.version // 10000

    @property
    def release(self) -> str:
        """``15.18``."""
        return f"{self.major}.{self.version % 10000}"


def open_checked(login: Login) -> Connection:
    """A connection for checks: read only, no statement longer than 10 s, no lock awaited longer than 3 s."""
    return connect(
        login,
        name="headrace check",
        default_transaction_read_only="on",
        statement_timeout="10s",
        lock_timeout="3s",
    )


def facts(conn: Connection) -> Server:
    """Read the facts. Raises HeadraceError."""
    return read(conn, Server, _FACTS)[0]


def read(
    conn: Connection, row: type[Row], query: str, params: Sequence[Any] | Mapping[str, Any] = ()
) -> list[Row]:
    """Rows of a query as ``row``, matched by column name. Raises HeadraceError."""
    with translated(), conn.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(query.encode(), params).fetchall()


def values(
    conn: Connection, query: str, params: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """Rows of a query as tuples. Raises HeadraceError."""
    with translated():
        return conn.execute(query.encode(), params).fetchall()


def run(side: str, checks: Iterable[Callable[[], Iterable[Finding]]]) -> list[Finding]:
    """All findings of all checks; a check that cannot run becomes a finding itself."""
    found: list[Finding] = []
    for check in checks:
        try:
            with translated():
                found.extend(check())
        except HeadraceError as error:
            found.append(Finding(error.code, "error", side, error.message, error.guidance))
    return found


def listing(names: Iterable[object], most: int = 5) -> str:
    """``a, b, c and 4 more``."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def setting(server: Server, name: str, value: str, *, restart: bool) -> tuple[str, str | None]:
    """How a server setting is changed here: guidance, and SQL where ALTER SYSTEM is allowed."""
    match server.platform:
        case "plain":
            change = f"ALTER SYSTEM SET {name} = {literal(value)};"
            if restart:
                return f"Set {name}, then restart the server.", change
            return f"Set {name} and reload.", f"{change}\nSELECT pg_reload_conf();"
        case "rds":
            name, value = ("rds.logical_replication", "1") if name == "wal_level" else (name, value)
            where = "the DB parameter group (Aurora: the DB cluster parameter group)"
        case "cloudsql":
            name, value = ("cloudsql.logical_decoding", "on") if name == "wal_level" else (name, value)
            where = "the flags of the instance (AlloyDB: alloydb.logical_decoding)"
        case "azure":
            where = "the server parameters of the flexible server"
        case "supabase":
            where = "the project's Postgres config (`supabase postgres-config update`)"
    return f"Set `{name}` to {value} in {where}{', then restart' if restart else ''}.", None


def version(server: Server, side: str) -> Iterator[Finding]:
    """Too old a server, or (on the source) a minor with a known loss."""
    if server.major < OLDEST:
        yield Finding(
            "version",
            "error",
            side,
            f"PostgreSQL {server.release} is not supported; {OLDEST} is the oldest that is.",
            "Upgrade the server.",
        )
    elif side == "source" and server.version % 10000 < MENDED.get(server.major, 0):
        mended = f"{server.major}.{MENDED[server.major]}"
        yield Finding(
            "old_minor",
            "warning",
            side,
            f"PostgreSQL {server.release} may skip rows of transactions that are open while a publication "
            f"changes; {mended} mended it.",
            f"Upgrade to {mended} or later. Until then Headrace waits out such transactions.",
        )


def encoding(server: Server, side: str) -> Iterator[Finding]:
    """A database that cannot hold, or does not declare, every character."""
    if server.encoding == "UTF8":
        return
    text = (
        "the bytes of its text are not checked, and what is not valid UTF-8 cannot be carried"
        if server.encoding == "SQL_ASCII"
        else "rows with characters outside it go to the dead letters"
        if side == "target"
        else "text is converted to UTF-8 on the way"
    )
    yield Finding(
        "encoding",
        "warning",
        side,
        f"Database {server.database} is encoded in {server.encoding}: {text}.",
        "Use a database with ENCODING 'UTF8' where text of more than one language is kept.",
    )
