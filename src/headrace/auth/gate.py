"""The gate that every request passes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from headrace.auth import rights, tokens
from headrace.auth.attempts import Attempts
from headrace.auth.foreign import Foreigners
from headrace.auth.people import People
from headrace.auth.principal import Kind, Principal
from headrace.auth.refusals import Refusals
from headrace.auth.sessions import Sessions
from headrace.auth.tokens import Signer
from headrace.errors import Denied
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.users import User

ACCESS_COOKIE = "headrace_access"
REFRESH_COOKIE = "headrace_refresh"
CSRF_COOKIE = "headrace_csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = Principal("local", "local", "admin", "local", rights.ROLES["admin"])


@dataclass(frozen=True, slots=True)
class Knock:
    """What a request carries. authorization, csrf, origin: headers. host: by which it was called. address: of the client."""

    method: str
    authorization: str = field(default="", repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    csrf: str = field(default="", repr=False)
    origin: str = ""
    host: str = ""
    address: str = ""


class Gate:
    """Lets in whom it can prove: by the installation's own token, a session, an API token, a token of another issuer.

    token: the installation's own. Whoever is proven is proven anew at each request: what was revoked is out at once.
    """

    def __init__(self, settings: Settings, store: Store, token: str) -> None:
        self._store, self._token, self._web = store, token, settings.web
        self.signer = Signer(store.secret_keys)
        self.attempts = Attempts(settings.redis)
        self.refusals = Refusals(store)
        self.sessions = Sessions(settings, store, self.signer, self.attempts, self.refusals)
        self.foreigners = Foreigners(settings, store)
        self.people = People(settings, store)

    def enter(self, knock: Knock, permission: str) -> Principal | None:
        """Who knocks, None for a stranger at a public door.

        Denied ``unauthorized`` (401), ``forbidden`` and ``csrf`` (403), TooMany.
        """
        if permission == rights.ALIVE:
            return None
        try:
            principal = None if permission == rights.PUBLIC else self.prove(knock)
        except Denied:
            with self.refusals.noting(knock.address):
                self.attempts.hit("calls without proof", knock.address, self._web.rate_anonymous)
            raise
        if principal is None:
            with self.refusals.noting(knock.address):
                self.attempts.hit("calls without proof", knock.address, self._web.rate_anonymous)
            if permission == rights.PUBLIC:
                return None
            raise _unproven(knock)
        self.attempts.hit("calls", principal.id, self._web.rate_principal)
        if principal.cookie and knock.method not in _SAFE:
            self._same_site(knock, principal)
        if not principal.may(permission):
            raise Denied(
                "forbidden",
                f"{principal.name} may not do that: it needs {permission}",
                "Ask an admin for a role (or take an API token with a scope) that has it.",
                {"permission": permission},
            )
        return principal

    def at_hand(self, knock: Knock, permission: str) -> bool:
        """Whether ``enter`` needs neither a database nor Redis: it can be called where nothing may wait."""
        if permission == rights.ALIVE:
            return True
        return self.attempts.at_hand and self._is_own(knock.authorization.removeprefix("Bearer "))

    def _is_own(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def prove(self, knock: Knock) -> Principal | None:
        """Who knocks, as far as it can be proven; a header counts before a cookie."""
        if knock.authorization:
            scheme, _, given = knock.authorization.partition(" ")
            return self._bearer(given.strip()) if scheme.lower() == "bearer" and given.strip() else None
        if cookie := knock.cookies.get(ACCESS_COOKIE):
            return self._session(cookie, cookie=True)
        return None

    def _bearer(self, token: str) -> Principal | None:
        if self._is_own(token):
            return _LOCAL
        if token.startswith(tokens.API_PREFIX):
            return self._api_token(token)
        issuer = tokens.issuer_of(token)
        if issuer is not None and self.foreigners.knows(issuer):
            return _of(self.foreigners.user(token, issuer), "external")
        return self._session(token)

    def _session(self, token: str, cookie: bool = False) -> Principal | None:
        said = self.signer.read_access(token)
        user = self._store.session_user(said.session, said.user) if said else None
        return _of(user, "session", session=said.session, cookie=cookie) if said and user else None

    def _api_token(self, token: str) -> Principal | None:
        id_, own = tokens.split(token, tokens.API_PREFIX) or ("", "")
        found = self._store.token_and_user(id_) if id_ else None
        if found is None or not hmac.compare_digest(found[0].hash, tokens.digest(own)):
            return None
        self._store.touch_token(found[0])
        return _of(found[1], "api_token", scopes=found[0].scopes, token=id_)

    def _same_site(self, knock: Knock, principal: Principal) -> None:
        """A page elsewhere can send our cookie, but neither read the value bound to it nor change its own origin."""
        if not self.may_come_from(knock.origin, knock.host):
            raise _cross_site("the call comes from another site")
        if principal.session is None or not self.signer.csrf_fits(principal.session, knock.csrf):
            raise _cross_site("the header X-CSRF-Token is missing or wrong")

    def may_come_from(self, origin: str, host: str) -> bool:
        """Whether a browser's Origin is ours or one of the settings; no Origin is no browser's cross-site call."""
        if not origin:
            return True
        own = {self._web.public_url.rstrip("/"), *(o.rstrip("/") for o in self._web.cors_origins)}
        try:
            place = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        return origin.rstrip("/") in own or place == host.lower()


def _of(
    user: User,
    kind: Kind,
    *,
    session: str | None = None,
    scopes: Sequence[str] | None = None,
    cookie: bool = False,
    token: str | None = None,
) -> Principal:
    permissions = rights.granted(user.role, scopes)
    narrowed = scopes is not None and "*" not in scopes
    return Principal(user.id, user.email, user.role, kind, permissions, session, cookie, token, narrowed)


def _unproven(knock: Knock) -> Denied:
    given = bool(knock.authorization or knock.cookies.get(ACCESS_COOKIE))
    return Denied(
        "unauthorized",
        "The token is missing, wrong, expired or revoked" if given else "A bearer token is wanted",
        "Log in (POST auth/login, `headrace login`) or send `Authorization: Bearer TOKEN`; on the server's own machine "
        "the token is in the file `token` of the data folder.",
    )


def _cross_site(why: str) -> Denied:
    return Denied(
        "csrf",
        f"Refused: {why}",
        "Send the value of the cookie headrace_csrf in the header X-CSRF-Token, from this server's own pages.",
    )
