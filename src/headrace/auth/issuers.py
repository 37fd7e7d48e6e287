"""What other issuers say of themselves, and their keys."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import jwt

from headrace.errors import Unavailable

JSON = dict[str, Any]
T = TypeVar("T")
# A key and the algorithms that it may have signed with.
Key = tuple[Any, list[str]]

_FRESH = 3600.0
# After an attempt, so long none is made again.
_PAUSE = 5.0
# In all, for one answer; and how long others wait for whoever asks.
_LIMIT = 4.0
_PATIENCE = 5.0
_MOST_BYTES = 1 << 20
_RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
_CURVES = {
    "P-256": ["ES256"],
    "P-384": ["ES384"],
    "P-521": ["ES512"],
    "Ed25519": ["EdDSA"],
    "Ed448": ["EdDSA"],
}
# Never none, never a shared secret: a public key cannot be taken for one.
BY_KEYS = frozenset(_RSA).union(*_CURVES.values())


@dataclass(frozen=True, slots=True)
class Foreign:
    """One issuer that is believed. url: its ``iss``. jwks: where its keys are, "" to look it up. secret: instead of keys.

    confirms: it names no address that it has not confirmed, and says so in no claim.
    """

    url: str
    audiences: tuple[str, ...]
    jwks: str = ""
    secret: str = ""
    confirms: bool = False


class Kept(Generic[T]):
    """Something of an issuer, asked for by one thread at a time and kept for an hour; what fails is not tried at once again."""

    def __init__(self, issuer: str, ask: Callable[[], T]) -> None:
        self._issuer, self._ask = issuer, ask
        self._turn = threading.Lock()
        self._value: T | None = None
        self._asked = self._tried = -_FRESH
        self._trouble = ""

    def get(self, fits: Callable[[T], bool] = lambda _: True) -> T:
        """It, asked for anew when it is old or does not fit. Unavailable ``issuer_unavailable`` when there is none.

        While one asks, others go on with what is kept, and wait (not for long) where that does not fit.
        """
        kept = self._value
        useful = kept is not None and fits(kept)
        if kept is not None and useful and time.monotonic() - self._asked < _FRESH:
            return kept
        if self._turn.acquire(timeout=0 if useful else _PATIENCE):
            try:
                self._renew(fits)
            finally:
                self._turn.release()
        elif kept is None:
            raise down(self._issuer, "it takes too long to answer")
        if self._value is None:
            raise down(self._issuer, self._trouble)
        return self._value

    def _renew(self, fits: Callable[[T], bool]) -> None:
        at = time.monotonic()
        fresh = self._value is not None and at - self._asked < _FRESH and fits(self._value)
        # Somebody who invents key ids does not make us ask each time.
        if fresh or at - self._tried < _PAUSE:
            return
        try:
            self._value = self._ask()
            self._asked = time.monotonic()
        except Unavailable as error:
            self._trouble = error.message
        finally:
            self._tried = time.monotonic()


class Issuer:
    """An issuer as it is asked."""

    def __init__(self, known: Foreign) -> None:
        self.known = known
        self._said = Kept(known.url, self._discover)
        self._keys = Kept(known.url, self._fetch_keys)

    def endpoint(self, name: str) -> str:
        """An address of its discovery document. Unavailable ``issuer_unavailable``."""
        found = self._said.get().get(name)
        if not isinstance(found, str):
            raise down(self.known.url, f"it has no {name}")
        return found

    def key(self, kid: str) -> Key | None:
        """The key of that id, None when the issuer has none. Unavailable ``issuer_unavailable`` when it is not known."""
        return self._keys.get(lambda keys: kid in keys).get(kid)

    def _discover(self) -> JSON:
        found = fetched(f"{self.known.url.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.known.url:
            raise down(self.known.url, "it calls itself by another name")
        return found

    def _fetch_keys(self) -> dict[str, Key]:
        keys = dict(_usable(fetched(self.known.jwks or self.endpoint("jwks_uri")).get("keys")))
        if not keys:
            raise down(self.known.url, "it publishes no key to verify with")
        return keys


def _usable(published: object) -> Iterable[tuple[str, Key]]:
    for said in published if isinstance(published, list) else []:
        algorithms = _algorithms(said) if isinstance(said, dict) else []
        if algorithms and said.get("use", "sig") == "sig":
            try:
                yield str(said.get("kid")), (jwt.PyJWK(said, algorithms[0]).key, algorithms)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue


def _algorithms(said: JSON) -> list[str]:
    """What a key may have signed with: it says so itself, or is of a kind that does; a token does not choose."""
    kind = _RSA if said.get("kty") == "RSA" else _CURVES.get(str(said.get("crv")), [])
    return [a for a in kind if said.get("alg") in (None, a)]


def fetched(url: str) -> JSON:
    """A JSON object from an issuer, of a bounded size in a bounded time. Unavailable ``issuer_unavailable``."""
    try:
        answer = asyncio.run(asyncio.wait_for(_get(url), _LIMIT))
        found = answer.json()
    except TimeoutError:
        raise down(url, "it takes too long to answer") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise down(url, type(error).__name__) from None
    if not isinstance(found, dict):
        raise down(url, "its answer is no object")
    return found


async def _get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=_LIMIT) as client, client.stream("GET", url) as answer:
        if not answer.is_success:
            raise down(url, f"it answered {answer.status_code}")
        body = b""
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise down(url, "its answer is too long")
    return httpx.Response(200, content=body)


def down(url: str, why: str) -> Unavailable:
    """An issuer does not do what is wanted of it."""
    return Unavailable(
        "issuer_unavailable",
        f"The issuer {url} cannot be asked: {why}",
        "Try again later, or log in with an account of Headrace.",
    )
