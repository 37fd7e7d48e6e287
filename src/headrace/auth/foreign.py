"""Tokens of other issuers: any OpenID Connect issuer, and Supabase (by its keys or by its shared secret)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import jwt

from headrace.actor import acting, current
from headrace.auth import rights
from headrace.auth.people import address, form
from headrace.errors import Denied, Invalid, Unavailable
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.users import User

# Never none; a shared secret only where one is set, so that a public key cannot be taken for one.
_BY_KEYS = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip
# Of logouts and security events there are tokens, too.
_TYPES = ("jwt", "at+jwt")
_LONGEST_SUBJECT = 255
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_LEEWAY = 30.0
_KEYS_FRESH = 3600.0
_KEYS_PAUSE = 5.0
_MOST_BYTES = 1 << 20
_SHORTEST_SECRET = 32


@dataclass(frozen=True, slots=True)
class Foreign:
    """One issuer that is believed. url: its ``iss``. jwks: where its keys are, "" to look it up. secret: instead of keys."""

    url: str
    audiences: tuple[str, ...]
    jwks: str = ""
    secret: str = ""


class Keys:
    """The public keys of an issuer, fetched when needed and kept for an hour."""

    def __init__(self, issuer: Foreign) -> None:
        self._issuer = issuer
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched = self._tried = -_KEYS_FRESH

    def key(self, kid: str) -> Any:
        """The key of that id, None when the issuer has none. Unavailable ``issuer_unavailable`` when it is not known."""
        with self._lock:
            at = time.monotonic()
            stale = at - self._fetched > _KEYS_FRESH
            # Somebody who invents key ids does not make us ask each time.
            if (stale or kid not in self._keys) and at - self._tried > _KEYS_PAUSE:
                self._tried = at
                self._fetch(at)
            elif not self._keys:
                raise _down(self._issuer.url, "it did not answer a moment ago")
            return self._keys.get(kid)

    def _fetch(self, at: float) -> None:
        try:
            where = self._issuer.jwks or str(discovery(self._issuer.url)["jwks_uri"])
            found = jwt.PyJWKSet.from_dict(fetched(where))
        except (Unavailable, jwt.PyJWTError, KeyError) as error:
            if self._keys:
                return
            raise _down(self._issuer.url, str(error)) from None
        self._keys = {str(k.key_id): k for k in found.keys if k.public_key_use in (None, "sig")}
        self._fetched = at


class Foreigners:
    """Reads tokens of the issuers in the settings, and finds (or makes) the account of whom they speak."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._access, self._store = settings.access, store
        self._issuers = {issuer.url: issuer for issuer in issuers(settings)}
        self._keys = {url: Keys(issuer) for url, issuer in self._issuers.items()}

    def knows(self, issuer: str | None) -> bool:
        """Whether tokens of that issuer are read here."""
        return issuer in self._issuers

    def user(self, token: str, issuer: str) -> User:
        """The account of whom a token speaks. Denied ``unauthorized`` for a bad token or a closed account."""
        return self.account(self.claims(token, issuer))

    def claims(self, token: str, issuer: str, audiences: Sequence[str] = (), nonce: str | None = None) -> Any:
        """The verified claims of a token. audiences: instead of the issuer's usual ones. nonce: it has to carry."""
        known = self._issuers[issuer]
        key, algorithms = self._verifier(token, known)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms,
                options={"require": _REQUIRED},
                audience=list(audiences or known.audiences),
                issuer=known.url,
                leeway=_LEEWAY,
            )
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        if nonce is not None and claims.get("nonce") != nonce:
            raise _refused("the nonce is another")
        subject = claims["sub"]
        if (
            not isinstance(subject, str)
            or not 0 < len(subject) <= _LONGEST_SUBJECT
            or not subject.isprintable()
        ):
            raise _refused("it speaks of nobody")
        if claims.get("is_anonymous") is True:
            raise _refused("it speaks of an anonymous visitor")
        return claims

    def _verifier(self, token: str, issuer: Foreign) -> tuple[Any, list[str]]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
            raise _refused("it is a token for something else")
        if issuer.secret:
            return issuer.secret, ["HS256"]
        if header.get("alg") not in _BY_KEYS:
            raise _refused("its algorithm is not accepted")
        key = self._keys[issuer.url].key(str(header.get("kid")))
        if key is None:
            raise _refused("its issuer has no such key")
        # A key says itself what it is for; a token does not choose.
        named = getattr(key, "algorithm_name", None)
        return key.key, [named] if named in _BY_KEYS else _BY_KEYS

    def account(self, claims: dict[str, Any]) -> User:
        """The account of verified claims, made at first sight. Denied ``unauthorized`` for a role that we do not have."""
        issuer, subject, name = str(claims["iss"]), str(claims["sub"]), claims.get("name")
        claimed = claims.get(self._access.oidc_role_claim)
        if claimed is not None and (not isinstance(claimed, str) or claimed not in rights.ROLES):
            # Neither the role of before nor the default is what its issuer wants.
            raise _refused(
                f"the role in its claim {self._access.oidc_role_claim} is none of {', '.join(rights.ROLES)}"
            )
        before, user = self._store.foreign_user(
            issuer,
            subject,
            _address(claims),
            name[:255] if isinstance(name, str) and name.isprintable() else "",
            claimed,
            self._access.oidc_role,
        )
        with acting(replace(current(), user=user.id, name=user.email)):
            if before is None:
                said = {**form(user), "issuer": issuer, "subject": subject}
                self._store.audit("user", user.id, "created", new=said)
            elif before.role != user.role:
                self._store.audit("user", user.id, "updated", old=form(before), new=form(user))
        if not user.active:
            raise _refused("the account is closed")
        return user


