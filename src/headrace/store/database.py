"""The metadata database: opening, migrating, transactions, and the one place where its errors become ours."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoTurn

from headrace.errors import Bug, Conflict, Unavailable
from headrace.secrecy import make_private
from headrace.store.pulse import Pulse
from headrace.store.shape import lock_shape, upgrade

_BUSY_MS = 30_000
# So long somebody waits until one of the others gives back their connection.
_TURN_SECONDS = 5


def now() -> datetime:
    """The current instant, aware, UTC."""
    return datetime.now(UTC)


def open_engine(address: str) -> Engine:
    """An engine for a SQLAlchemy URL, its database migrated to the newest shape."""
    engine = connect(address)
    with writing(engine) as connection:
        lock_shape(connection)
        upgrade(connection)
    return engine


def connect(address: str) -> Engine:
    """An engine for a SQLAlchemy URL, its database as it is."""
    url = make_url(address)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return _sqlite(url.database or "", url)
    engine = create_engine(
        url, pool_pre_ping=True, pool_size=5, max_overflow=15, pool_recycle=1800, pool_timeout=_TURN_SECONDS
    )
    Pulse().attend(engine)
    return engine


def _sqlite(path: str, url: Any) -> Engine:
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_MS / 1000, "check_same_thread": False})
    event.listen(engine, "do_connect", lambda *_: _keep_private(path))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _keep_private(path: str) -> None:
    """Hashes of passwords are nobody else's business; what SQLite puts beside the file has the file's mode."""
    if path not in ("", ":memory:") and not path.startswith("file:"):
        # What cannot be made is told by SQLite. One that is there may not be opened here: to close it would take away
        # the locks that others of this process hold (https://sqlite.org/howtocorrupt.html, 2.2).
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600))
        make_private(Path(path))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling starts them too late for DDL and for locking; we say BEGIN.
    connection.isolation_level = None
    for pragma in (f"busy_timeout = {_BUSY_MS}", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: Any) -> None:
    """Switch to a write-ahead log; SQLite does not wait for others by itself while a fresh file is switched."""
    until = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer can meet a newer state and fail; a writer takes the lock at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads."""
    with _translated(), _in_turn(engine), engine.connect() as connection:
        yield connection


# SQLite's driver gives up the interpreter's lock for every row, so that many readers at once mostly take it from each
# other: two hundred requests a second took four times the processor (bench/api_load.py).
_turn = threading.RLock()


def _in_turn(engine: Engine) -> AbstractContextManager[Any]:
    return _turn if engine.dialect.name == "sqlite" else nullcontext()


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, and sees one state however long it does."""
    # SQLite's readers see one state as it is.
    frozen = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(**frozen)
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back on any error."""
    with _translated(), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict(
            "exists_already", "Something else stored the same at the same time", "Try again.", {}
        ) from error
    except DBAPIError as error:
        raise Unavailable(
            "metadata_unavailable",
            f"The metadata database does not answer: {error.orig}",
            "Check HEADRACE_DATABASE_URL, that its server runs, and space on its disk.",
        ) from error
    except NoTurn as error:
        raise Unavailable(
            "metadata_unavailable",
            f"The metadata database does not keep up: no connection was free within {_TURN_SECONDS} seconds",
            "Try again in a moment; if it stays, see what its server waits for.",
        ) from error
    except SQLAlchemyError as error:
        raise Bug("metadata", f"The metadata database: {error}") from error
