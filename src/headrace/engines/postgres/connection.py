"""Opening PostgreSQL connections, and the one place where psycopg's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg.rows import TupleRow

from headrace.errors import Bug, Conflict, Denied, HeadraceError, Invalid, NotFound, Precondition, Unavailable

Connection = psycopg.Connection[TupleRow]

_NO_FILE = "/nonexistent/headrace"
# Text of values must not depend on who reads them: both sides speak under the same settings.
FIXED = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "xmloption": "content",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "standard_conforming_strings": "on",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    # What a role or a database is limited to is meant for people; a load takes as long as it takes.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
# Version -> a limit that came with it: older ones refuse a connection that names it.
_LATER = {140000: "idle_session_timeout", 170000: "transaction_timeout"}


@dataclass(frozen=True, slots=True)
class Login:
    """Where a database is and who we are there. tls: ``disable|prefer|require|verify-full``.

    further: settings of libpq and their values, which count before our own.
    """

    host: str
    database: str
    user: str
    password: str = field(default="", repr=False)
    port: int = 5432
    tls: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    further: tuple[tuple[str, str], ...] = ()


def connect(
    login: Login, *, name: str = "headrace", autocommit: bool = True, seconds: int = 10, **options: str
) -> Connection:
    """A connection with fixed text settings and TCP keepalives.

    seconds: to connect. options: further server settings for the session. Raises Unavailable, Denied, NotFound or Precondition.
    """
    settings = {**FIXED, **options}
    ours: dict[str, Any] = {
        "application_name": name,
        "connect_timeout": seconds,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60000,
    }
    with translated(login):
        conn = psycopg.connect(
            host=login.host,
            port=login.port,
            dbname=login.database,
            user=login.user,
            # Left out, libpq would look for one in the environment and in files of whoever runs this process.
            password=login.password,
            passfile=_NO_FILE,
            sslmode=login.tls,
            sslrootcert=login.ca,
            sslcert=login.cert,
            sslkey=login.key,
            options=_options(settings),
            autocommit=autocommit,
            client_encoding="UTF8",
            **{**ours, **dict(login.further)},
        )
        try:
            _lift_later_limits(conn)
        except BaseException:
            conn.close()
            raise
        return conn


def _lift_later_limits(conn: Connection) -> None:
    if limits := [f"SET {name} = 0" for name in _later(conn.info.server_version)]:
        conn.execute("; ".join(limits).encode())
        if not conn.autocommit:
            conn.commit()


def _later(version: int) -> list[str]:
    return [name for since, name in _LATER.items() if version >= since]


def foreign_options(version: int) -> str:
    """``options`` for somebody else's sessions whose values we read, as pgjdbc takes them.

    version: of the server, as ``server_version_num``.
    """
    settings = {k: v for k, v in FIXED.items() if k != "search_path"} | dict.fromkeys(_later(version), "0")
    return _options(settings)


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {k}={_escaped(v)}" for k, v in settings.items())


def open_bulk(login: Login) -> Connection:
    """A connection for bulk writing into a target, triggers off where we may."""
    conn = connect(login, name="headrace load", lock_timeout="30s", maintenance_work_mem="256MB")
    replica_role(conn)
    return conn


def replica_role(conn: Connection) -> bool:
    """Switch triggers and foreign keys off for the session, where the user may; leaves no transaction open."""
    try:
        conn.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        conn.rollback()
        return False
    conn.commit()
    return True


def own_schema(conn: Connection) -> None:
    """Make schema ``headrace`` unless it is there."""
    # IF NOT EXISTS alone is refused to whoever may not create schemas, even where it exists.
    if conn.execute("SELECT to_regnamespace('headrace')").fetchone() == (None,):
        conn.execute("CREATE SCHEMA IF NOT EXISTS headrace")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


@contextmanager
def translated(login: Login | None = None) -> Iterator[None]:
    """Turn psycopg's errors into Headrace's; nothing of psycopg leaves the engine."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, login) from error


