"""Tokens and sign-ins of a real OpenID Connect issuer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.api import serving
from headrace.api.app import create_app
from headrace.local.ports import free_ports
from headrace.settings import Access, Settings, Web
from support.lab import until
from support.oidc_issuer import Issuer, new_key

PEOPLE = {
    "ann": {"email": "ann@example.org", "email_verified": True, "name": "Ann", "headrace_role": "operator"},
    "bob": {"email": "bob@example.org", "email_verified": True, "name": "Bob"},
}


@contextmanager
def served(folder: Path, port: int, access: Access) -> Iterator[httpx.Client]:
    """A client without a token."""
    url = f"http://127.0.0.1:{port}"
    settings = Settings(
        folder, kafka="127.0.0.1:1", connect="http://127.0.0.1:1", access=access, web=Web(public_url=url)
    )
    server = serving.Server(serving.config(create_app(settings), settings, port=port))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 20, "the server")
    try:
        with httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
            client.headers["x-local"] = settings.token_file.read_text().strip()
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def issuer(port: int) -> Iterator[Issuer]:
    back = f"http://127.0.0.1:{port}/api/v1/auth/oidc/callback"
    with Issuer(PEOPLE, redirect_uris=[back], audience="headrace-api") as running:
        yield running


@pytest.fixture(scope="module")
def api(issuer: Issuer, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("oidc"), port, access(issuer)) as client:
        yield client


def access(issuer: Issuer) -> Access:
    """The issuer is believed."""
    return Access(
        oidc_issuer=issuer.url,
        oidc_audience=issuer.audience,
        oidc_client_id=issuer.client_id,
        oidc_client_secret=issuer.client_secret,
    )


def me(api: httpx.Client, token: str) -> httpx.Response:
    """Who the token is."""
    return api.get("auth/me", headers={"authorization": f"Bearer {token}"})


def test_a_real_token_is_believed_and_its_role_followed(api: httpx.Client, issuer: Issuer) -> None:
    ann = me(api, issuer.token("ann")).json()
    assert (ann["name"], ann["role"], ann["kind"]) == ("ann@example.org", "operator", "external")
    assert me(api, issuer.token("bob")).json()["role"] == "user"
    assert me(api, issuer.token("ann", headrace_role="viewer")).json()["role"] == "viewer"
    for strange in ("emperor", "", ["operator"]):
        refused = me(api, issuer.token("ann", headrace_role=strange))
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized"), strange
    assert me(api, issuer.token("ann", headrace_role=None)).json()["role"] == "user"
    assert me(api, issuer.token("ann")).json()["role"] == "operator"


def test_what_an_issuer_brings_about_is_written_down(api: httpx.Client, issuer: Issuer) -> None:
    issuer.accounts["dot"] = {
        "email": "dot@example.org",
        "email_verified": True,
        "name": "Dot",
        "headrace_role": "operator",
    }
    issuer.reload()
    operator, viewer = issuer.token("dot"), issuer.token("dot", headrace_role="viewer")
    with ThreadPoolExecutor(8) as pool:
        found = [a.json()["id"] for a in pool.map(lambda _: me(api, operator), range(16))]
        assert len(set(found)) == 1
        assert {a.json()["role"] for a in pool.map(lambda _: me(api, viewer), range(16))} == {"viewer"}
    local = {"authorization": f"Bearer {api.headers['x-local']}"}
    noted = api.get("audit", params={"entity_id": found[0]}, headers=local).json()["items"]
    assert [a["action"] for a in noted] == ["updated", "created"]
    changed, created = noted
    assert (created["new_values"]["role"], created["new_values"]["issuer"]) == ("operator", issuer.url)
    assert (changed["old_values"]["role"], changed["new_values"]["role"]) == ("operator", "viewer")
    for one in noted:
        assert (one["user_name"], one["address"]) == ("dot@example.org", "127.0.0.1")
        assert one["request_id"]


def forgeries(issuer: Issuer) -> dict[str, str]:
    """Why it is wrong -> a token."""
    good: dict[str, Any] = issuer.claims("ann")
    return {
        "issuer": issuer.forge({**good, "iss": "https://evil.example"}),
        "audience": issuer.forge({**good, "aud": "another"}),
        "id token": issuer.id_token("ann"),
        "none": issuer.forge(good, alg="none"),
        "public key as a secret": issuer.forge(good, alg="HS256"),
        "another key": issuer.forge(good, new_key()),
        "unknown key id": issuer.forge(good, headers={"kid": "unknown"}),
        "expired": issuer.forge({**good, "exp": good["iat"] - 3600}),
        "not yet": issuer.forge({**good, "nbf": good["iat"] + 3600}),
        "no subject": issuer.forge(issuer.claims("ann", sub=None)),
        "no end": issuer.forge(issuer.claims("ann", exp=None)),
    }


def test_forged_tokens_are_refused(api: httpx.Client, issuer: Issuer) -> None:
    for why, token in forgeries(issuer).items():
        answer = me(api, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), why
        assert token not in answer.text


def test_a_closed_account_stays_out(api: httpx.Client, issuer: Issuer) -> None:
    token = issuer.token("bob")
    local = {"authorization": f"Bearer {api.headers['x-local']}"}
    id_ = me(api, token).json()["id"]
    assert api.put(f"users/{id_}", json={"is_active": False}, headers=local).status_code == 200
    assert me(api, token).status_code == 401
    assert api.put(f"users/{id_}", json={"is_active": True}, headers=local).status_code == 200
    assert me(api, token).status_code == 200


def test_it_never_becomes_a_local_account_of_the_same_address(api: httpx.Client, issuer: Issuer) -> None:
    local = {"authorization": f"Bearer {api.headers['x-local']}"}
    body = {"email": "eve@example.org", "role": "admin", "password": "long enough a password"}
    assert api.post("users", json=body, headers=local).status_code == 201
    issuer.accounts["eve"] = {"email": "eve@example.org", "email_verified": True, "name": "Eve"}
    issuer.reload()
    found = me(api, issuer.token("eve")).json()
    assert found["role"] == "user"
    assert found["name"] != "eve@example.org"


def test_signing_in_with_a_browser(api: httpx.Client, issuer: Issuer) -> None:
    with httpx.Client(base_url=api.base_url, timeout=30) as browser:
        begun = browser.get("auth/oidc/login", params={"next": "//evil.example"})
        assert begun.status_code == 302
        back = issuer.sign_in(begun.headers["location"], "ann")
        with httpx.Client() as stranger:
            assert stranger.get(back).json()["code"] == "signin_failed"
        entered = browser.get(back)
        assert (entered.status_code, entered.headers["location"]) == (302, "/")
        assert browser.get("auth/me").json()["kind"] == "session"
        # A code is used once, and so is what the browser kept.
        assert browser.get(back).status_code == 403
        denied = browser.get("auth/oidc/login", params={"next": "/pipelines"})
        assert (
            browser.get(issuer.sign_in(denied.headers["location"], "ann", deny=True)).json()["code"]
            == "signin_failed"
        )


def test_a_rotated_key_is_found_and_a_dead_issuer_is_told(
    api: httpx.Client, issuer: Issuer, tmp_path: Path
) -> None:
    issuer.rotate()
    until(lambda: me(api, issuer.token("ann")).status_code == 200, 20, "the new key")
    known = issuer.token("ann")
    unknown = issuer.forge(issuer.claims("ann"), headers={"kid": "never-seen"})
    issuer.stop()
    try:
        assert me(api, known).status_code == 200
        assert me(api, unknown).status_code in (401, 503)
        # Where to sign in was asked before.
        assert api.get("auth/oidc/login").status_code == 302
        with served(tmp_path, free_ports(1)[0], access(issuer)) as fresh:
            assert fresh.get("auth/oidc/login").json()["code"] == "issuer_unavailable"
            assert me(fresh, known).status_code == 503
    finally:
        issuer.start()


@pytest.mark.parametrize("by", ["keys", "secret"])
def test_supabase(by: str, tmp_path: Path) -> None:
    secret = "s" * 40
    with Issuer(PEOPLE, path="/auth/v1", audience="authenticated") as issuer:
        url = issuer.url.removesuffix("/auth/v1")
        access = Access(supabase_url=url, supabase_jwt_secret=secret if by == "secret" else "")
        with served(tmp_path, free_ports(1)[0], access) as api:
            shared = issuer.forge(issuer.claims("ann"), secret, "HS256")
            assert (me(api, shared).status_code == 200) == (by == "secret")
            assert (me(api, issuer.token("ann")).status_code == 200) == (by == "keys")
            for alg in ("none", "HS256"):
                assert me(api, issuer.forge(issuer.claims("ann"), alg=alg)).status_code == 401
