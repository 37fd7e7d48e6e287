"""Tokens of other issuers: any OpenID Connect issuer, and Supabase (by its keys or by its shared secret)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jwt

from headrace.actor import acting, current
from headrace.auth import rights
from headrace.auth.issuers import BY_KEYS, Foreign, Issuer, Key
from headrace.auth.people import address, form
from headrace.errors import Denied, Invalid
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.users import User

# Of logouts and security events there are tokens, too.
_TYPES = ("jwt", "at+jwt")
_LONGEST_SUBJECT = 255
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_LEEWAY = 30.0
_SHORTEST_SECRET = 32


class Foreigners:
    """Reads tokens of the issuers in the settings, and finds (or makes) the account of whom they speak."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._access, self._store = settings.access, store
        self._issuers = {known.url: Issuer(known) for known in issuers(settings)}

    def knows(self, issuer: str | None) -> bool:
        """Whether tokens of that issuer are read here."""
        return issuer in self._issuers

    def user(self, token: str, issuer: str) -> User:
        """The account of whom a token speaks. Denied ``unauthorized`` for a bad token or a closed account."""
        return self.account(self.claims(token, issuer))

    def claims(self, token: str, issuer: str, audiences: Sequence[str] = (), nonce: str | None = None) -> Any:
        """The verified claims of a token. audiences: instead of the issuer's usual ones. nonce: it has to carry."""
        known = self._issuers[issuer].known
        key, algorithms = self._verifier(token, self._issuers[issuer])
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

    def endpoint(self, issuer: str, name: str) -> str:
        """An address that an issuer names in its discovery document. Unavailable ``issuer_unavailable``."""
        return self._issuers[issuer].endpoint(name)

    def _verifier(self, token: str, issuer: Issuer) -> Key:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
            raise _refused("it is a token for something else")
        if issuer.known.secret:
            return issuer.known.secret, ["HS256"]
        if header.get("alg") not in BY_KEYS:
            raise _refused("its algorithm is not accepted")
        key = issuer.key(str(header.get("kid")))
        if key is None:
            raise _refused("its issuer has no such key")
        return key

    def account(self, claims: dict[str, Any]) -> User:
        """The account of verified claims, made at first sight. Denied ``unauthorized`` for a role that we do not have."""
        issuer, subject, name = str(claims["iss"]), str(claims["sub"]), claims.get("name")
        claimed = claims.get(self._access.oidc_role_claim)
        if claimed is not None and (not isinstance(claimed, str) or claimed not in rights.ROLES):
            # Neither the role of before nor the default is what its issuer wants.
            raise _refused(
                f"the role in its claim {self._access.oidc_role_claim} is none of {', '.join(rights.ROLES)}"
            )
        with self._store.together():
            before, user = self._store.foreign_user(
                issuer,
                subject,
                _address(claims, self._issuers[issuer].known.confirms),
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


def _address(claims: dict[str, Any], confirms: bool) -> str:
    """The address of verified claims, "" where there is none, or where nobody says that it is theirs.

    confirms: the issuer need not say it.
    """
    email, said = claims.get("email"), claims.get("email_verified", confirms)
    # Some issuers write their truths as text.
    if not isinstance(email, str) or not (said is True or said == "true"):
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
        # Its tokens have no `email_verified` (one in `user_metadata` is the user's own word): an address is in them once
        # it is confirmed, unless the project does without. https://supabase.com/docs/guides/auth/jwt-fields
        keys = f"{url}/.well-known/jwks.json"
        found.append(Foreign(url, ("authenticated",), keys, secret, confirms=True))
    return found


def _refused(why: str) -> Denied:
    return Denied("unauthorized", f"The token is refused: {why}", "Get a fresh one from its issuer.")


def _setting(variable: str, why: str) -> Invalid:
    return Invalid("bad_setting", f"{variable}: {why}", f"Mend the variable {variable}.")
