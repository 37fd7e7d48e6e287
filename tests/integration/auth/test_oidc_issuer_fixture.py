"""The issuer that tests of signing in rely on: it is a real one, and what is forged in its name is what it says it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from headrace.local.artifacts import cache_folder
from support import jws, node_packages
from support.oidc_issuer import HOME, Issuer, new_key

VERIFIER = "v" * 43
ACCOUNTS = {
    "ann": {"email": "ann@example.com", "name": "Ann", "headrace_role": "operator"},
    "bob": {"email": "bob@example.com", "name": "Bob"},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """For tests that leave it as it was."""
    with Issuer(ACCOUNTS) as issuer:
        yield issuer


def verified(issuer: Issuer, token: str, audience: str | None = None) -> dict[str, Any]:
    """The claims of a token as any relying party would verify it: by the published keys."""
    key = jwt.PyJWKClient(issuer.discovery()["jwks_uri"]).get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["RS256"], audience=audience or issuer.audience, issuer=issuer.url
    )
    return claims


def callback(url: str) -> dict[str, str]:
    """Parameters that the client is called back with."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def published(issuer: Issuer) -> list[str]:
    """Ids of the published keys."""
    return [key["kid"] for key in issuer.jwks()["keys"]]


def test_it_says_who_it_is_and_publishes_the_public_half_of_our_key(issuer: Issuer) -> None:
    said = issuer.discovery()
    assert said["issuer"] == issuer.url
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["id_token_signing_alg_values_supported"] == ["RS256"]
    [key] = issuer.jwks()["keys"]
    assert key["kid"] == issuer.kid
    assert jwt.PyJWK(key).key == issuer.key.public_key()
    assert not {"d", "p", "q"} & set(key)


def test_a_user_signs_in_by_the_code_flow(issuer: Issuer) -> None:
    url = issuer.authorization_url(VERIFIER, state="s1", nonce="n1")
    back = issuer.sign_in(url, "ann")
    assert back.startswith(issuer.redirect_uris[0])
    assert callback(back)["state"] == "s1"
    answer = issuer.exchange(callback(back)["code"], VERIFIER)
    claims = verified(issuer, answer["id_token"], issuer.client_id)
    assert claims["sub"] == "ann"
    assert claims["nonce"] == "n1"
    assert claims["email"] == "ann@example.com"
    assert claims["headrace_role"] == "operator"


def test_an_access_token_is_a_jwt_for_our_audience(issuer: Issuer) -> None:
    token = issuer.token("ann")
    claims = verified(issuer, token)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims["aud"] == issuer.audience
    assert {name: claims[name] for name in ACCOUNTS["ann"]} == ACCOUNTS["ann"]
    assert claims["exp"] - claims["iat"] == issuer.lifetime
    with pytest.raises(jwt.InvalidAudienceError):
        verified(issuer, issuer.token("ann", audience="somebody else"))


def test_claims_change_for_one_token(issuer: Issuer) -> None:
    changed = verified(issuer, issuer.token("ann", headrace_role="admin", email=None))
    assert changed["headrace_role"] == "admin"
    assert "email" not in changed
    assert verified(issuer, issuer.token("ann"))["headrace_role"] == "operator"
    with pytest.raises(AssertionError, match="forge"):
        issuer.token("ann", iss="http://127.0.0.1")


def test_a_client_has_a_token_of_its_own(issuer: Issuer) -> None:
    claims = verified(issuer, issuer.machine_token())
    assert claims["sub"] == issuer.client_id
    assert "email" not in claims


def test_the_flow_is_a_real_one(issuer: Issuer) -> None:
    url = issuer.authorization_url(VERIFIER, state="s")
    code = callback(issuer.sign_in(url, "bob"))["code"]
    with pytest.raises(AssertionError, match="invalid_grant"):
        issuer.exchange(code, "w" * 43)
    code = callback(issuer.sign_in(url, "bob"))["code"]
    issuer.exchange(code, VERIFIER)
    with pytest.raises(AssertionError, match="invalid_grant"):
        issuer.exchange(code, VERIFIER)


