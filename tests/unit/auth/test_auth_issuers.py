"""How issuers are asked: once, not for long, and what of their keys is believed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from headrace.auth import issuers
from headrace.auth.foreign import Foreigners
from headrace.auth.issuers import Foreign, Issuer
from headrace.auth.signin import SignIn
from headrace.auth.tokens import Signer
from headrace.errors import Denied, Unavailable
from headrace.settings import Access, Settings
from headrace.store import Store
from support import jws
from support.lab import until

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
# What an RSA key does not sign with, signed with whatever an attacker has.
FORGED = ["none", "HS256", "HS384", "HS512"]


class Site:
    """An issuer's site that does as it is told."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.drips = False
        self.open = threading.Event()
        self.open.set()
        self.at_once = self._now = 0
        self._lock = threading.Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):
                    site._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _answer(self, call: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked[call.path] += 1
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            self.open.wait(20)
            body = json.dumps({"keys": self.keys} if call.path == "/keys" else self._discovery()).encode()
            call.send_response(self.status)
            call.send_header("content-length", str(len(body)))
            call.end_headers()
            while self.drips:
                call.wfile.write(b" ")
                time.sleep(0.1)
            call.wfile.write(body)
        finally:
            with self._lock:
                self._now -= 1

    def _discovery(self) -> dict[str, str]:
        places = {"authorization_endpoint": "/in", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return {"issuer": self.url, **{name: self.url + path for name, path in places.items()}}

    def close(self) -> None:
        """End it."""
        self.drips = False
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.keys = [published(RSA, "rsa")]
    yield site
    site.close()


@pytest.fixture
def issuer(site: Site) -> Issuer:
    return Issuer(Foreign(site.url, ("us",)))


@pytest.fixture
def foreigners(site: Site, tmp_path: Path) -> Iterator[Foreigners]:
    store = Store(Settings(tmp_path))
    yield Foreigners(settings(site, tmp_path), store)
    store.close()


def settings(site: Site, folder: Path) -> Settings:
    return Settings(folder, access=Access(oidc_issuer=site.url, oidc_audience="us", oidc_client_id="c"))


def published(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """A public key as an issuer publishes it."""
    kinds: list[tuple[type, Any]] = [
        (rsa.RSAPrivateKey, RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, ECAlgorithm),
    ]
    algorithm = next((a for kind, a in kinds if isinstance(key, kind)), OKPAlgorithm)
    jwk = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**{k: v for k, v in jwk.items() if k != "key_ops"}, "kid": kid, **more}


def at_once(many: int, do: Callable[[], Any]) -> list[Any]:
    """What came of it, or the code of its error, when so many do it at once."""

    def attempt(_: int) -> Any:
        try:
            return do()
        except Unavailable as error:
            return error.code

    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(attempt, range(many)))


def accepted(foreigners: Foreigners, site: Site, key: Any, kid: str, algorithms: list[str]) -> list[str]:
    """Which algorithms a token may have signed with."""
    at = int(time.time())
    claims = {"iss": site.url, "aud": "us", "sub": "ann", "iat": at, "exp": at + 60}
    found = []
    for alg in algorithms:
        secret = jws.public_pem(RSA) if alg.startswith("HS") else key
        token = jws.sign(claims, secret, alg, {"kid": kid})
        with suppress(Denied):
            assert foreigners.claims(token, site.url)["sub"] == "ann"
            found.append(alg)
    return found


def test_a_key_says_what_it_signs_with(site: Site, foreigners: Foreigners) -> None:
    site.keys = [
        published(RSA, "any"),
        published(RSA, "one", alg="PS384"),
        published(RSA, "none", alg="none"),
        published(RSA, "enc", use="enc"),
        published(RSA, "secret", alg="HS256"),
        published(P256, "p256"),
        published(ED, "ed"),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": 1},
    ]
    every = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    seen = {kid: accepted(foreigners, site, RSA, kid, every + FORGED) for kid in
            ("any", "one", "none", "enc", "secret", "oct", "broken", "p256")}  # fmt: skip
    assert seen.pop("any") == every
    assert seen.pop("one") == ["PS384"]
    assert set(map(tuple, seen.values())) == {()}
    assert accepted(foreigners, site, P256, "p256", ["ES256"]) == ["ES256"]
    assert accepted(foreigners, site, ED, "ed", ["EdDSA"]) == ["EdDSA"]


@pytest.mark.parametrize(
    ("said", "taken"),
    [(True, True), ("true", True), (False, False), ("false", False), (None, False), (1, False), ("", False)],
)
def test_an_address_is_taken_once_its_issuer_has_verified_it(
    site: Site, foreigners: Foreigners, said: Any, taken: bool
) -> None:
    claims = {"iss": site.url, "sub": "Ann", "email": "ceo@example.org", "email_verified": said}
    host = site.url.partition("://")[2]
    assert foreigners.account(claims).email == ("ceo@example.org" if taken else f"ann@{host}")
    missing = {"iss": site.url, "sub": "bob", "email": "cfo@example.org"}
    assert foreigners.account(missing).email == f"bob@{host}"


@pytest.mark.parametrize(("more", "taken"), [({}, True), ({"email_verified": False}, False)])
def test_supabase_names_no_address_that_it_has_not_confirmed(
    tmp_path: Path, more: dict[str, Any], taken: bool
) -> None:
    store = Store(Settings(tmp_path))
    url = "https://p.supabase.co"
    supabase = Foreigners(Settings(tmp_path, access=Access(supabase_url=url)), store)
    claims = {"iss": f"{url}/auth/v1", "sub": "ann", "email": "ann@example.org", **more}
    assert (supabase.account(claims).email == "ann@example.org") == taken
    store.close()


def test_one_asks_and_the_others_wait(site: Site, issuer: Issuer) -> None:
    site.open.clear()
    threading.Timer(0.5, site.open.set).start()
    found = at_once(8, lambda: issuer.key("rsa"))
    assert all(key is not None and key[0] == RSA.public_key() for key in found)
    assert dict(site.asked) == {"/.well-known/openid-configuration": 1, "/keys": 1}


def test_one_that_fails_is_not_asked_again_at_once(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.status = 500
    assert at_once(8, lambda: issuer.key("rsa")) == ["issuer_unavailable"] * 8
    assert at_once(8, lambda: issuer.endpoint("jwks_uri")) == ["issuer_unavailable"] * 8
    assert sum(site.asked.values()) == 1
    site.status = 200
    monkeypatch.setattr(issuers, "_PAUSE", 0.0)
    assert issuer.key("rsa")


def test_an_answer_that_never_ends_is_not_waited_for(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers, "_LIMIT", 0.5)
    site.drips = True
    began = time.monotonic()
    assert at_once(4, lambda: issuer.key("rsa")) == ["issuer_unavailable"] * 4
    assert time.monotonic() - began < 4
    assert sum(site.asked.values()) == 1


def test_nobody_waits_for_long_for_another(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers, "_PATIENCE", 0.2)
    site.open.clear()
    with ThreadPoolExecutor(1) as pool:
        asks = pool.submit(issuer.key, "rsa")
        until(lambda: site.asked, 10, "somebody who asks")
        assert at_once(4, lambda: issuer.key("rsa")) == ["issuer_unavailable"] * 4
        site.open.set()
        assert asks.result(10)


def test_old_keys_do_while_one_asks_for_new_ones(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.key("rsa")
    monkeypatch.setattr(issuers, "_FRESH", 0.0)
    monkeypatch.setattr(issuers, "_PAUSE", 0.0)
    site.open.clear()
    site.keys = [published(P256, "new")]
    with ThreadPoolExecutor(1) as pool:
        asks = pool.submit(issuer.key, "rsa")
        until(lambda: sum(site.asked.values()) == 3, 10, "somebody who asks")
        assert at_once(8, lambda: issuer.key("rsa")) == [old] * 8
        site.open.set()
        assert asks.result(10) is None
    assert site.at_once == 1


def test_invented_key_ids_make_nobody_ask(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issuer.key("rsa")
    assert at_once(8, lambda: issuer.key("invented")) == [None] * 8
    assert site.asked["/keys"] == 1
    monkeypatch.setattr(issuers, "_PAUSE", 0.0)
    site.keys.append(published(P256, "rotated"))
    assert issuer.key("rotated")
    site.status = 500
    assert issuer.key("lost") is None
    assert issuer.key("rsa")


def test_browsers_that_sign_in_ask_nothing_twice(site: Site, foreigners: Foreigners, tmp_path: Path) -> None:
    sign_in = SignIn(settings(site, tmp_path), Signer(["k"]), foreigners)
    for _ in range(3):
        assert sign_in.begin("https://us.example/back", "/").url.startswith(f"{site.url}/in?")
    assert dict(site.asked) == {"/.well-known/openid-configuration": 1}


def test_a_document_that_lacks_something_is_no_bug(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable):
        issuer.endpoint("end_session_endpoint")
    monkeypatch.setattr(issuers, "_PAUSE", 0.0)
    several: list[list[Any]] = [[], [7], [{"kty": "RSA"}]]
    for site.keys in several:
        with pytest.raises(Unavailable):
            issuer.key("rsa")
