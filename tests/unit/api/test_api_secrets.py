"""Recognisable secrets go in wherever they may; then everything that comes out is searched for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from headrace.auth import rights
from support.replicas import Replica, Watching

KEY = Fernet.generate_key().decode()
PLANTED = {
    name: f"planted-{name}-4711-{'x' * 24}"
    for name in (
        "admin", "kafka", "connect", "registry", "oidc", "supabase", "redis", "account", "wrong", "connection",
        "inline", "mail", "signing", "hook", "misplaced",
    )
}  # fmt: skip
# What is shown once, to whoever it is for.
SHOWN = {"POST auth/login", "POST tokens", "POST auth/refresh"}
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    env = {
        "HEADRACE_ADMIN_PASSWORD": PLANTED["admin"],
        "HEADRACE_SECRET_KEY": KEY,
        "HEADRACE_LOG_LEVEL": "debug",
        "HEADRACE_KAFKA": "127.0.0.1:1",
        "HEADRACE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "HEADRACE_KAFKA_SASL_MECHANISM": "PLAIN",
        "HEADRACE_KAFKA_SASL_USERNAME": "headrace",
        "HEADRACE_KAFKA_SASL_PASSWORD": PLANTED["kafka"],
        "HEADRACE_CONNECT": "http://127.0.0.1:1",
        "HEADRACE_CONNECT_USER": "headrace",
        "HEADRACE_CONNECT_PASSWORD": PLANTED["connect"],
        "HEADRACE_SCHEMA_REGISTRY": "http://127.0.0.1:1",
        "HEADRACE_SCHEMA_REGISTRY_USER": "headrace",
        "HEADRACE_SCHEMA_REGISTRY_PASSWORD": PLANTED["registry"],
        "HEADRACE_OIDC_ISSUER": "http://127.0.0.1:1",
        "HEADRACE_OIDC_AUDIENCE": "headrace",
        "HEADRACE_OIDC_CLIENT_ID": "headrace",
        "HEADRACE_OIDC_CLIENT_SECRET": PLANTED["oidc"],
        "HEADRACE_SUPABASE_URL": "http://127.0.0.1:1",
        "HEADRACE_SUPABASE_JWT_SECRET": PLANTED["supabase"],
        "HEADRACE_WEBHOOK_PRIVATE": "true",
        "HEADRACE_REDIS": f"redis://:{PLANTED['redis']}@127.0.0.1:1/0",
    }
    started = Replica(tmp_path_factory.mktemp("secrets") / "data", env).start()
    assert started.serving(), started.log
    yield started
    started.stop()


class Caller:
    """Calls, and keeps all that was answered."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.said: list[tuple[str, str]] = []

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        answer = self.client.request(method, path, json=body, headers=headers, follow_redirects=False)
        route = f"{method} {path}"
        if route not in SHOWN or not answer.is_success:
            self.said.append((route, f"{answer.headers} {answer.text}"))
        return answer


def database(host: str, name: str, password: str) -> JSON:
    return {
        "engine": "postgres",
        "host": host,
        "port": 1,
        "database": name,
        "user": "u",
        "password": password,
    }


