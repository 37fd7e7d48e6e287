"""Signing in with a browser at another issuer: the authorization code flow with PKCE."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import httpx

from headrace.auth import tokens
from headrace.auth.foreign import Foreigners
from headrace.auth.tokens import Signer
from headrace.errors import Denied, NotFound
from headrace.settings import Settings
from headrace.store.users import User

_KIND = "headrace-signin"
_MINUTES = 10
_CLAIMS = ["exp", "state", "nonce", "verifier", "next", "redirect_uri"]
# A path of ours: not another host (//), not what browsers read as one (a backslash, a control character).
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and what it keeps meanwhile (a cookie)."""

    url: str
    keep: str = field(repr=False)


class SignIn:
    """Sends browsers to the issuer of the settings and takes them back."""

    def __init__(self, settings: Settings, signer: Signer, foreigners: Foreigners) -> None:
        self._access, self._signer, self._foreigners = settings.access, signer, foreigners

    @property
    def possible(self) -> bool:
        """Whether the settings name an issuer and us as its client."""
        return bool(self._access.oidc_issuer and self._access.oidc_client_id)

    def begin(self, redirect_uri: str, after: str) -> Begun:
        """Begin. after: a path of ours to end at. NotFound ``no_oidc``, Unavailable ``issuer_unavailable``."""
        if not self.possible:
            raise NotFound(
                "no_oidc", "Signing in at another issuer is not set up", "Set HEADRACE_OIDC_ISSUER."
            )
        state, nonce, verifier = tokens.secret(), tokens.secret(), tokens.secret()
        asked = {
            "response_type": "code",
            "client_id": self._access.oidc_client_id,
            "scope": "openid email profile",
            "redirect_uri": redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        endpoint = self._foreigners.endpoint(self._access.oidc_issuer, "authorization_endpoint")
        claims = {
            "iss": tokens.ISSUER,
            "aud": tokens.AUDIENCE,
            "exp": datetime.now(UTC) + timedelta(minutes=_MINUTES),
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "next": after if _LOCAL.fullmatch(after) else "/",
            "redirect_uri": redirect_uri,
        }
        return Begun(
            f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}", self._signer.sign(claims, _KIND)
        )

    def end(self, kept: str, state: str, code: str) -> tuple[User, str]:
        """Who came back, and where they wanted to go. Denied ``signin_failed``."""
        claims = self._signer.read(kept, _KIND, _CLAIMS) if kept else None
        if claims is None or not hmac.compare_digest(claims["state"].encode(), state.encode()):
            raise _failed("it was not begun in this browser, or too long ago")
        issuer = self._access.oidc_issuer
        token = self._exchange(issuer, code, claims["verifier"], claims["redirect_uri"])
        found = self._foreigners.claims(token, issuer, (self._access.oidc_client_id,), claims["nonce"])
        return self._foreigners.account(found), claims["next"]

    def _exchange(self, issuer: str, code: str, verifier: str, redirect_uri: str) -> str:
        """The id token for a code."""
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self._access.oidc_client_id,
        }
        id_, secret = self._access.oidc_client_id, self._access.oidc_client_secret
        auth = httpx.BasicAuth(quote(id_, safe=""), quote(secret, safe="")) if secret else None
        endpoint = self._foreigners.endpoint(issuer, "token_endpoint")
        try:
            answer = httpx.post(endpoint, data=asked, auth=auth, timeout=5.0)
            return str(answer.raise_for_status().json()["id_token"])
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError) as error:
            raise _failed(f"the issuer refused the code ({type(error).__name__})") from None


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _failed(why: str) -> Denied:
    return Denied("signin_failed", f"Signing in failed: {why}", "Begin again at auth/oidc/login.")
