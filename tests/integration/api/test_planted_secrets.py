"""Secrets that are easily recognised are planted wherever one can be entered, then looked for wherever one could get."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg

from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack
from support.lab import until

MARK = "planted-secret-4711"
JSON = dict[str, Any]
BODIES = [
    ("POST", "auth/login"), ("POST", "auth/signup"), ("POST", "auth/refresh"), ("POST", "auth/password"),
    ("POST", "users"), ("PUT", "users/admin@localhost"), ("POST", "tokens"), ("POST", "connections"),
    ("PUT", "connections/a"), ("POST", "discovery/discover"), ("POST", "validate/source"),
    ("POST", "validate/destination"), ("POST", "validate/debezium"), ("POST", "check"), ("POST", "plan"),
    ("POST", "apply"), ("POST", "pipelines"), ("PUT", "pipelines/p"), ("POST", "connectors"),
    ("PUT", "connectors/c/config"), ("POST", "alerts/channels"), ("PUT", "alerts/channels/mail"),
]  # fmt: skip


def secret(what: str) -> str:
    """A secret that says what it is."""
    return f"{MARK}-{what}-long-enough-to-be-any-secret"


@dataclass
class Told:
    """What was seen, by where; made: secrets that the server made."""

    texts: dict[str, str] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def leaks(self) -> list[str]:
        """Where there is a secret, and what of it."""
        return [
            f"{where}: ...{text[max(0, text.find(word) - 200):][:300]}"
            for where, text in self.texts.items()
            for word in (MARK, *self.made)
            if word in text
        ]  # fmt: skip


@dataclass
class Installation:
    """Server and worker as processes. env: what they and commands are given. told: what is seen of them."""

    folder: Path
    env: dict[str, str]
    told: Told
    url: str = ""
    token: str = ""

    @contextlib.contextmanager
    def process(self, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process whose output is looked at afterwards, all of it."""
        output = self.folder / f"{name}.output"
        with open(output, "wb") as out, subprocess.Popen(
            [sys.executable, "-m", "headrace", *words], env=self.env, stdout=out, stderr=subprocess.STDOUT
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        self.told.texts[f"output of the {name}"] = output.read_text()

    def command(self, *words: str, stdin: str = "", told: bool = True, code: int = 0) -> str:
        """What a command says. told: it is nothing that is shown this once."""
        ran = subprocess.run(
            [sys.executable, "-m", "headrace", *words],
            env=self.env, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == code, (words, ran.stdout, ran.stderr)
        said = {"stderr": ran.stderr, **({"stdout": ran.stdout} if told else {})}
        for stream, text in said.items():
            self.told.texts[f"{' '.join(words)} ({stream}) {len(self.told.texts)}"] = text
        return ran.stdout

    def client(self, token: str) -> httpx.Client:
        """A client whose answers are looked at, except what is shown this once."""

        def look(response: httpx.Response) -> None:
            response.read()
            once = response.request.url.path.endswith(("/tokens", "/login", "/refresh"))
            if response.request.method != "POST" or not once or not response.is_success:
                where = f"{response.request.method} {response.request.url} {len(self.told.texts)}"
                self.told.texts[where] = f"{response.headers}{response.text}"

        return httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"authorization": f"Bearer {token}"}, timeout=60,
            event_hooks={"response": [look]},
        )  # fmt: skip


