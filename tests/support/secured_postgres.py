"""A PostgreSQL that lets the role ``cdc`` in by TLS, a client's certificate and a password together only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from headrace.local.postgres import NOBODY, PostgresServer

from .certificates import Authority

ROLE, PASSWORD = "cdc", "of-the-source"  # pragma: allowlist secret
_RULES = f"""\
hostssl all {ROLE} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
host all {ROLE} 127.0.0.1/32 reject
"""


@contextmanager
def secured_postgres(authority: Authority) -> Iterator[PostgresServer]:
    """The server; the superuser ``postgres`` enters as ever."""
    with PostgresServer(version="17", fsync=False) as server:
        own = authority.identity("postgres")
        for name, source in (("cert", own.cert_file), ("key", own.key_file), ("ca", authority.file)):
            file = server.folder / name
            file.write_bytes(source.read_bytes())
            file.chmod(0o600)
            if os.getuid() == 0:
                os.chown(file, NOBODY, NOBODY)
            server.settings[f"ssl_{name}_file"] = file
        server.settings["ssl"] = True
        rules = server.data / "pg_hba.conf"
        rules.write_text(_RULES + rules.read_text())
        server.restart()
        with psycopg.connect(server.conninfo, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        yield server
