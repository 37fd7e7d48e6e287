"""What every system works on: two servers with the same settings, the engine, and an eye on the CPU."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import psycopg

from headrace.local import aot
from headrace.local.pgbinaries import find_pgbench, find_psql
from headrace.local.ports import free_port
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack

Conn = psycopg.Connection[Any]

TABLE = "pgbench_accounts"
# The same for source and target, whoever uses them.
SERVER: Mapping[str, object] = {
    "shared_buffers": "256MB",
    "wal_compression": "off",
    # Segments are kept and used again, so that no run pays for new ones.
    "max_wal_size": "4GB",
    "min_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "track_commit_timestamp": "on",
}


class Wrong(Exception):
    """The target is not what the source is, or something did not come about: the bench has failed."""


def until(check: Callable[[], Any], seconds: float, what: str, pause: float = 0.02) -> Any:
    """Poll until ``check`` gives something true; its value. Wrong after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        if time.monotonic() > deadline:
            raise Wrong(f"{what} did not come about within {seconds:.0f} s")
        time.sleep(pause)
    return value


@dataclass(frozen=True, slots=True)
class Ends:
    """A source database and a target database made for one run."""

    source: str
    target: str


class Ground:
    """Servers and engine for a whole bench; a context manager."""

    def __init__(self) -> None:
        self.source = PostgresServer(settings=SERVER)
        self.target = PostgresServer(settings=SERVER)
        self.stack = Stack(plugins=("debezium-postgres", "jdbc"))
        self.port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sums: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Ground:
        # As an installation has them that was idle once.
        aot.train()
        try:
            self.source.start()
            self.target.start()
            self.stack.start()
            self._start("server", "--port", str(self.port))
            self._start("worker")
            until(self._answers, 60, "the API server")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        self.stack.stop()
        self.source.stop()
        self.target.stop()

    # -- Headrace -------------------------------------------------------------------------------------

    def _start(self, name: str, *more: str) -> None:
        with (self.stack.settings.data / "logs" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "headrace", name, *more],
                env=os.environ | self.stack.settings.environment(),
                stdout=log,
                stderr=log,
            )

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/health/live", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    @property
    def url(self) -> str:
        """Headrace's API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """Its local token."""
        return self.stack.settings.token_file.read_text(encoding="ascii").strip()

    def headrace(self, *args: str) -> None:
        """Run the command line as a user does; Wrong when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *args, "--server", self.url],
            env=os.environ | {"HEADRACE_TOKEN": self.token},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Wrong(f"headrace {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    # -- databases ------------------------------------------------------------------------------------

    def sql(self, side: PostgresServer, database: str, *statements: str) -> list[Any]:
        """Run statements; the rows of the last."""
        with psycopg.connect(side.conninfo_of(database), autocommit=True) as conn:
            rows: list[Any] = []
            for statement in statements:
                found = conn.execute(statement.encode())
                rows = found.fetchall() if found.description else []
            return rows

    def make_source(self, name: str, rows: int) -> None:
        """A source database with pgbench's accounts table as ``pgbench -i`` leaves it, with ``rows`` rows."""
        self.sql(self.source, "postgres", f"CREATE DATABASE {name}")
        self.sql(
            self.source,
            name,
            ACCOUNTS,
            f"INSERT INTO {TABLE} SELECT aid, (aid - 1) / 100000 + 1, 0, '' FROM generate_series(1, {rows}) aid",
            f"ALTER TABLE {TABLE} ADD PRIMARY KEY (aid)",
            f"VACUUM ANALYZE {TABLE}",
        )

    @contextmanager
    def fresh_target(self, source: str) -> Iterator[Ends]:
        """An empty target database for a run on this source; dropped afterwards, both servers at rest before."""
        name = f"t{secrets.token_hex(4)}"
        self.sql(self.target, "postgres", f"CREATE DATABASE {name}", "CHECKPOINT")
        self.sql(self.source, "postgres", "CHECKPOINT")
        try:
            yield Ends(source, name)
        finally:
            self.sql(self.target, "postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def make_target_table(self, ends: Ends, *, key: bool) -> None:
        """The accounts table on the target, empty, with or without its primary key."""
        statements = [ACCOUNTS, *([f"ALTER TABLE {TABLE} ADD PRIMARY KEY (aid)"] if key else [])]
        self.sql(self.target, ends.target, *statements)

    def must_be_equal(self, ends: Ends, table: str = TABLE) -> None:
        """Compare both sides by SQL: the key, the number of rows and a checksum over every row; Wrong."""
        key = self.sql(
            self.target,
            ends.target,
            f"SELECT 1 FROM pg_index WHERE indrelid = '{table}'::regclass AND indisprimary AND indisvalid",
        )
        ours = self.sql(self.source, ends.source, _sum(table))
        theirs = self.sql(self.target, ends.target, _sum(table))
        if not key or ours != theirs:
            raise Wrong(f"{table}: source {ours}, target {theirs}, primary key {bool(key)}")

    def changed(self, source: str) -> None:
        """Tidy up a source after many updates, so that the next run finds what this one found."""
        self.sql(self.source, source, f"VACUUM ANALYZE {TABLE}")

    # -- writing --------------------------------------------------------------------------------------

    def pgbench(self, database: str, script: str, *options: str, commit: str = "on") -> None:
        """Run a pgbench script on the source to its end. commit: its ``synchronous_commit``."""
        path = self.stack.settings.data / f"{secrets.token_hex(4)}.sql"
        path.write_text(script, encoding="ascii")
        server = self.source
        subprocess.run(
            [
                str(find_pgbench()),
                *address(server),
                "-n",
                "-M",
                "prepared",
                "-f",
                str(path),
                *options,
                database,
            ],
            env=os.environ
            | {"PGPASSWORD": server.password or "", "PGOPTIONS": f"-c synchronous_commit={commit}"},
            check=True,
            capture_output=True,
        )
        path.unlink()

    # -- CPU ------------------------------------------------------------------------------------------

    @contextmanager
    def cpu(self) -> Iterator[dict[str, float]]:
        """CPU seconds per component while the block ran; filled in at its end."""
        spent: dict[str, float] = {}
        before = self._cpu_now()
        yield spent
        spent.update({name: round(now - before[name], 2) for name, now in self._cpu_now().items()})

    def _cpu_now(self) -> dict[str, float]:
        services = {
            "source": self.source.service,
            "target": self.target.service,
            "kafka": self.stack.services["kafka"],
            "connect": self.stack.services["connect"],
        }
        pids = {name: s.identity.pid for name, s in services.items() if s.identity}
        pids |= {name: process.pid for name, process in self._processes.items()}
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {name: tree_cpu(pid) for name, pid in pids.items()} | {
            "clients": mine.ru_utime + mine.ru_stime
        }


ACCOUNTS = (
    f"CREATE TABLE {TABLE} (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)"
)


def _sum(table: str) -> str:
    return f"SELECT count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM {table} x"


def address(server: PostgresServer) -> list[str]:
    """libpq options of a client program."""
    return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]


def psql(server: PostgresServer, database: str, command: str) -> tuple[list[str], dict[str, str]]:
    """Words and environment of a psql that runs one command."""
    words = [str(find_psql()), *address(server), "-X", "-q", "-d", database, "-c", command]
    return words, os.environ | {"PGPASSWORD": server.password or ""}


def tree_cpu(pid: int) -> float:
    """User and system seconds of a process, its children, and those it has waited for."""
    total = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
