"""PostgreSQL servers for the demo and for tests: private, on 127.0.0.1, gone when we are.

As root they run as nobody (initdb refuses root), so their folder has to be reachable by others: the default, a
temporary one, is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from headrace.errors import Unavailable
from headrace.local.pgbinaries import home_of, open_to_all
from headrace.local.ports import HOST, free_port
from headrace.local.process import Service, tail
from headrace.local.scoped import Scoped

NOBODY = 65534
SOCKET_PATH_BYTES = 80
SETTINGS: Mapping[str, object] = {
    "wal_level": "logical",
    "max_replication_slots": 20,
    "max_wal_senders": 20,
    "max_connections": 100,
    "listen_addresses": HOST,
}


class PostgresServer(Scoped):
    """One server in a folder of its own; also a context manager.

    folder: None for a temporary one, removed by ``stop``. version: major, 13 to 18. port: 0 for a free one. password:
    of the superuser ``postgres``; None means trust. fsync: off makes tests quicker and crashes unsafe. settings:
    configuration parameters; change ``self.settings`` before ``restart`` to apply others.
    """

    def __init__(
        self,
        folder: Path | None = None,
        version: str = "18",
        port: int = 0,
        settings: Mapping[str, object] | None = None,
        *,
        password: str | None = "postgres",
        fsync: bool = True,
    ) -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="headrace-pg-"))
        self.version = version
        self.port = port or free_port()
        self.password = password
        self.settings: dict[str, object] = {**SETTINGS, "fsync": fsync, **(settings or {})}
        self._uid = NOBODY if os.getuid() == 0 else None
        self._home: Path | None = None
        self.service = Service(
            name="postgres",
            command=self._command,
            healthy=self._healthy,
            log=self.folder / "log",
            url=f"{HOST}:{self.port}",
            stop_signal=signal.SIGINT,
            last_signal=signal.SIGQUIT,
            uid=self._uid,
        )

    @property
    def home(self) -> Path:
        """Folder above this server's ``bin``; fetched when needed."""
        if self._home is None:
            home = home_of(self.version)
            self._home = open_to_all(home) if self._uid is not None else home
        return self._home

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.folder / "data"

    @property
    def conninfo(self) -> str:
        """libpq connection string of the superuser, database ``postgres``."""
        return self.conninfo_of("postgres")

    def conninfo_of(self, database: str) -> str:
        """libpq connection string of the superuser for another database."""
        password = {"password": self.password} if self.password else {}
        return make_conninfo("", host=HOST, port=self.port, user="postgres", dbname=database, **password)

    def start(self) -> Self:
        """Initialise on the first start, start, wait until it takes connections; Unavailable."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self.service.start()
        self.service.wait_healthy()
        return self

    def stop(self) -> None:
        """Fast shutdown; a folder that we made is removed."""
        self.service.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the server and all its backends, which lead sessions of their own."""
        process = self.service.identity.find() if self.service.identity else None
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.service.kill()
        psutil.wait_procs(family[1:], timeout=10)

    def restart(self) -> None:
        """Stop if it runs, start with the settings of now."""
        self.service.stop()
        self.start()

    def _healthy(self) -> bool:
        try:
            psycopg.connect(self.conninfo, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _command(self) -> list[str]:
        sockets = str(self.folder) if len(str(self.folder)) < SOCKET_PATH_BYTES else ""
        settings = self.settings | {"port": self.port, "unix_socket_directories": sockets}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={_setting(value)}")]
        return [str(self.home / "bin" / "postgres"), "-D", str(self.data), *options]

    def _initialise(self) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password or "")
        if self._uid is not None:
            os.chown(self.folder, self._uid, self._uid)
            os.chown(secret, self._uid, self._uid)
        try:
            done = self._initdb(secret, "C.UTF-8")
            if done.returncode and "locale" in done.stderr:
                done = self._initdb(secret, "C")
        finally:
            secret.unlink()
        if done.returncode:
            raise Unavailable(
                "initdb",
                f"PostgreSQL {self.version} could not be initialised in {self.folder}.",
                "Check space and rights of the folder; as root it must be reachable by other users.",
                {"output": done.stderr[-2000:], "log": tail(self.service.log)},
            )

    def _initdb(self, secret: Path, locale: str) -> subprocess.CompletedProcess[str]:
        auth = ["--auth=scram-sha-256", f"--pwfile={secret}"] if self.password else ["--auth=trust"]
        initdb = self.home / "bin" / "initdb"
        return subprocess.run(  # nosec B603  # our own words, no shell
            [
                str(initdb),
                "-D",
                str(self.data),
                "-U",
                "postgres",
                "-E",
                "UTF8",
                f"--locale={locale}",
                *([] if self.settings["fsync"] else ["--no-sync"]),
                *auth,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            timeout=120,
            user=self._uid,
            group=self._uid,
            extra_groups=None if self._uid is None else [],
        )


def _setting(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
