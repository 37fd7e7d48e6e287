"""Connections kept for short questions of the control plane, a few for each place, and a fuse for places that are away.

A pool that connects in the background would say "timed out" where the server said why; here the caller connects.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus

from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.errors import HeadraceError, Unavailable
from headrace.fuse import Fuse

CONNECT_SECONDS = 5
# For a turn, while nobody has got through to the server yet; a server that answers may be waited for longer.
PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_MOST = 4
_IDLE_SECONDS = 30.0
_WAIT_SECONDS = 10.0
_STATEMENT = "15s"
_FAILURES = 3
_REST_SECONDS = 5.0


class _Place:
    """What is kept of one login. answers: whether its server did when it was connected to last."""

    def __init__(self, login: Login) -> None:
        self.turns, self.answers = threading.Semaphore(_MOST), False
        self.fuse = Fuse(
            "database",
            f"{login.host}:{login.port}",
            "Check that the server runs and can be reached.",
            Unavailable,
            failures=_FAILURES,
            rest=_REST_SECONDS,
            most=_MOST,
            patience=0,
        )


class Pool:
    """Connections by login; threads may share it. Sessions are read-only, statements end after 15 s."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Login, list[tuple[float, Connection]]] = defaultdict(list)
        self._places: dict[Login, _Place] = {}

    @contextmanager
    def use(self, login: Login) -> Iterator[Connection]:
        """A connection. Unavailable ``database_resting`` while its server has just failed several times, ``database_busy``."""
        with self._lock:
            place = self._places.setdefault(login, _Place(login))
        _await_turn(login, place)
        try:
            conn = self._take(login) or _open(login, place)
            try:
                with translated(login):
                    yield conn
            except BaseException:
                conn.close()
                raise
            self._give_back(login, conn)
        finally:
            place.turns.release()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, defaultdict(list)
        for kept in idle.values():
            for _, conn in kept:
                conn.close()

    def _take(self, login: Login) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle[login]:
                    return None
                since, conn = self._idle[login].pop()
            if time.monotonic() - since < _IDLE_SECONDS and _alive(conn):
                return conn
            conn.close()

    def _give_back(self, login: Login, conn: Connection) -> None:
        if conn.closed or conn.info.transaction_status != TransactionStatus.IDLE:
            conn.close()
            return
        with self._lock:
            self._idle[login].append((time.monotonic(), conn))
            old = [c for since, c in self._idle[login] if time.monotonic() - since > _IDLE_SECONDS]
            self._idle[login] = [(s, c) for s, c in self._idle[login] if c not in old]
        for gone in old:
            gone.close()


def _await_turn(login: Login, place: _Place) -> None:
    began = time.monotonic()
    while not place.turns.acquire(timeout=_LOOK_SECONDS):
        waited = time.monotonic() - began
        if waited >= (_WAIT_SECONDS if place.answers else PATIENCE_SECONDS):
            raise Unavailable(
                "database_busy",
                f"{login.host} is being asked by as many as it may be",
                "Try again in a moment.",
                {"retry_after": 1},
            )


def _open(login: Login, place: _Place) -> Connection:
    with place.fuse.turn():
        found = _connected(login, place)
    if isinstance(found, HeadraceError):
        raise found
    return found


def _connected(login: Login, place: _Place) -> Connection | HeadraceError:
    """A connection, or why the server that answered gives none: the fuse takes either for an answer."""
    try:
        conn = connect(
            login,
            name="headrace discovery",
            seconds=CONNECT_SECONDS,
            statement_timeout=_STATEMENT,
            default_transaction_read_only="on",
        )
    except Unavailable:
        place.answers = False
        raise
    except HeadraceError as error:
        return error
    place.answers = True
    return conn


def _alive(conn: Connection) -> bool:
    with suppress(psycopg.Error):
        conn.execute("SELECT 1")
        return True
    return False