def _address(claims: dict[str, Any]) -> str:
    """The address of verified claims, "" where there is none that could be one."""
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is False:
        return ""
    try:
        return address(email)
    except Invalid:
        return ""


def issuers(settings: Settings) -> list[Foreign]:
    """The issuers of the settings. Invalid ``bad_setting``."""
    access, found = settings.access, []
    if access.oidc_role not in rights.ROLES:
        raise _setting("HEADRACE_OIDC_ROLE", f"one of {', '.join(rights.ROLES)} is wanted")
    if access.oidc_issuer:
        # With an audience of the API, id tokens (which are for the client) do not open it.
        audiences = tuple(a for a in (access.oidc_audience or access.oidc_client_id,) if a)
        if not audiences:
            raise _setting("HEADRACE_OIDC_AUDIENCE", "whom the issuer's tokens are for is wanted")
        # As it stands: names of issuers are compared letter by letter, and some end in a slash.
        found.append(Foreign(access.oidc_issuer, audiences))
    if access.supabase_url:
        url = access.supabase_url.rstrip("/") + "/auth/v1"
        secret = access.supabase_jwt_secret
        if secret and len(secret) < _SHORTEST_SECRET:
            raise _setting(
                "HEADRACE_SUPABASE_JWT_SECRET", f"{_SHORTEST_SECRET} characters at least are wanted"
            )
        found.append(Foreign(url, ("authenticated",), f"{url}/.well-known/jwks.json", secret))
    return found


def discovery(issuer: str) -> dict[str, Any]:
    """What an issuer says of itself. Unavailable ``issuer_unavailable``."""
    found = fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise _down(issuer, "it calls itself by another name")
    return found


def fetched(url: str) -> dict[str, Any]:
    """A JSON object from an issuer, of a bounded size."""
    try:
        with httpx.stream("GET", url, timeout=3.0, follow_redirects=False) as answer:
            body = b""
            for part in answer.iter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise _down(url, "its answer is too long")
            if not answer.is_success:
                raise _down(url, f"it answered {answer.status_code}")
        found = httpx.Response(200, content=body).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise _down(url, type(error).__name__) from None
    if not isinstance(found, dict):
        raise _down(url, "its answer is no object")
    return found


def _down(url: str, why: str) -> Unavailable:
    return Unavailable(
        "issuer_unavailable",
        f"The issuer {url} cannot be asked: {why}",
        "Try again later, or log in with an account of Headrace.",
    )


def _refused(why: str) -> Denied:
    return Denied("unauthorized", f"The token is refused: {why}", "Get a fresh one from its issuer.")


def _setting(variable: str, why: str) -> Invalid:
    return Invalid("bad_setting", f"{variable}: {why}", f"Mend the variable {variable}.")