@contextlib.contextmanager
def watched(told: Told) -> Iterator[None]:
    """The arguments of all processes, all the time."""
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    told.texts[f"process: {words[:200]}"] = words

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextlib.contextmanager
def installed(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    told = Told()
    env = {
        **os.environ,
        **stack.settings.environment(),
        "HEADRACE_DATA": str(tmp_path / "data"),
        "HEADRACE_LOG_LEVEL": "debug",
        "HEADRACE_ADMIN_PASSWORD": secret("admin"),
        "HEADRACE_OIDC_ISSUER": "http://127.0.0.1:1",
        "HEADRACE_OIDC_CLIENT_ID": "us",
        "HEADRACE_OIDC_CLIENT_SECRET": secret("client"),
        "HEADRACE_SUPABASE_URL": "http://127.0.0.1:1",
        "HEADRACE_SUPABASE_JWT_SECRET": secret("supabase"),
        "HEADRACE_REDIS": f"redis://:{secret('redis')}@127.0.0.1:1/0",
        "HEADRACE_SIGNUP": "true",
        "HEADRACE_WEBHOOK_PRIVATE": "true",
        "XDG_STATE_HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
        "PG_PASSWORD": secret("spec"),
    }
    found = Installation(tmp_path, env, told)
    record = tmp_path / "data" / "server.json"
    with watched(told), found.process("server", "server", "--port", "0"):
        until(record.exists, 30, "the server")
        found.url = json.loads(record.read_text())["url"]
        until((tmp_path / "data" / "token").exists, 30, "its token")
        found.token = (tmp_path / "data" / "token").read_text().strip()
        told.made |= {found.token, (tmp_path / "data" / "secret.key").read_text().strip()}
        with found.process("worker", "worker"):
            yield found


def test_no_planted_secret_gets_anywhere(stack: Stack, source: PostgresServer, tmp_path: Path) -> None:
    with installed(stack, tmp_path) as installation, installation.client(installation.token) as api:
        people(installation, api)
        pipelines(api, source)
        mistakes(api)
        everything(api)
        commands(installation)
        with psycopg.connect(source.conninfo, autocommit=True) as conn:
            conn.execute("ALTER ROLE capturer PASSWORD 'another'")
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'capturer'")
        until(lambda: api.get("pipelines/p/status").json()["error"], 120, "its failure")
        everything(api)
    told = installation.told
    files(tmp_path / "data", stack, told)
    # What is looked for would be found.
    assert MARK in "".join(f.read_text() for f in (stack.data / "connect-secrets").iterdir())
    assert "Redis does not answer" in told.texts["output of the server"]
    assert "Redis does not answer" in told.texts["output of the worker"]
    assert any(" worker " in text for where, text in told.texts.items() if where.startswith("process"))
    leaks = told.leaks()
    assert not leaks, "\n".join(leaks[:20])


def people(installation: Installation, api: httpx.Client) -> None:
    """Accounts, sessions and tokens."""
    made = installation.told.made

    def post(path: str, body: JSON, status: int, **headers: str) -> Any:
        answer = api.post(path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    post("users", {"email": "ann@example.org", "role": "operator", "password": secret("ann")}, 201)
    post("auth/signup", {"email": "sue@example.org", "password": secret("sue")}, 201)
    post("auth/signup", {"email": "sue@example.org", "password": secret("sue")}, 409)
    post("auth/login", {"email": "ann@example.org", "password": secret("wrong")}, 401)
    post("auth/login", {"email": "ann@example.org", "password": ""}, 401)
    entered = post("auth/login", {"email": "ann@example.org", "password": secret("ann")}, 200)
    renewed = post("auth/refresh", {"refresh_token": entered["refresh_token"]}, 200)
    made |= {e[f"{kind}_token"] for e in (entered, renewed) for kind in ("access", "refresh")}
    with installation.client(renewed["access_token"]) as ann:
        change = {"current": secret("wrong"), "new": secret("new")}
        assert ann.post("auth/password", json=change).status_code == 403
        body, once = {"name": "ci", "scopes": ["*"]}, {"idempotency-key": "k1"}
        token = ann.post("tokens", json=body, headers=once).json()["token"]
        assert ann.post("tokens", json=body, headers=once).json()["token"] == token
        made.add(token)
        assert ann.get("tokens").status_code == 200
    for wrong in (token[:-3], renewed["access_token"][:-3], secret("bearer"), f"hr_{secret('bearer')}"):
        with installation.client(wrong) as stranger:
            assert stranger.get("auth/me").status_code == 401
            assert (
                stranger.get("auth/me", headers={"authorization": f"Basic {secret('basic')}"}).status_code
                == 401
            )
    cookies = {"headrace_access": secret("cookie"), "headrace_refresh": secret("cookie")}
    with installation.client("") as browser:
        browser.headers.pop("authorization")
        cookie = "; ".join(f"{k}={v}" for k, v in cookies.items())
        assert browser.post("auth/refresh", headers={"cookie": cookie}).status_code == 401
        assert browser.get("auth/oidc/login").status_code == 503
        answer = browser.get("auth/oidc/callback", params={"code": secret("code"), "state": secret("state")})
        assert answer.status_code == 403


def pipelines(api: httpx.Client, source: PostgresServer) -> None:
    """Connections that lead somewhere and nowhere, a pipeline, channels of alerts."""
    with psycopg.connect(source.conninfo, autocommit=True) as conn:
        conn.execute("CREATE DATABASE target")

    def connection(**more: Any) -> JSON:
        known = {"engine": "postgres", "host": "127.0.0.1", "port": source.port, "user": "capturer"}
        return {**known, "database": "postgres", "password": MARK, "tls": "disable", **more}

    def post(path: str, body: JSON, *statuses: int) -> httpx.Response:
        answer = api.post(path, json=body, headers={"idempotency-key": f"{path}:{body.get('name')}"})
        assert answer.status_code in (statuses or (201,)), answer.text
        return answer

    post("connections", {"name": "a", **connection()})
    post("connections", {"name": "b", **connection(database="target")})
    post("connections", {"name": "wrong", **connection(password=secret("wrong"))})
    post("connections", {"name": "nowhere", **connection(host="nowhere.invalid", password=secret("nowhere"))})
    shown = api.get("connections/a").json()
    assert api.put("connections/a", json=connection(password=shown["password"])).status_code == 200
    for name in ("a", "wrong", "nowhere"):
        post(f"connections/{name}/test", {}, 200, 403, 503)
    post("discovery/discover", {"connection": connection(password=secret("inline"))}, 403, 422, 503)
    post("validate/source", connection(password=secret("inline")), 200, 403, 422, 503)
    post("pipelines", {"name": "q", "source": "wrong", "target": "b", "start": True}, 201, 403, 412, 503)
    post("pipelines", {"name": "p", "source": "a", "target": "b"})
    post("pipelines/p/start", {}, 200, 202)
    until(lambda: api.get("pipelines/p/status").json()["phase"] == "incremental", 120, "its streaming")
    mail = {"host": "127.0.0.1", "port": 1, "user": "u", "password": secret("smtp"), "tls": "none",
            "sender": "a@example.org", "recipients": ["b@example.org"]}  # fmt: skip
    post("alerts/channels", {"name": "mail", "kind": "email", "email": mail})
    hook = {"url": f"http://127.0.0.1:1/{secret('hook')}", "signing_key": secret("signing")}
    post("alerts/channels", {"name": "hook", "kind": "webhook", **hook})
    for channel in api.get("alerts/channels").json()["items"]:
        post(f"alerts/channels/{channel['id']}/test", {}, 200, 503)


def mistakes(api: httpx.Client) -> None:
    """Calls that are refused, with a secret in whatever is wrong."""
    word = secret("mistake")
    nested = {"host": "h", "port": word, "database": ["d"], "password": [word], "secret": {"x": word}}
    for method, path in BODIES:
        for body in (
            nested, {"password": {"x": word}}, {"refresh_token": [word]}, {"passwrod": word}, {"current": 1, "new": word},
            {"name": "x", "config": {"database.password": word}, "connection": nested, "email": {**nested, "sender": 1}},
            {"spec": {"connections": {"a": nested}}}, {"connections": {"a": nested}}, {"url": word, "kind": "webhook", "name": "x"},
            {"expires_at": word, "name": "x"}, [word], word,
        ):  # fmt: skip
            answer = api.request(method, path, json=body)
            assert 400 <= answer.status_code < 600, (method, path, body, answer.text)
            assert answer.status_code != 500, (method, path, body)
        for raw in (f'{{"password": "{word}', f"password={word}", f'{{"password": "{word}"}} x'):
            kind = {"content-type": "application/json"}
            assert api.request(method, path, content=raw, headers=kind).status_code in (404, 409, 422)


def everything(api: httpx.Client) -> None:
    """Whatever can be read."""
    document = api.get("openapi.json").json()
    wanted = {"connection": "a", "connection_id": "a", "schema": "public", "table": "t", "limit": "1000"}
    known = {"connection_id": "a", "name": "p", "topic": "headrace-connect-configs"}
    for path, operations in document["paths"].items():
        if "get" not in operations or path.endswith("/live/events"):
            continue
        for id_ in ("p", "a", "q") if "{id}" in path else ("",):
            names = {**dict.fromkeys(re.findall(r"\{(\w+)\}", path), "1"), **known, "id": id_}
            where = path.removeprefix("/api/v1/").format_map(names)
            assert api.get(where, params=wanted).status_code != 500, where
    server = urlsplit(str(api.base_url))
    for page in ("/", "/metrics", "/api/docs"):
        api.get(f"{server.scheme}://{server.netloc}{page}")
    assert "headrace_" in api.get("metrics").text


def commands(installation: Installation) -> None:
    """The command line, in words and in JSON."""
    run, folder = installation.command, installation.folder
    say: Callable[..., str] = run
    admin = ("--email", "admin@localhost", "--password-stdin")
    run("login", *admin, "--json", stdin=secret("admin") + "\n")
    run("login", *admin, stdin=secret("wrong") + "\n", code=4)
    token = run("tokens", "add", "x", *admin, stdin=secret("admin") + "\n", told=False).strip()
    assert token.startswith("hr_")
    installation.told.made.add(token)
    spec = folder / "spec.yaml"
    spec.write_text(
        "connections:\n"
        "  a: {engine: postgres, host: 127.0.0.1, port: 1, user: u, database: d, password: '${env:PG_PASSWORD}'}\n"
        f"  b: {{engine: postgres, host: 127.0.0.1, port: 1, user: u, database: d, password: ['{secret('file')}']}}\n"
        "pipelines:\n  r: {source: a, target: b}\n"
    )
    for words in (["check"], ["plan"], ["apply"]):
        for more in ([], ["--json"]):
            ran = subprocess.run(
                [sys.executable, "-m", "headrace", *words, "-f", str(spec), *more],
                env=installation.env, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert ran.returncode != 0
            assert "b" in ran.stdout + ran.stderr
            installation.told.texts[f"{words} {more}"] = ran.stdout + ran.stderr
    for words in (["status"], ["whoami"], ["users", "list"], ["tokens", "list"], ["audit"], ["logs", "p"], ["status", "p"],
                  ["connectors", "list"], ["topics", "list"], ["alerts", "channels"]):  # fmt: skip
        say(*words)
        say(*words, "--json")
    say("backup", str(folder / "backup.zip"), "--json")
    with zipfile.ZipFile(folder / "backup.zip") as backup:
        for name in backup.namelist():
            installation.told.texts[f"backup: {name}"] = backup.read(name).decode()


def files(data: Path, stack: Stack, told: Told) -> None:
    """What is on the disk, except what is kept there for its own sake."""
    kept = {"token", "secret.key"}
    with contextlib.closing(sqlite3.connect(data / "headrace.db")) as metadata:
        rows = list(metadata.iterdump())
    assert any("pipeline_logs" in row for row in rows)
    assert any("login_failed" in row for row in rows)
    told.texts["rows of the metadata"] = "\n".join(rows)
    secrets = stack.data / "connect-secrets"
    for folder in (data, stack.data):
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in kept and secrets not in file.parents:
                told.texts[f"file: {file.relative_to(folder)}"] = file.read_bytes().decode("latin-1")