def deeds(call: Caller) -> list[str]:
    """All that takes a secret, well and wrongly; what was made up for us on the way."""
    made = call("POST", "connections", database("127.0.0.1", "a", PLANTED["connection"]) | {"name": "a"})
    assert made.status_code == 201
    again = {"idempotency-key": "k"}
    token = call("POST", "tokens", {"name": "t", "scopes": ["*"]}, **again).json()["token"]
    assert call("POST", "tokens", {"name": "t", "scopes": ["*"]}, **again).json()["token"] == token
    inline = {"source": database("127.0.0.1", "b", PLANTED["inline"]), "target": "a"}
    assert call("POST", "pipelines", {"name": "p", **inline}).status_code == 201
    mail = {"host": "127.0.0.1", "port": 1, "user": "u", "password": PLANTED["mail"]}
    mail |= {"sender": "a@example.org", "recipients": ["b@example.org"]}
    hook = {"url": f"http://127.0.0.1:1/{PLANTED['hook']}", "signing_key": PLANTED["signing"]}
    for channel in ({"name": "m", "kind": "email", "email": mail}, {"name": "h", "kind": "webhook", **hook}):
        assert call("POST", "alerts/channels", channel).status_code == 201
        assert call("POST", f"alerts/channels/{channel['name']}/test").status_code == 503
    account = {"email": "ann@example.org", "role": "operator", "password": PLANTED["account"]}
    assert call("POST", "users", account).status_code == 201
    session = call("POST", "auth/login", {k: account[k] for k in ("email", "password")}).json()
    refreshed = call("POST", "auth/refresh", {"refresh_token": session["refresh_token"]}).json()
    # What goes wrong.
    call("POST", "auth/login", {"email": "ann@example.org", "password": PLANTED["wrong"]})
    call("POST", "auth/password", {"current": PLANTED["wrong"], "new": PLANTED["account"]})
    call("POST", "connections/a/test")
    call("POST", "pipelines/p/start")
    call("POST", "pipelines/p/plan")
    call("POST", "discovery/discover", {"connection": database("127.0.0.1", "b", PLANTED["inline"])})
    call("POST", "validate/source", database("127.0.0.1", "b", PLANTED["inline"]))
    bad = PLANTED["misplaced"]
    for body in (
        {"name": "x", "engine": bad},
        {"name": "x", **database("h", "d", "p"), "pasword": bad},
        {"name": "x", **database("h", "d", "p"), "password": {"value": bad}},
        {"name": "x", **database("h", "d", "p"), "port": bad},
        [bad],
    ):
        assert call("POST", "connections", body).status_code == 422
    config = {"connector.class": "x.Y", "database.password": bad, "topic.prefix": "p"}
    call("POST", "connectors", {"name": "c", "config": config})
    call("PUT", "connector-plugins/x.Y/config/validate", config)
    call("GET", "auth/me", **{"authorization": f"Bearer {bad}"})
    call("GET", "auth/oidc/callback?state=s&code=" + bad)
    return [token, *(s[k] for s in (session, refreshed) for k in ("access_token", "refresh_token"))]


def test_no_secret_comes_out(replica: Replica) -> None:
    with replica.client() as client:
        entered = client.post(
            "auth/login", json={"email": "admin@localhost", "password": PLANTED["admin"]}
        ).json()
    with replica.client(entered["access_token"]) as client:
        call = Caller(client)
        made = [entered["access_token"], entered["refresh_token"], *deeds(call)]
        # Everything that can be read.
        for route in rights.ROUTES:
            method, path = route.split(" /")
            if method == "GET" and path not in ("live/events", "auth/oidc/callback"):
                here = re.sub(r"{(id|connection_id)}", "a" if path.startswith(("conn", "sch")) else "p", path)
                call("GET", re.sub(r"{\w+}", "m", here.replace("channels/p", "channels/m")))
        for channel in ("m", "h"):
            assert call("GET", f"alerts/channels/{channel}").status_code == 200
        assert call("GET", "pipelines/p").status_code == 200
        assert call("GET", "audit?limit=1000").json()["total"] > 8
        call("GET", "audit/export?format=csv")
        call("GET", "/metrics")
        with Watching(replica, entered["access_token"], "sse", 0, ("status", "logs", "changes")) as live:
            live.wait(5)
        told = json.dumps([seen.message for seen in live.seen])
    kept = [f for f in replica.data.rglob("*") if f.is_file() and f.name not in ("log", "token")]
    assert {"headrace.db"} <= {f.name for f in kept}
    everything = [
        *call.said,
        ("live", told),
        ("log", replica.log),
        *((f.name, f.read_bytes().decode("latin-1")) for f in kept),
    ]
    assert "pipelines/p/start" in replica.log
    secrets = {**PLANTED, "key": KEY, **{f"made-{n}": value for n, value in enumerate(made)}}
    local = (replica.data / "token").read_text().strip()
    found = [
        (where, name)
        for where, text in everything
        for name, secret in {**secrets, "local": local}.items()
        if secret in text
    ]
    assert found == []
