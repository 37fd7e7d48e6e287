"""A real OpenID Connect issuer that a test can ask, deceive and kill: the certified ``oidc-provider`` of npm.

Its signing keys are the test's, so that tokens can be forged with the right key and anything else wrong.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import RSAAlgorithm

from headrace.local.ports import HOST, free_port
from headrace.local.process import Service
from headrace.local.scoped import Scoped
from support import jws
from support.node_packages import find_node, packages

HOME = Path(__file__).parent / "issuer"
# The issuer itself says these; a token with others can only be forged.
OWN_CLAIMS = {"iss", "aud", "sub", "iat", "exp", "jti", "scope", "client_id"}
Claims = Mapping[str, Any]


def new_key() -> RSAPrivateKey:
    """A fresh RSA key of 2048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer(Scoped):
    """One issuer with one confidential client (client_secret_basic, PKCE required); also a context manager.

    accounts: claims (email, name, headrace_role, ...) by ``sub``. key: that signs (RS256); None makes one. client_secret:
    None makes one. redirect_uris: where the client may be sent back to. audience: ``aud`` of access tokens. path: of
    the issuer's URL, such as ``/auth/v1``. lifetime: of tokens, seconds.

    Change ``accounts``, ``redirect_uris``, ``audience`` or ``lifetime`` and ``reload`` to apply that while it runs.
    """

    def __init__(
        self,
        accounts: Mapping[str, Claims],
        *,
        key: RSAPrivateKey | None = None,
        client_id: str = "headrace",
        client_secret: str | None = None,
        redirect_uris: Sequence[str] = ("http://127.0.0.1/callback",),
        audience: str = "headrace-api",
        path: str = "",
        lifetime: int = 600,
    ) -> None:
        self.accounts = {sub: dict(claims) for sub, claims in accounts.items()}
        self.client_id, self.client_secret = client_id, client_secret or secrets.token_urlsafe(24)
        self.redirect_uris = list(redirect_uris)
        self.audience, self.lifetime = audience, lifetime
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}{path}"
        self._keys = [(secrets.token_hex(8), key or new_key())]
        self._cookie_key = secrets.token_urlsafe(24)
        self._generation = 0
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-issuer-"))
        self.service = Service(
            name="issuer",
            command=lambda: [str(find_node().program), str(self.folder / "issuer.mjs"), str(self._config)],
            healthy=self._answers,
            log=self.folder / "log",
            url=self.url,
            before=self._prepare,
            start_seconds=30,
        )

    # Life

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.service.alive

    def start(self) -> Self:
        """Start, and wait until it answers; also after ``kill``, with the same keys, accounts and port."""
        self.service.start()
        self.service.wait_healthy()
        return self

    def stop(self) -> None:
        """End it; the folder goes."""
        self.service.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL."""
        self.service.kill()

    def reload(self) -> None:
        """Put what was changed here into force; sessions and grants stay."""
        self._write()
        assert self.service.process is not None
        self.service.process.send_signal(signal.SIGHUP)
        self.service.wait_healthy()

    def rotate(self, key: RSAPrivateKey | None = None, *, keep: bool = True) -> str:
        """Sign with a new key from now on; its id. keep: whether the old keys stay published."""
        self._keys = [(secrets.token_hex(8), key or new_key()), *(self._keys if keep else [])]
        self.reload()
        return self.kid

    # What it says

    @property
    def key(self) -> RSAPrivateKey:
        """The key that signs now."""
        return self._keys[0][1]

    @property
    def kid(self) -> str:
        """Id of the key that signs now."""
        return self._keys[0][0]

    @property
    def discovery_url(self) -> str:
        """Address of the discovery document."""
        return f"{self.url}/.well-known/openid-configuration"

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return _json(httpx.get(self.discovery_url))

    def jwks(self) -> dict[str, Any]:
        """The published keys."""
        return _json(httpx.get(self.discovery()["jwks_uri"]))

    # Real tokens

    def token(self, sub: str, *, audience: str | None = None, **overrides: Any) -> str:
        """A real access token (JWT) of an account, by the code flow with PKCE.

        audience: another ``aud``. overrides: claims that the issuer says in this token only, such as
        ``headrace_role="admin"``; None takes one away.
        """
        return str(self.tokens(sub, audience=audience, **overrides)["access_token"])

    def id_token(self, sub: str, *, nonce: str | None = None, **overrides: Any) -> str:
        """A real id token of an account (``aud`` is the client)."""
        return str(self.tokens(sub, nonce=nonce, **overrides)["id_token"])

    def tokens(
        self, sub: str, *, audience: str | None = None, nonce: str | None = None, **overrides: Any
    ) -> dict[str, Any]:
        """The whole answer of the token endpoint: access_token, id_token, expires_in, token_type, scope."""
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
        more = {} if audience is None else {"resource": _resource(audience)}
        with self._said(sub, overrides):
            asked = self.authorization_url(verifier, state=state, nonce=nonce, **more)
            back = parse_qs(urlsplit(self.sign_in(asked, sub)).query)
            assert back.get("state") == [state], back
            return self.exchange(back["code"][0], verifier, **more)

    def machine_token(self, audience: str | None = None) -> str:
        """A real access token of the client itself (client_credentials): ``sub`` is the client's id, no e-mail."""
        more = {} if audience is None else {"resource": _resource(audience)}
        return str(self._ask({"grant_type": "client_credentials", **more})["access_token"])

    def authorization_url(self, verifier: str, **more: str | None) -> str:
        """Where a client sends a browser to sign in. more: further parameters (state, nonce, ...)."""
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uris[0],
            "scope": "openid email profile",
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            **more,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return f"{self.discovery()['authorization_endpoint']}?{urlencode(given)}"

    def sign_in(self, url: str, sub: str, *, deny: bool = False) -> str:
        """Do what a user does from an authorization URL on: the URL that the client is called back at, not fetched.

        deny: press Cancel. AssertionError when the issuer does not send back, for example because of a bad parameter.
        """
        with httpx.Client() as browser:
            answer = self._follow(browser, browser.get(url))
            if isinstance(answer, httpx.Response) and answer.is_success:
                form = {"deny": "1"} if deny else {"login": sub}
                answer = self._follow(browser, browser.post(answer.url, data=form))
        assert isinstance(answer, str), f"{answer.status_code}: {answer.text}"
        return answer

    def exchange(self, code: str, verifier: str, **more: str) -> dict[str, Any]:
        """Redeem a code at the token endpoint."""
        asked = {"grant_type": "authorization_code", "redirect_uri": self.redirect_uris[0]}
        return self._ask({**asked, "code": code, "code_verifier": verifier, **more})

    # Forged tokens

    def claims(self, sub: str, /, **changes: Any) -> dict[str, Any]:
        """Claims as a good access token has them, to change before ``forge``. None takes one away."""
        now = int(time.time())
        claims = {
            **self.accounts.get(sub, {}),
            "jti": secrets.token_hex(8),
            "iss": self.url,
            "aud": self.audience,
            "sub": sub,
            "client_id": self.client_id,
            "iat": now,
            "exp": now + self.lifetime,
        }
        return _without_none({**claims, **changes})

    def forge(
        self, claims: Claims, key: Any = None, alg: str = "RS256", headers: Mapping[str, Any] | None = None
    ) -> str:
        """Any claims, signed with the issuer's own key and key id, or otherwise.

        key: another private key, or the secret of an HS* ``alg``. Without one, HS* takes the issuer's public key (PEM)
        for the secret, as an attacker does. alg ``none``: not signed. headers: more of the header (None takes one away).
        """
        if key is None:
            key = jws.public_pem(self.key) if alg.startswith("HS") else self.key
        return jws.sign(claims, key, alg, {"kid": self.kid, **(headers or {})})

    # Within

    @property
    def _config(self) -> Path:
        return self.folder / "config.json"

    def _prepare(self) -> None:
        """A folder in which Node.js finds the script and its packages."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(HOME / "issuer.mjs", self.folder)
        with contextlib.suppress(FileExistsError):
            (self.folder / "node_modules").symlink_to(packages(HOME))
        self._write()

    def _write(self) -> None:
        self._generation += 1
        scratch = self.folder / "config.new"
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(self._configuration()))
        os.replace(scratch, self._config)

    def _configuration(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "port": self.port,
            "generation": self._generation,
            "keys": [_jwk(kid, key) for kid, key in self._keys],
            "cookieKeys": [self._cookie_key],
            "client": self._client(),
            "audience": self.audience,
            "lifetime": self.lifetime,
            "accounts": self.accounts,
        }

    def _client(self) -> dict[str, Any]:
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_uris": self.redirect_uris,
            "grant_types": ["authorization_code", "client_credentials"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
        }

    def _answers(self) -> bool:
        try:
            answer = httpx.get(self.discovery_url, timeout=1)
        except httpx.HTTPError:
            return False
        return answer.is_success and answer.json()["generation"] == self._generation

    def _ask(self, form: Mapping[str, str]) -> dict[str, Any]:
        auth = (quote(self.client_id, safe=""), quote(self.client_secret, safe=""))
        return _json(httpx.post(self.discovery()["token_endpoint"], data=dict(form), auth=auth))

    def _follow(self, browser: httpx.Client, answer: httpx.Response) -> httpx.Response | str:
        """Follow redirects within the issuer; the URL that leads out of it, or the page where it stops."""
        while answer.next_request is not None:
            target = str(answer.next_request.url)
            if target.partition("?")[0] in self.redirect_uris:
                return target
            answer = browser.send(answer.next_request)
        return answer

    @contextmanager
    def _said(self, sub: str, overrides: Claims) -> Iterator[None]:
        """The account with other claims for a while."""
        if not overrides:
            yield
            return
        assert not OWN_CLAIMS & set(overrides), "the issuer says these itself: use audience=, or forge()"
        before = self.accounts[sub]
        self.accounts[sub] = _without_none({**before, **overrides})
        try:
            self.reload()
            yield
        finally:
            self.accounts[sub] = before
            self.reload()


def _json(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, f"{answer.url}: {answer.status_code} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def _jwk(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    jwk = {k: v for k, v in RSAAlgorithm.to_jwk(key, as_dict=True).items() if k != "key_ops"}
    return {**jwk, "kid": kid, "use": "sig", "alg": "RS256"}


def _resource(audience: str) -> str:
    return f"urn:audience:{quote(audience, safe='')}"


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _without_none(claims: Claims) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}
