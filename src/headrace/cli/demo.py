"""``headrace demo``: two real PostgreSQL servers, a writer that never rests, one pipeline, and the proof."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg

from headrace.cli import show
from headrace.cli.client import Client
from headrace.cli.locate import Server
from headrace.errors import Unavailable
from headrace.local.ports import free_port
from headrace.local.postgres import PostgresServer
from headrace.local.supervise import Options, Supervisor

PIPELINE = "shop-to-warehouse"
RATE = 400
WATCH_SECONDS = 15.0


def run(once: bool) -> int:
    """The whole story; the exit code. once: end by itself, 0 only when both sides were found equal."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    if os.getuid() == 0:
        # PostgreSQL runs as another user then, and has to get to its folder.
        folder.chmod(0o711)
    try:
        return _story(folder, once)
    except KeyboardInterrupt:
        show.line("\nStopping.")
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _story(folder: Path, once: bool) -> int:
    show.line("Starting two PostgreSQL servers, Kafka, Kafka Connect, the API and a worker ...")
    began = time.monotonic()
    with _installation(folder, once) as url, _servers(folder) as (source, target):
        show.line(f"Ready after {time.monotonic() - began:.1f} s. Web page: {url}/")
        _seed(source)
        token = (folder / "data" / "token").read_text(encoding="ascii").strip()
        with contextlib.closing(Client(Server(url, token))) as client, _writer(source) as writer:
            equal = _replicate(client, source, target, writer)
            if once:
                client.delete(f"pipelines/{PIPELINE}")
                client.gone(PIPELINE, 60)
                return 0 if equal else 6
            show.line(f"\nThe pipeline goes on. Look at {url}/#token={token} ; Ctrl-C ends the demo.")
            show.line(f"  source  {source.conninfo_of('shop')}")
            show.line(f"  target  {target.conninfo_of('warehouse')}")
            show.line(f"  try     headrace status {PIPELINE} --data {folder / 'data'}")
            threading.Event().wait()
    return 0


@contextlib.contextmanager
def _installation(folder: Path, once: bool) -> Iterator[str]:
    port, kafka, connect = (_port(p, once) for p in (8000, 9092, 8083))
    supervisor = Supervisor(Options(folder / "data", port, kafka, connect, train=False))
    ready = threading.Event()
    failed: list[Exception] = []

    def serve() -> None:
        try:
            supervisor.serve(ready.set)
        except Exception as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=serve, name="supervisor")
    thread.start()
    try:
        if not ready.wait(180):
            raise Unavailable(
                "slow_start", "Headrace did not start within 180 s", "See the logs in the data folder."
            )
        if failed:
            raise failed[0]
        yield supervisor.options.url
    finally:
        supervisor.stop()
        thread.join()


def _port(usual: int, once: bool) -> int:
    if not once:
        return usual
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            return free_port()
    return usual


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with (
        PostgresServer(folder / "source", fsync=False) as source,
        PostgresServer(folder / "target", fsync=False) as target,
    ):
        for server, name in ((source, "shop"), (target, "warehouse")):
            with psycopg.connect(server.conninfo, autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}".encode())
        yield source, target


def _seed(source: PostgresServer) -> None:
    script = files("headrace.cli").joinpath("demo_data.sql").read_text(encoding="utf-8")
    with psycopg.connect(source.conninfo_of("shop"), autocommit=True) as conn:
        conn.execute(script.encode())
    show.line("Source: database `shop`, 5 tables, 301,000 rows; a writer changes it all the time.")


