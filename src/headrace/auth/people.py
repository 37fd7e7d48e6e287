"""The use cases around accounts and API tokens."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from headrace.auth import passwords, rights, tokens
from headrace.auth.principal import Principal
from headrace.errors import Denied, Invalid
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.base import new_id
from headrace.store.database import now
from headrace.store.users import ApiToken, Login, User

JSON = dict[str, Any]
_ADDRESS = re.compile(r"[^@\s,;\"<>]{1,200}@[^@\s,;\"<>]{1,119}")


class People:
    """Accounts: who there is, what they may, how they change."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._access, self._store = settings.access, store

    # --- accounts

    def ensure_admin(self) -> tuple[str, str | None] | None:
        """At the first start, make one admin: their address, and the password where none was given in the settings."""
        if self._store.any_user():
            return None
        given = self._access.admin_password
        password = given or tokens.secret()
        email = address(self._access.admin_email)
        if given:
            passwords.check_rules(given, email)
        hashed = passwords.hashed(password)
        with self._store.together():
            made = self._store.add_first_user(email, hashed)
            if made is None:
                return None
            self._store.audit("user", made.id, "created", new=form(made))
        return email, None if given else password

    def sign_up(self, email: str, full_name: str, password: str) -> User:
        """An account for a stranger, where that is allowed. Denied ``signup_closed``."""
        if not self._access.signup:
            raise Denied("signup_closed", "Signing up is closed here", "Ask an admin for an account.")
        return self.add(email, full_name, "user", password)

    def add(self, email: str, full_name: str, role: str, password: str | None) -> User:
        """A new account; Conflict ``exists_already``, Invalid ``weak_password``."""
        email = address(email)
        if password is not None:
            passwords.check_rules(password, email)
        hashed = passwords.hashed(password) if password is not None else None
        with self._store.together():
            made = self._store.add_user(email, full_name, role, hashed)
            self._store.audit("user", made.id, "created", new=form(made))
            return made

    def change(
        self,
        name: str,
        *,
        full_name: str | None = None,
        role: str | None = None,
        active: bool | None = None,
        password: str | None = None,
        expected: int | None = None,
    ) -> User:
        """Change what is given; sessions end when role, activity or password change."""
        changes: JSON = {}
        if full_name is not None:
            changes["full_name"] = full_name
        if role is not None:
            changes["role_name"] = role
        if active is not None:
            changes["is_active"] = active
        if password is not None:
            passwords.check_rules(password, self._store.user(name).email)
            changes["hashed_password"] = passwords.hashed(password)
        with self._store.together():
            old, new = self._store.change_user(name, changes, expected)
            word = {"password": "changed"}  # nosec B105  # pragma: allowlist secret
            said = {**form(new), **(word if password is not None else {})}
            self._store.audit("user", new.id, "updated", old=form(old), new=said)
            return new

    def change_password(self, principal: Principal, old: str, new: str) -> None:
        """One's own password; every session ends. Denied ``wrong_password``, Invalid ``weak_password``."""
        user = self._own(principal)
        if not passwords.fits(old, user.password):
            self._store.audit("user", user.id, "password_refused")
            raise Denied("wrong_password", "The current password is wrong", "Try again, or ask an admin.")
        passwords.check_rules(new, user.email)
        changes = {"hashed_password": passwords.hashed(new)}
        with self._store.together():
            self._store.change_user(user.id, changes)
            self._store.audit("user", user.id, "password_changed")

    def delete(self, name: str, expected: int | None = None) -> None:
        """Take an account away; Conflict ``last_admin``, Precondition ``stale``."""
        with self._store.together():
            gone = self._store.delete_user(name, expected)
            self._store.audit("user", gone.id, "deleted", old=form(gone))

    def unlock(self, name: str) -> User:
        """Let a locked account log in again."""
        with self._store.together():
            free = self._store.unlock(name)
            self._store.audit("user", free.id, "unlocked")
            return free

    def log_out_everywhere(self, name: str) -> int:
        """End every session of an account; how many."""
        with self._store.together():
            user = self._store.user(name)
            ended = self._store.end_sessions(user.id)
            self._store.audit("user", user.id, "logged_out", new={"sessions": ended})
            return ended

    def _own(self, principal: Principal) -> User:
        require_login(principal)
        if principal.kind == "local":
            raise Denied("needs_login", "The installation's token is nobody's account", "Log in first.")
        return self._store.user(principal.id)

    # --- API tokens

    def add_token(
        self, principal: Principal, name: str, scopes: list[str], expires_at: datetime | None
    ) -> tuple[ApiToken, str]:
        """A token for one's own account, and its value, which is shown this once."""
        user = self._own(principal)
        if expires_at is not None and expires_at <= now():
            raise Invalid("bad_expiry", "expires_at has passed already", "Take a later one, or none.")
        wanted, own, id_ = rights.known_scopes(scopes), tokens.secret(), new_id()
        with self._store.together():
            made = self._store.add_token(id_, user.id, name, tokens.digest(own), wanted, expires_at)
            self._store.audit("api_token", id_, "created", new={"name": name, "scopes": wanted})
        return made, tokens.join(id_, own, tokens.API_PREFIX)

    def tokens(self, principal: Principal, user: str | None = None) -> list[ApiToken]:
        """One's own tokens, or a user's for those who may read users; a token of narrower scope sees but itself."""
        if user is not None and not principal.may("users:read"):
            raise Denied("forbidden", "Only admins see the tokens of others", "Leave `user` out.")
        found = self._store.tokens(self._store.user(user).id if user is not None else principal.id)
        alone = user is None and principal.narrowed
        return [t for t in found if not alone or t.id == principal.token]

    def revoke_token(self, principal: Principal, id_: str) -> None:
        """End a token: one's own, anybody's for those who may write users. Denied ``needs_login``.

        A token of narrower scope ends but itself.
        """
        owner = None if principal.may("users:write") else principal.id
        if owner is not None and principal.narrowed and id_ != principal.token:
            require_login(principal)
        with self._store.together():
            gone = self._store.revoke_token(id_, owner)
            self._store.audit("api_token", id_, "revoked", old={"name": gone.name})


