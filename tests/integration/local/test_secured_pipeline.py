"""A whole pipeline out of a database and through a Kafka that both want TLS, with the embedded Connect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from headrace.entering import Cluster
from headrace.local import installation
from headrace.local.detach import up_detached
from headrace.local.ports import free_ports
from headrace.local.postgres import PostgresServer
from headrace.local.supervise import Options
from support import secured_postgres as pg
from support.certificates import Authority
from support.secured_kafka import PASSWORD, SecuredKafka

Until = Callable[..., None]
OWN = "s3cret-of-the-user"  # pragma: allowlist secret


def environment(cluster: Cluster) -> dict[str, str]:
    """The variables by which somebody gives this cluster to Headrace."""
    own = cluster.security
    return {"HEADRACE_KAFKA": cluster.servers} | {
        f"HEADRACE_KAFKA_{name.upper()}": value for name in own.__slots__ if (value := getattr(own, name))
    }


def spec(source: PostgresServer, target: PostgresServer, authority: Authority) -> str:
    client = authority.identity("cdc", form=PrivateFormat.TraditionalOpenSSL)
    files = {"ca": str(authority.file), "cert": str(client.cert_file), "key": str(client.key_file)}
    place = {"engine": "postgres", "host": "127.0.0.1", "database": "postgres"}
    login = {"user": pg.ROLE, "password": pg.PASSWORD, "tls": "require"}
    pipeline = {"source": "s", "target": "t", "connector": {"my.api.token": OWN}}
    return json.dumps(
        {
            "connections": {
                "s": {**place, **login, **files, "port": source.port},
                "t": {**place, "user": "postgres", "password": target.password, "port": target.port},
            },
            "pipelines": {"p": pipeline},
        }
    )


def told(options: Options, *words: str) -> Any:
    """What the command line says, as a user runs it."""
    env = {**os.environ, "HEADRACE_TOKEN": (options.data / "token").read_text().strip()}
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words, "--json", "--server", options.url],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_load_and_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("HEADRACE_CONNECT", raising=False)
    port, connect = free_ports(2)
    options = Options(tmp_path / "data", port, 0, connect, train=False)
    with (
        SecuredKafka(tmp_path / "kafka") as kafka,
        pg.secured_postgres(kafka.authority) as source,
        PostgresServer(fsync=False) as target,
        psycopg.connect(source.conninfo, autocommit=True) as src,
        psycopg.connect(target.conninfo, autocommit=True) as tgt,
    ):
        src.execute("CREATE TABLE t (id int PRIMARY KEY, s text)")
        src.execute("INSERT INTO t VALUES (1, 'loaded')")
        for name, value in environment(kafka.sasl).items():
            monkeypatch.setenv(name, value)
        up_detached(options)
        try:
            file = tmp_path / "spec.yaml"
            file.write_text(spec(source, target, kafka.authority))
            told(options, "apply", "-f", str(file))
            told(options, "wait", "p", "--for", "incremental", "--timeout", "120")
            src.execute("INSERT INTO t VALUES (2, 'streamed')")
            until(
                lambda: tgt.execute("SELECT s FROM t ORDER BY id").fetchall() == [("loaded",), ("streamed",)],
                60,
            )
            encrypted = src.execute(
                "SELECT s.ssl, s.client_dn FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid)"
                " WHERE backend_type = 'walsender'"
            ).fetchall()
            assert encrypted == [(True, "/CN=cdc")]
            stays_secret(options, f"http://127.0.0.1:{connect}")
        finally:
            installation.down(options.data)


def stays_secret(options: Options, connect: str) -> None:
    """No secret is shown by Connect, stands in a log or a process list, or may be read by others."""
    (name,) = httpx.get(f"{connect}/connectors", trust_env=False).json()
    shown = httpx.get(f"{connect}/connectors/{name}/config", trust_env=False).text
    seen = [shown, *(f.read_text(errors="replace") for f in (options.data / "logs").iterdir())]
    run = installation.load(options.data)
    assert run
    processes = [c.identity.find() for c in run.components if c.identity]
    seen += [" ".join(p.cmdline()) for p in processes if isinstance(p, psutil.Process)]
    octal = "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):03o}" for c in PASSWORD)
    secrets = (PASSWORD, octal, OWN, pg.PASSWORD, "PRIVATE KEY")
    assert [s for s in secrets if any(s in text for text in seen)] == []
    kept = [options.data / "connect.properties", *(options.data / "connect-secrets").iterdir()]
    assert len(kept) == 4
    assert {f.stat().st_mode & 0o777 for f in kept} == {0o600}