class _Writer:
    """Changes the shop, about ``RATE`` transactions a second, until stopped."""

    def __init__(self, source: PostgresServer) -> None:
        self.transactions = 0
        self._dsn = source.conninfo_of("shop")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        began = time.monotonic()
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._stop.is_set():
                ahead = self.transactions / RATE - (time.monotonic() - began)
                if ahead > 0:
                    self._stop.wait(ahead)
                self._one(conn)
                self.transactions += 1

    def _one(self, conn: psycopg.Connection[Any]) -> None:
        customer, order = random.randint(1, 20000), random.randint(1, 60000)  # nosec B311  # invented orders
        match random.randint(0, 9):  # nosec B311  # invented orders
            case 0 | 1:
                with conn.transaction():
                    row = conn.execute(
                        "INSERT INTO orders (customer_id) VALUES (%s) RETURNING id", [customer]
                    ).fetchone()
                    assert row is not None
                    conn.execute(
                        "INSERT INTO order_lines SELECT %s, n, 'sku-' || n, 1 FROM generate_series(1, 2) n",
                        row,
                    )
            case 2 | 3 | 4:
                conn.execute("UPDATE orders SET state = 'paid', total = total + 1 WHERE id = %s", [order])
            case 5:
                conn.execute(
                    "UPDATE customers SET tags = tags || 'x'::text WHERE id = %s AND cardinality(tags) < 9",
                    [customer],
                )
            case 6:
                conn.execute(
                    "UPDATE products SET price = price + 0.01 WHERE sku = %s", [f"sku-{1 + customer % 1000}"]
                )
            case 7:
                conn.execute("DELETE FROM order_lines WHERE order_id = %s", [order])
            case _:
                conn.execute("INSERT INTO visits (customer_id, page) VALUES (%s, '/live')", [customer])


@contextlib.contextmanager
def _writer(source: PostgresServer) -> Iterator[_Writer]:
    writer = _Writer(source)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def _replicate(client: Client, source: PostgresServer, target: PostgresServer, writer: _Writer) -> bool:
    began = time.monotonic()
    client.post(
        "apply",
        {
            "connections": {
                "shop": _connection(source, "shop"),
                "warehouse": _connection(target, "warehouse"),
            },
            "pipelines": {PIPELINE: {"source": "shop", "target": "warehouse"}},
            "start": True,
        },
    )
    _follow(client)
    show.line(
        f"Incremental after {time.monotonic() - began:.1f} s, while {writer.transactions} transactions ran."
    )
    _measure(client, writer)
    return _verified(client)


def _connection(server: PostgresServer, database: str) -> dict[str, Any]:
    return {
        "engine": "postgres",
        "host": "127.0.0.1",
        "port": server.port,
        "database": database,
        "user": "postgres",
        "password": server.password,
    }


def _follow(client: Client) -> None:
    shown: dict[str, str] = {}
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = client.get(f"pipelines/{PIPELINE}/status")
        for table in found["tables"]:
            if shown.get(table["name"]) != table["state"]:
                shown[table["name"]] = table["state"]
                show.line(f"  {table['name']:<22} {table['state']:<12} {table['rows_loaded']:>8} rows")
        if found["phase"] == "incremental":
            return
        if found["status"] == "error":
            raise Unavailable("demo", found["error"]["message"], found["error"]["guidance"])
        time.sleep(0.1)
    raise Unavailable("demo", "the pipeline did not become incremental within 300 s", "See `headrace logs`.")


def _measure(client: Client, writer: _Writer) -> None:
    """Watch for a while; events per second and latency as the applier saw them."""
    time.sleep(5)
    first = _lag(client)
    began, before = time.monotonic(), writer.transactions
    time.sleep(WATCH_SECONDS)
    last, seconds = _lag(client), time.monotonic() - began
    events = last["events_applied"] - first["events_applied"]
    show.line(
        f"Streaming: {(writer.transactions - before) / seconds:.0f} transactions/s written,"
        f" {events / seconds:.0f} events/s applied."
    )
    show.line(
        f"Latency, source commit to target commit: p50 {last['latency_p50_ms']:.0f} ms,"
        f" p99 {last['latency_p99_ms']:.0f} ms."
    )


def _lag(client: Client) -> dict[str, Any]:
    lag: dict[str, Any] = client.get(f"pipelines/{PIPELINE}/status")["lag"]
    return lag


def _verified(client: Client) -> bool:
    show.line("Verifying while both sides move ...")
    report = client.finished(client.post(f"pipelines/{PIPELINE}/verify", {}))
    for table in report["tables"]:
        word = "equal" if table["equal"] else f"{table['differences_total']} differences"
        if table["error"]:
            word = f"not compared: {table['error']['message']}"
        rows, checksum = table["source_rows"] or 0, table["source_checksum"] or ""
        show.line(f"  {table['name']:<22} {rows:>8} rows  {checksum[:12]}  {word}")
    show.line("Both sides are equal." if report["equal"] else "The two sides DIFFER.")
    return bool(report["equal"] and report["settled"])
