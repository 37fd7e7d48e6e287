"""Calls of a PostgreSQL that has frozen come to an end, while what merely takes long is left alone.

Neither end of a frozen server says anything: its kernel still acknowledges every packet, so no option of sockets helps, and
its own statement_timeout is frozen with it. So whoever waits for an answer looks now and then whether a new connection
is answered: one that is not ends the call, and for a moment those that come after it, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from sqlalchemy import Engine, event

# All of them seconds.
PATIENCE = 2.0
CONNECT = 4
_REST = 2.0
_FRESH = 1.0
_LONGEST_PAUSE = 10.0
# A network that swallows what is sent; libpq's words, tcp_user_timeout in milliseconds.
_SOCKET = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}


class Pulse:
    """Whether the server of an engine answers; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lives, self._known_at, self._resting_until = True, 0.0, 0.0

    def attend(self, engine: Engine) -> None:
        """Have every connection of the engine end its calls when the server is frozen."""
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, dialect: Any, _record: Any, words: Any, given: dict[str, Any]) -> Any:
        """A connection; the driver's OperationalError when none comes in time, at once shortly after such a one."""
        given = {"connect_timeout": CONNECT, **_SOCKET, **given}
        if time.monotonic() < self._resting_until:
            raise _silent(dialect)

        def connect() -> Any:
            try:
                return dialect.connect(*words, **given)
            except dialect.dbapi.errors.ConnectionTimeout:
                self._resting_until = time.monotonic() + _REST
                raise

        def lives() -> bool:
            try:
                connect().close()
            except dialect.dbapi.Error as error:
                # A refusal is an answer as well.
                return not isinstance(error, dialect.dbapi.errors.ConnectionTimeout)
            return True

        connection = connect()
        wait = connection.wait

        def require_life() -> None:
            if not self._answers(lives):
                connection.close()
                raise _silent(dialect)

        connection.wait = lambda calls, *args, **kwargs: wait(_watched(calls, require_life), *args, **kwargs)
        return connection

    def _answers(self, lives: Callable[[], bool]) -> bool:
        """What was just found out holds for all who ask."""
        with self._lock:
            if time.monotonic() - self._known_at > _FRESH:
                self._lives = lives()
                self._known_at = time.monotonic()
            return self._lives


def _watched(calls: Generator[Any, Any, Any], require_life: Callable[[], None]) -> Generator[Any, Any, Any]:
    """The driver's own waiting, with a look at the server now and then; seldom where something takes really long."""
    pause = PATIENCE
    look_at = time.monotonic() + pause
    try:
        state = next(calls)
        while True:
            # The driver wakes up ten times a second, with nothing, while it waits.
            ready = yield state
            if not ready and time.monotonic() > look_at:
                require_life()
                pause = min(2 * pause, _LONGEST_PAUSE)
                look_at = time.monotonic() + pause
            state = calls.send(ready)
    except StopIteration as end:
        return end.value


def _silent(dialect: Any) -> Exception:
    error: Exception = dialect.dbapi.OperationalError("the server has stopped answering")
    return error
