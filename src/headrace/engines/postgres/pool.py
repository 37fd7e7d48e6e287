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
import pybreaker
from psycopg.pq import TransactionStatus

from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.errors import HeadraceError, Unavailable

_MOST = 4
_IDLE_SECONDS = 30.0
_WAIT_SECONDS = 10.0
_STATEMENT = "15s"
_FAILURES = 3
_REST_SECONDS = 5.0


class Pool:
    """Connections by login; threads may share it. Sessions are read-only, statements end after 15 s."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Login, list[tuple[float, Connection]]] = defaultdict(list)
        self._turns: dict[Login, threading.Semaphore] = {}
        self._fuses: dict[Login, pybreaker.CircuitBreaker] = {}

    @contextmanager
    def use(self, login: Login) -> Iterator[Connection]:
        """A connection. Unavailable ``database_resting`` while its server has just failed several times, ``database_busy``."""
        turn = self._turn(login)
        if not turn.acquire(timeout=_WAIT_SECONDS):
            raise Unavailable(
                "database_busy", f"{login.host} is being asked too much", "Try again in a moment."
            )
        try:
            conn = self._take(login) or self._open(login)
            try:
                with translated(login):
                    yield conn
            except BaseException:
                conn.close()
                raise
            self._give_back(login, conn)
        finally:
            turn.release()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, defaultdict(list)
        for kept in idle.values():
            for _, conn in kept:
                conn.close()

    def _turn(self, login: Login) -> threading.Semaphore:
        with self._lock:
            return self._turns.setdefault(login, threading.Semaphore(_MOST))

    def _open(self, login: Login) -> Connection:
        with self._lock:
            fuse = self._fuses.get(login)
            if fuse is None:
                fuse = self._fuses[login] = pybreaker.CircuitBreaker(
                    _FAILURES, _REST_SECONDS, exclude=[lambda e: getattr(e, "kind", "") != "unavailable"]
                )
        try:
            return fuse.call(_connect, login)
        except pybreaker.CircuitBreakerError as error:
            # The failure that blows the fuse is told as it is.
            if isinstance(error.__cause__, HeadraceError):
                raise error.__cause__ from None
            raise Unavailable(
                "database_resting",
                f"{login.host}:{login.port} did not answer several times; it is asked again in a few seconds",
                "Check that the server runs and can be reached.",
                {"retry_after": int(_REST_SECONDS)},
            ) from None

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


def _connect(login: Login) -> Connection:
    return connect(
        login, name="headrace discovery", statement_timeout=_STATEMENT, default_transaction_read_only="on"
    )


def _alive(conn: Connection) -> bool:
    with suppress(psycopg.Error):
        conn.execute("SELECT 1")
        return True
    return False