def test_what_goes_wrong_comes_back_as_an_error(issuer: Issuer) -> None:
    url = issuer.authorization_url(VERIFIER, state="s")
    assert callback(issuer.sign_in(url, "ann", deny=True))["error"] == "access_denied"
    bare = issuer.authorization_url(VERIFIER, code_challenge=None, code_challenge_method=None)
    assert callback(issuer.sign_in(bare, "ann"))["error"] == "invalid_request"
    with pytest.raises(AssertionError, match="no such account"):
        issuer.sign_in(url, "nobody")
    with pytest.raises(AssertionError, match="invalid_redirect_uri"):
        issuer.sign_in(issuer.authorization_url(VERIFIER, redirect_uri="http://127.0.0.1/other"), "ann")


def test_a_forged_token_has_one_thing_wrong(issuer: Issuer) -> None:
    good = issuer.claims("ann")
    assert verified(issuer, issuer.forge(good)) == good
    assert set(verified(issuer, issuer.token("ann"))) - set(good) == {"scope"}
    wrong = {
        issuer.forge(issuer.claims("ann", aud="other")): jwt.InvalidAudienceError,
        issuer.forge(issuer.claims("ann", iss="http://other")): jwt.InvalidIssuerError,
        issuer.forge(issuer.claims("ann", exp=int(time.time()) - 5)): jwt.ExpiredSignatureError,
        issuer.forge(issuer.claims("ann", sub=7)): jwt.exceptions.InvalidSubjectError,
        issuer.forge(good, new_key()): jwt.InvalidSignatureError,
        issuer.forge(good, alg="none"): jwt.InvalidAlgorithmError,
        issuer.forge(good, headers={"kid": "unknown"}): jwt.PyJWKClientError,
    }
    for token, error in wrong.items():
        with pytest.raises(error):
            verified(issuer, token)


def test_a_public_key_is_taken_for_a_secret(issuer: Issuer) -> None:
    head, body, signature = issuer.forge(issuer.claims("ann"), alg="HS256").split(".")
    made = hmac.new(jws.public_pem(issuer.key), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == made
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "HS256"
    secret = "a shared secret of the test, long enough"
    shared = issuer.forge(issuer.claims("ann"), secret, "HS256")
    assert jwt.decode(shared, secret, algorithms=["HS256"], audience=issuer.audience)["sub"] == "ann"


def test_keys_change() -> None:
    with Issuer(ACCOUNTS) as issuer:
        old, before = issuer.kid, issuer.token("ann")
        new = issuer.rotate()
        assert published(issuer) == [new, old]
        after = issuer.token("ann")
        assert jwt.get_unverified_header(after)["kid"] == new
        assert verified(issuer, before)["sub"] == verified(issuer, after)["sub"] == "ann"
        last = issuer.rotate(keep=False)
        assert published(issuer) == [last]
        with pytest.raises(jwt.PyJWKClientError):
            verified(issuer, after)


def test_it_can_be_killed_and_comes_back_as_it_was() -> None:
    key = new_key()
    with Issuer(ACCOUNTS, key=key, client_id="us", client_secret="a secret") as issuer:
        token, folder = issuer.token("bob"), issuer.folder
        issuer.kill()
        assert not issuer.alive
        with pytest.raises(httpx.ConnectError):
            issuer.discovery()
        issuer.start()
        assert issuer.key is key
        assert verified(issuer, token)["sub"] == "bob"
        assert verified(issuer, issuer.token("bob"))["client_id"] == "us"
    assert not issuer.alive
    assert not folder.exists()


def test_an_issuer_with_a_path_has_its_keys_where_supabase_has_them() -> None:
    with Issuer(ACCOUNTS, path="/auth/v1", audience="authenticated") as issuer:
        assert issuer.discovery()["jwks_uri"] == f"{issuer.url}/.well-known/jwks.json"
        assert verified(issuer, issuer.token("ann"))["aud"] == "authenticated"


def test_the_lock_has_digests_and_no_addresses() -> None:
    packages = json.loads((HOME / "package-lock.json").read_text())["packages"]
    assert "node_modules/oidc-provider" in packages
    assert all("integrity" in entry for name, entry in packages.items() if name)
    assert not any("resolved" in entry for entry in packages.values())


@pytest.mark.full
def test_node_comes_from_pypi_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    node_packages.find_machine_node.cache_clear()
    try:
        program = node_packages.find_node().program
        assert program.is_relative_to(cache_folder())
        assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout.startswith(b"v")
        with Issuer(ACCOUNTS) as issuer:
            assert verified(issuer, issuer.token("ann"))["sub"] == "ann"
    finally:
        node_packages.find_machine_node.cache_clear()
