"""Logins that a server refuses, in its own words."""

from __future__ import annotations

import pytest

from headrace.engines.postgres.connection import Login, connect
from headrace.errors import Denied
from headrace.local.postgres import PostgresServer

REFUSED = {
    "a role that may not log in": "CREATE ROLE nobody NOLOGIN PASSWORD 'x'",
    "a database that is closed to it": "CREATE ROLE nobody LOGIN PASSWORD 'x'; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
}


@pytest.mark.parametrize("prepared", REFUSED.values(), ids=list(REFUSED))
def test_login_refused(prepared: str) -> None:
    with PostgresServer(fsync=False) as server:
        admin = Login("127.0.0.1", "postgres", "postgres", server.password or "", server.port)
        with connect(admin) as conn:
            conn.execute(prepared.encode())
        with pytest.raises(Denied) as refused:
            connect(Login("127.0.0.1", "postgres", "nobody", "x", server.port))
        assert refused.value.code == "login_refused"
        assert refused.value.guidance