# SQLSTATE, or its class of two characters -> (error, code, guidance)
_BY_STATE: dict[str, tuple[type[HeadraceError], str, str]] = {
    "28P01": (Denied, "wrong_password", "Check user and password of the connection."),
    "28000": (Denied, "login_refused", "Check the user, and the server's pg_hba.conf for this client."),
    "3D000": (NotFound, "no_such_database", "Check the database name of the connection."),
    "42501": (Denied, "missing_right", "Grant the right; `headrace check` prints the SQL."),
    "42P01": (
        NotFound,
        "no_such_table",
        "The table is gone or was renamed; compare with `headrace discover`.",
    ),
    "42703": (Precondition, "no_such_column", "The table changed; resync it."),
    "42710": (Conflict, "exists_already", "Another object has that name."),
    "42P07": (Conflict, "exists_already", "Another object has that name."),
    "53100": (Unavailable, "disk_full", "Free space on the server; Headrace goes on by itself."),
    "53300": (Unavailable, "too_many_connections", "Raise max_connections, or wait."),
    "53400": (Precondition, "limit_reached", "Raise the server's limit named in the message."),
    "55006": (Conflict, "in_use", "Something else uses it; wait or stop the other user."),
    "57014": (Unavailable, "canceled", "The statement was cancelled or timed out; it is tried again."),
    "0A": (Precondition, "not_supported", "The server does not support what is needed."),
    "08": (Unavailable, "connection_lost", "Check that the server runs and can be reached."),
    "22": (Invalid, "bad_value", "The target refused a value."),
    "23": (Precondition, "constraint", "The target refused a row because of a constraint."),
    "40": (Unavailable, "serialization", "A conflict with another transaction; it is tried again."),
    "53": (Unavailable, "out_of_resources", "The server lacks resources; it is tried again."),
    "55": (Conflict, "in_use", "Something else holds it; it is tried again."),
    "57": (Unavailable, "server_stopping", "The server is stopping or starting; it is tried again."),
    "58": (Unavailable, "server_io", "The server cannot read or write its files; see its log."),
    "XX": (Unavailable, "server_error", "The server reports an internal error; see its log."),
}


def translate(error: psycopg.Error, login: Login | None = None) -> HeadraceError:
    """The Headrace error for one of psycopg's."""
    where = f"{login.host}:{login.port}/{login.database}" if login else ""
    state = error.sqlstate or ""
    message = (error.diag.message_primary or str(error)).strip()
    context: dict[str, Any] = {"sqlstate": state, "server": where}
    for name in ("table_name", "column_name", "constraint_name", "message_detail"):
        if value := getattr(error.diag, name, None):
            context[name] = value
    known = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
    if known:
        kind, code, guidance = known
        return kind(code, f"{where}: {message}" if where else message, guidance, context)
    if not state and isinstance(error, psycopg.OperationalError):
        return _not_connected(str(error).strip(), where, context)
    return Bug("database_error", f"{where}: {message}" if where else message, "See the context.", context)


def _not_connected(text: str, where: str, context: dict[str, Any]) -> HeadraceError:
    low = text.lower()
    # libpq goes on with hints, indented or under a heading of their own.
    said = [t for t in text.splitlines() if t and not t[0].isspace() and not t.startswith(("DETAIL", "HINT"))]
    last = f"{where}: {said[-1] if said else 'connection failed'}" if where else (said or [text])[-1]
    if "password authentication failed" in low or "no password supplied" in low:
        return Denied("wrong_password", last, "Check user and password of the connection.", context)
    if any(
        sign in low for sign in ("no pg_hba.conf entry", "not permitted to log in", "permission denied")
    ) or ("role" in low and "does not exist" in low):
        return Denied("login_refused", last, "Check the user, its rights and pg_hba.conf.", context)
    if "database" in low and "does not exist" in low:
        return NotFound("no_such_database", last, "Check the database name.", context)
    if any(sign in low for sign in ("closed unexpectedly", "unexpected eof", "syscall", "connection reset")):
        # An encrypted connection that breaks speaks of SSL as well.
        return Unavailable("connection_lost", last, "Check that the server can be reached.", context)
    if "ssl" in low or "certificate" in low:
        return Precondition("tls", last, "Set `tls` of the connection to what the server offers.", context)
    if "could not translate host name" in low or "failed to resolve host" in low or "name or service" in low:
        return Unavailable("unknown_host", last, "Check the host name of the connection.", context)
    if "refused" in low:
        return Unavailable("refused", last, "Check host, port and that the server runs.", context)
    if "too many" in low:
        return Unavailable("too_many_connections", last, "Raise max_connections, or wait.", context)
    return Unavailable("connection_lost", last, "Check that the server can be reached.", context)
