"""A laboratory: broker, Connect, API server, worker and two PostgreSQL servers, each of which can be killed."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from headrace.local.pgbinaries import find_pgbench
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack

Conn = psycopg.Connection[Any]

# A value's text must not depend on the session that asks.
TEXT = "-c timezone=UTC -c intervalstyle=postgres -c datestyle=ISO,YMD -c extra_float_digits=3 -c bytea_output=hex"


def until(check: Callable[[], Any], seconds: float = 60.0, what: str = "the condition") -> Any:
    """Poll until ``check`` gives something true; its value. AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:.0f} s"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


class Lab:
    """One installation for many tests; each test takes a ``Pair`` of fresh databases."""

    def __init__(self, source_version: str = "18", target_version: str = "18") -> None:
        self.stack = Stack().start()
        self.source = PostgresServer(
            version=source_version, fsync=False, settings={"max_prepared_transactions": "5"}
        )
        self.target = PostgresServer(version=target_version, fsync=False)
        self.source.start()
        self.target.start()
        self.port = _free_port()
        self._more: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = self.stack.settings.data
        self.start("server")
        self.start("worker")
        until(self.healthy, 60, "the API server")

    def healthy(self) -> bool:
        """Whether the API server answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/api/v1/health/live").is_success
        except httpx.HTTPError:
            return False

    @property
    def environment(self) -> dict[str, str]:
        """Environment of every process of this installation."""
        return {**os.environ, **self.stack.settings.environment(), **self._more}

    @contextmanager
    def elsewhere(self, **more: str) -> Iterator[None]:
        """Server and worker with further variables while inside."""
        self._again(more)
        try:
            yield
        finally:
            self._again({})

    def _again(self, more: dict[str, str]) -> None:
        self._more = more
        for name in ("server", "worker"):
            self.kill(name)
            self.restart(name)

    def start(self, name: str) -> None:
        """Start ``server`` or ``worker``."""
        more = ["--port", str(self.port)] if name == "server" else []
        with open(self._logs / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "headrace", name, *more], env=self.environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """SIGKILL one of server, worker, kafka, connect."""
        if name in self._processes:
            self._processes[name].kill()
            self._processes[name].wait()
        else:
            self.stack.kill(name)

    def restart(self, name: str) -> None:
        """Start again what was killed."""
        if name in self._processes:
            self.start(name)
            if name == "server":
                until(self.healthy, 60, "the API server")
        else:
            self.stack.restart(name)

    def worker(self) -> subprocess.Popen[bytes]:
        """The worker's process."""
        return self._processes["worker"]

    def worker_pid(self) -> int:
        """Process id of the worker."""
        return self.worker().pid

    def stop(self) -> None:
        """Stop everything."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.source.stop()
        self.target.stop()
        self.stack.stop()

    def run(self, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user would."""
        server = ["--server", f"http://127.0.0.1:{self.port}"]
        return subprocess.run(
            [sys.executable, "-m", "headrace", *args, *server],
            env={**self.environment, "HEADRACE_TOKEN": self.token, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @property
    def token(self) -> str:
        """The local API token."""
        return self.stack.settings.token_file.read_text().strip()

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call the API."""
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.port}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=120,
        )

    @contextmanager
    def pair(self, source_sql: str = "", target_sql: str = "") -> Iterator[Pair]:
        """Fresh databases on both servers and a pipeline name; all of it is removed afterwards."""
        pair = Pair(self, f"t{secrets.token_hex(4)}")
        pair.open()
        try:
            if source_sql:
                pair.src.execute(source_sql.encode())
            if target_sql:
                pair.tgt.execute(target_sql.encode())
            yield pair
        finally:
            pair.close()


def dsn(server: PostgresServer, database: str) -> str:
    """Connection string of a database for the tests themselves."""
    return f"{server.conninfo_of(database)} options='{TEXT}'"


@dataclass
class Pair:
    """A source and a target database with one pipeline between them."""

    lab: Lab
    name: str
    src: Conn = field(init=False)
    tgt: Conn = field(init=False)

    def open(self) -> None:
        """Make the databases and connect."""
        for server in (self.lab.source, self.lab.target):
            with psycopg.connect(server.conninfo, autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {self.name}".encode())
        self.connect()

    def connect(self) -> None:
        """Connect (again) to both databases."""
        for old in (getattr(self, "src", None), getattr(self, "tgt", None)):
            if old is not None:
                old.close()
        self.src = psycopg.connect(dsn(self.lab.source, self.name), autocommit=True)
        self.tgt = psycopg.connect(dsn(self.lab.target, self.name), autocommit=True)

    def close(self) -> None:
        """Delete the pipeline and drop the databases."""
        if any(p["name"] == self.name for p in self.lab.api("GET", "/status").json()["pipelines"]):
            self.cli("delete", self.name)
        self.src.close()
        self.tgt.close()
        for server in (self.lab.source, self.lab.target):
            with psycopg.connect(server.conninfo, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self.name]
                )
                admin.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)".encode())

    def connection(self, side: str, **changes: Any) -> dict[str, Any]:
        """The connection entry of one side."""
        server = self.lab.source if side == "source" else self.lab.target
        entry = {
            "engine": "postgres",
            "host": "127.0.0.1",
            "port": server.port,
            "database": self.name,
            "user": "postgres",
            "password": server.password,
            "tls": "disable",
        }
        return {**entry, **changes}

    def spec(
        self, source: dict[str, Any] | None = None, target: dict[str, Any] | None = None, **pipeline: Any
    ) -> Path:
        """Write the spec (JSON is YAML); its path. tables defaults to everything."""
        body = {
            "connections": {
                f"{self.name}-s": self.connection("source", **(source or {})),
                f"{self.name}-t": self.connection("target", **(target or {})),
            },
            "pipelines": {self.name: {"source": f"{self.name}-s", "target": f"{self.name}-t", **pipeline}},
        }
        path = self.lab.stack.settings.data / f"{self.name}.yaml"
        path.write_text(json.dumps(body, indent=1))
        return path

    def cli(self, *args: str, expect: int = 0) -> Any:
        """Run the command line with ``--json``; its parsed output."""
        done = self.lab.run(*args, "--json")
        assert done.returncode == expect, (
            f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()}"
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def log(self) -> str:
        """The pipeline's log, for failures."""
        answer = self.lab.api("GET", f"/pipelines/{self.name}/logs?limit=60")
        return answer.text

    def apply(self, wait: str | None = "incremental", timeout: int = 120, **pipeline: Any) -> None:
        """Apply the spec and wait for a phase."""
        self.cli("apply", "-f", str(self.spec(**pipeline)))
        if wait:
            self.wait(wait, timeout)

    def wait(self, wanted: str = "incremental", timeout: int = 120) -> None:
        """Wait for a status or phase."""
        self.cli("wait", self.name, "--for", wanted, "--timeout", str(timeout))

    def status(self) -> Any:
        """``status NAME --json``."""
        return self.cli("status", self.name)

    def table(self, name: str) -> Any:
        """State of one table."""
        return next(t for t in self.status()["tables"] if t["name"] == name)

    def equal(self, *tables: str, seconds: float = 60.0, columns: str = "*") -> None:
        """Wait until each table holds the same rows on both sides, compared as text, duplicates counted."""
        for table in tables:
            try:
                until(
                    lambda t=table: self.rows(self.src, t, columns) == self.rows(self.tgt, t, columns),
                    seconds,
                )
            except AssertionError:
                raise AssertionError(self.difference(table, columns) + "\n" + self.log()) from None

    def rows(self, conn: Conn, table: str, columns: str = "*") -> Any:
        """Count and an order-free checksum of a table's rows as text."""
        return conn.execute(
            f"SELECT count(*), coalesce(sum(('x' || substr(md5(x::text), 1, 15))::bit(60)::bigint::numeric), 0)"
            f" FROM (SELECT {columns} FROM {table}) x".encode()
        ).fetchone()

    def lines(self, text: str) -> list[str]:
        """Lines of the pipeline's log that contain a text."""
        found = self.lab.api("GET", f"/pipelines/{self.name}/logs?limit=1000").json()
        return [line["message"] for line in found["items"] if text in line["message"]]

    def settle(self, *tables: str, timeout: int = 120) -> None:
        """Wait for ``incremental``, then until these tables are equal."""
        self.wait("incremental", timeout)
        self.equal(*tables, seconds=timeout)

    def canary(self, seconds: float = 90.0) -> None:
        """Write a row on the source and wait until it is on the target: the whole way is alive."""
        row = self.src.execute("INSERT INTO canary DEFAULT VALUES RETURNING id").fetchone()
        assert row is not None
        try:
            until(lambda: self._has_canary(row[0]), seconds)
        except AssertionError:
            raise AssertionError(f"canary {row[0]} did not arrive\n{self.log()}") from None

    def _has_canary(self, id_: int) -> bool:
        return self.tgt.execute("SELECT 1 FROM canary WHERE id = %s", [id_]).fetchone() is not None

    def difference(self, table: str, columns: str = "*") -> str:
        """The first rows that differ."""
        sides = []
        for conn in (self.src, self.tgt):
            found = conn.execute(
                f"SELECT left(x::text, 300) FROM (SELECT {columns} FROM {table}) x".encode()
            ).fetchall()
            counted: dict[str, int] = {}
            for (row,) in found:
                counted[row] = counted.get(row, 0) + 1
            sides.append(counted)
        ours, theirs = sides
        missing = [f"{r} x{n - theirs.get(r, 0)}" for r, n in ours.items() if n > theirs.get(r, 0)]
        extra = [f"{r} x{n - ours.get(r, 0)}" for r, n in theirs.items() if n > ours.get(r, 0)]
        return (
            f"{table}: {sum(ours.values())} rows on the source, {sum(theirs.values())} on the target;"
            f" {len(missing)} missing: {missing[:4]}; {len(extra)} extra: {extra[:4]}"
        )


@contextmanager
def pgbench(
    server: PostgresServer,
    database: str,
    clients: int = 4,
    rate: int | None = None,
    script: str | None = None,
    killed: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """pgbench writing in the background until the block ends; it must not have failed, unless its server is killed."""
    command = [str(find_pgbench()), *_address(server), "-n", "-c", str(clients), "-j", "1", "-T", "3600"]
    command += ["-R", str(rate)] if rate else []
    if script is not None:
        path = Path("/tmp") / f"pgbench-{secrets.token_hex(4)}.sql"
        path.write_text(script)
        command += ["-f", str(path)]
    process = subprocess.Popen(
        [*command, database], env=_env(server), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
        assert killed or process.poll() is None, process.stdout.read().decode() if process.stdout else ""
    finally:
        # Not SIGINT, which a process started in the background of a shell ignores.
        process.terminate()
        process.communicate(timeout=30)
        if process.stdout:
            process.stdout.close()
        if script is not None:
            path.unlink()


def pgbench_init(server: PostgresServer, database: str, scale: int = 1) -> None:
    """Make pgbench's tables; its history table has no primary key."""
    command = [str(find_pgbench()), *_address(server), "-i", "-q", "-s", str(scale), database]
    subprocess.run(command, env=_env(server), check=True, capture_output=True)


CANARY = "CREATE TABLE canary (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())"
PGBENCH = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")


def _address(server: PostgresServer) -> Sequence[str]:
    return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]


def _env(server: PostgresServer) -> dict[str, str]:
    return {**os.environ, "PGPASSWORD": server.password}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


NOTHING: dict[str, list[str]] = {
    "slots": [],
    "publications": [],
    "topics": [],
    "connectors": [],
    "progress": [],
}


def leftovers(lab: Lab, pair: Pair) -> dict[str, list[str]]:
    """What a pipeline would have left behind: slots, publications, topics, connectors, progress."""
    topics = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from confluent_kafka.admin import AdminClient;"
            "print('\\n'.join(AdminClient({'bootstrap.servers': sys.argv[1]}).list_topics(timeout=20).topics))",
            lab.stack.settings.kafka,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    connectors = httpx.get(f"{lab.stack.settings.connect}/connectors").json()
    word = re.escape(pair.name)
    return {
        "slots": [
            r[0]
            for r in pair.src.execute(
                "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
            )
        ],
        "publications": [r[0] for r in pair.src.execute("SELECT pubname FROM pg_publication")],
        "topics": [t for t in topics if re.search(word, t)],
        "connectors": [c for c in connectors if re.search(word, c)],
        "progress": [
            r[0] for r in pair.tgt.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'headrace'")
        ],
    }
