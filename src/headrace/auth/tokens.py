"""Tokens of our own: short-lived JWTs of sessions, refresh tokens, API tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ISSUER = AUDIENCE = "headrace"
API_PREFIX = "hr_"
_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "sid"]


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token says: the user's and the session's id."""

    user: str
    session: str


class Signer:
    """Signs and reads tokens with keys derived from the installation's secret keys: signs by the first, reads by any."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._keys = {_kid(key): _derived(key, b"headrace access tokens") for key in secret_keys}
        self._first = _kid(secret_keys[0])
        self._csrf = [_derived(key, b"headrace csrf") for key in secret_keys]
        self._refresh = [_derived(key, b"headrace refresh tokens") for key in secret_keys]

    def access(self, user: str, session: str, seconds: int) -> str:
        """An access token that lives so long."""
        at = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "sid": session,
            "iat": at,
            "exp": at + timedelta(seconds=seconds),
        }
        return self.sign(claims, "at+jwt")

    def read_access(self, token: str) -> Access | None:
        """What a token of ours says; None for any other, forged or expired one."""
        claims = self.read(token, "at+jwt", _REQUIRED)
        return Access(str(claims["sub"]), str(claims["sid"])) if claims else None

    def sign(self, claims: dict[str, Any], kind: str) -> str:
        """A signed token of a kind (the header ``typ``)."""
        headers = {"kid": self._first, "typ": kind}
        return jwt.encode(claims, self._keys[self._first], _ALGORITHM, headers=headers)

    def read(self, token: str, kind: str, required: list[str]) -> dict[str, Any] | None:
        """The claims of a token of that kind, with at least these; None when it is not ours, or expired."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(str(header.get("kid")))
            if key is None or header.get("typ") != kind:
                return None
            options: Any = {"require": required}
            claims: dict[str, Any] = jwt.decode(
                token, key, [_ALGORITHM], options=options, audience=AUDIENCE, issuer=ISSUER
            )
        except jwt.PyJWTError:
            return None
        return claims

    def stamped(self, session: str) -> str:
        """A fresh secret for a refresh token of this session, which nobody else could have made."""
        return self._stamped(self._refresh[0], session, secret())

    def followers(self, session: str, own: str) -> list[str]:
        """The secret that follows such a secret, by each key: the same for everybody who has the former."""
        return [
            self._stamped(key, session, _base64(_mac(key, f"next {session} {own}"))) for key in self._refresh
        ]

    def genuine(self, session: str, own: str) -> bool:
        """Whether such a secret was made here for this session, at whatever time."""
        head, _, stamp = own.partition(".")
        known = (_mac(key, f"refresh {session} {head}").hex() for key in self._refresh)
        return any(hmac.compare_digest(value.encode(), stamp.encode("utf-8", "replace")) for value in known)

    @staticmethod
    def _stamped(key: bytes, session: str, own: str) -> str:
        return f"{own}.{_mac(key, f'refresh {session} {own}').hex()}"

    def csrf(self, session: str) -> str:
        """The value that calls by cookie of this session have to repeat in a header."""
        return hmac.new(self._csrf[0], session.encode(), hashlib.sha256).hexdigest()

    def csrf_fits(self, session: str, given: str) -> bool:
        """Whether that is the value, by any of the keys."""
        known = (hmac.new(key, session.encode(), hashlib.sha256).hexdigest() for key in self._csrf)
        return any(hmac.compare_digest(value.encode(), given.encode()) for value in known)


def issuer_of(token: str) -> str | None:
    """The issuer that an unverified JWT claims, None when it is no JWT."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    found = claims.get("iss")
    return found if isinstance(found, str) else None


def secret() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def digest(text: str) -> str:
    """What is kept of such a secret; it has entropy enough for a plain hash."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def join(id_: str, own: str, prefix: str = "") -> str:
    """``<prefix><id>.<secret>``: the id finds the row, the secret proves it."""
    return f"{prefix}{id_.replace('-', '')}.{own}"


def split(token: str, prefix: str = "") -> tuple[str, str] | None:
    """The id (with its dashes again) and the secret; None for what is no such token."""
    head, dot, own = token.removeprefix(prefix).partition(".")
    if not token.startswith(prefix) or not dot or len(head) != 32 or not own:
        return None
    return f"{head[:8]}-{head[8:12]}-{head[12:16]}-{head[16:20]}-{head[20:]}", own


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _kid(key: str) -> str:
    return hashlib.sha256(b"kid " + key.encode()).hexdigest()[:16]


def _derived(key: str, use: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=use).derive(key.encode())