def require_login(principal: Principal) -> None:
    """Denied ``needs_login`` for an API token: what it may is in its scopes, and its owner's account is in none."""
    if principal.kind == "api_token":
        raise Denied("needs_login", "An API token cannot do that", "Log in with address and password.")


def address(email: str) -> str:
    """An e-mail address in the form that is kept; Invalid ``bad_address``."""
    email = email.strip().lower()
    if not _ADDRESS.fullmatch(email):
        raise Invalid("bad_address", "An e-mail address is wanted", "Such as name@example.org.")
    return email


def form(user: User) -> JSON:
    """An account as answers and the audit show it."""
    return {
        "id": user.id,
        "email": user.email,
        "full_name": user.full_name,
        "role": user.role,
        "is_active": user.active,
        "is_superuser": user.first,
        "external": user.issuer is not None,
        "locked": user.locked_until is not None and user.locked_until > now(),
        "last_login_at": user.last_login_at.isoformat() if user.last_login_at else None,
        "version": user.version,
        "created_at": user.created_at.isoformat(),
        "updated_at": user.updated_at.isoformat(),
    }


def session_form(session: Login, own: str | None) -> JSON:
    """A session as its user sees it."""
    return {
        "id": session.id,
        "current": session.id == own,
        "user_agent": session.user_agent,
        "address": session.address,
        "created_at": session.created_at.isoformat(),
        "last_used_at": session.last_used_at.isoformat(),
        "expires_at": session.expires_at.isoformat(),
    }


def token_form(token: ApiToken) -> JSON:
    """An API token without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "last_used_at": token.last_used_at.isoformat() if token.last_used_at else None,
    }
