"""Sessions: logging in, staying in, logging out."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import timedelta

from headrace.auth import passwords, tokens
from headrace.auth.attempts import Attempts
from headrace.auth.refusals import Refusals
from headrace.auth.tokens import Signer
from headrace.errors import Denied
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.base import new_id
from headrace.store.database import now
from headrace.store.users import Login, User

# Failures in a row -> seconds that the account is locked for.
LOCKS = {10: 900.0, 15: 1800.0, 20: 3600.0}
# So many passwords a minute are tried on one account, wherever they come from.
_ACCOUNT_A_MINUTE = 20
# Two tabs may use the same refresh token at once; later it was stolen.
_GRACE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Entered:
    """What a login gives. access, refresh: tokens. csrf: what calls by cookie repeat. seconds: life of access."""

    user: User
    session: str
    seconds: int
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    csrf: str = field(repr=False)


class Sessions:
    """Opens, renews and ends sessions."""

    def __init__(
        self, settings: Settings, store: Store, signer: Signer, attempts: Attempts, refusals: Refusals
    ) -> None:
        self._access, self._web = settings.access, settings.web
        self._store, self._signer, self._attempts = store, signer, attempts
        self._refusals = refusals

    def log_in(self, email: str, password: str, address: str, user_agent: str) -> Entered:
        """A session for the right password. Denied ``wrong_login`` (401), TooMany for too many attempts.

        A locked account answers as a wrong password does: nobody learns which accounts there are.
        """
        email = email.strip().lower()
        self._count(email, address)
        user = self._store.find_user(email)
        fits = passwords.fits(password, user.password if user else None)
        if user is None or not fits or not user.active or _locked(user):
            self._store.login_refused(email, user.id if user else email, not fits, LOCKS)
            raise Denied(
                "wrong_login",
                "The address or the password is wrong",
                "After several failures an account is locked for a quarter of an hour; an admin can unlock it.",
            )
        if user.password and passwords.outdated(user.password):
            self._store.rehash(user.id, user.password, passwords.hashed(password))
        return self.open(user, address, user_agent, "login")

    def _count(self, email: str, address: str) -> None:
        with self._refusals.noting(address):
            self._attempts.hit("logins", address, self._web.rate_login)
            self._attempts.hit("logins of this account", email, _ACCOUNT_A_MINUTE)

    def open(self, user: User, address: str, user_agent: str, how: str) -> Entered:
        """A new session of a user who has proven who they are. how: for the audit."""
        id_ = new_id()
        own = self._signer.stamped(id_)
        with self._store.together():
            session = self._store.begin_session(
                id_, user.id, tokens.digest(own), self._access.refresh_seconds, user_agent, address
            )
            self._store.audit("user", user.id, how, new={"session": session.id})
        return self._entered(user, session.id, own)

    def renew(self, refresh: str) -> Entered:
        """Fresh tokens for a refresh token, which is used up. Denied ``unauthorized``.

        Tabs that use the same one at once get the same next one. One that was used up longer ago ends its session: two
        have it, and one of them is a thief.
        """
        id_, own = tokens.split(refresh) or ("", "")
        session = self._store.session(id_)
        user = self._store.session_user(id_, session.user_id) if session else None
        if session is None or user is None:
            raise _over()
        given, followers = tokens.digest(own), self._signer.followers(id_, own)
        life = self._access.refresh_seconds
        if _same(session.refresh, given):
            if self._store.rotate_session(id_, given, tokens.digest(followers[0]), life):
                return self._entered(user, id_, followers[0])
            # Another tab was quicker; both go on.
            session = self._store.session(id_) or session
            if session.revoked_at is not None:
                raise _over()
        if _in_grace(session, given):
            for fresh in followers:
                if _same(session.refresh, tokens.digest(fresh)):
                    return self._entered(user, id_, fresh)
        elif self._signer.genuine(id_, own):
            # Whoever only knows the session's id cannot end it.
            with self._store.together():
                self._store.end_session(id_)
                self._store.audit("user", user.id, "refresh_reuse", new={"session": id_})
        raise _over()

    def forget(self, refresh: str) -> None:
        """End the session of a refresh token, when that is its present one."""
        id_, own = tokens.split(refresh) or ("", "")
        session = self._store.session(id_) if id_ else None
        if session is not None and _same(session.refresh, tokens.digest(own)):
            self._store.end_session(session.id)

    def log_out(self, session: str, user: User | None) -> None:
        """End a session."""
        with self._store.together():
            if self._store.end_session(session) and user is not None:
                self._store.audit("user", user.id, "logout", new={"session": session})

    def _entered(self, user: User, session: str, own: str) -> Entered:
        seconds = self._access.access_seconds
        return Entered(
            user,
            session,
            seconds,
            self._signer.access(user.id, session, seconds),
            tokens.join(session, own),
            self._signer.csrf(session),
        )


def _locked(user: User) -> bool:
    return user.locked_until is not None and user.locked_until > now()


def _in_grace(session: Login, given: str) -> bool:
    if session.previous is None or session.rotated_at is None:
        return False
    return _same(session.previous, given) and now() - session.rotated_at < _GRACE


def _same(kept: str, given: str) -> bool:
    return hmac.compare_digest(kept.encode(), given.encode())


def _over() -> Denied:
    return Denied("unauthorized", "The session is over", "Log in again.")
