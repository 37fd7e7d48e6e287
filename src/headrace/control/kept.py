"""A connection that is kept: watching a database once a second must not cost it a login each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.engines.postgres.connection import Connection, Login, connect


class Kept:
    """One connection for short questions; whatever goes wrong on it, the next user gets a new one.

    Not for several threads.
    """

    def __init__(self, login: Login, name: str = "headrace control") -> None:
        self._login, self._name = login, name
        self._conn: Connection | None = None

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """The connection, opened when there is none."""
        if self._conn is None or self._conn.closed:
            self._conn = connect(self._login, name=self._name)
        try:
            yield self._conn
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give it back."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
