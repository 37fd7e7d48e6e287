"""Users, their sessions and their API tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from headrace.errors import Conflict, NotFound
from headrace.store.audits import audit_row
from headrace.store.base import Part, Transaction, new_id, page, require_version
from headrace.store.database import now
from headrace.store.schema import Utc, api_tokens, audit_logs, sessions, users

_SORTS = ("email", "full_name", "role_name", "created_at", "last_login_at")
_TOUCH = timedelta(minutes=1)
_BATCH = 5000
# Any number will do; it only has to be ours. Held while the last admin could go, or the first come.
_ADMINS_LOCK = 7_237_724


@dataclass(frozen=True, slots=True)
class User:
    """An account. password: its hash, None for accounts of another issuer (issuer, subject). first: it was the first of all."""

    id: str
    email: str
    full_name: str
    password: str | None
    role: str
    active: bool
    first: bool
    issuer: str | None
    subject: str | None
    failed_logins: int
    locked_until: datetime | None
    last_login_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Login:
    """A session. refresh, previous: hashes of the refresh token now and before rotated_at."""

    id: str
    user_id: str
    refresh: str
    previous: str | None
    rotated_at: datetime | None
    user_agent: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token for programs. hash: of its secret. scopes: what it narrows its user's role to."""

    id: str
    user_id: str
    name: str
    hash: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Users(Part):
    """Reading and writing accounts, sessions, API tokens."""

    # --- accounts

    def user(self, name: str) -> User:
        """The living account of that id or e-mail; NotFound ``no_such_user``."""
        with self._reading() as transaction:
            return user_of(_existing(transaction, name))

    def find_user(self, email: str) -> User | None:
        """The living account with that address, None when there is none."""
        query = select(users).where(users.c.email == email, users.c.deleted_at.is_(None))
        with self._reading() as transaction:
            row = transaction.execute(query).first()
            return user_of(row) if row else None

    def users(
        self,
        q: str | None = None,
        role: str | None = None,
        active: bool | None = None,
        sort: str = "email",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[User], int]:
        """A page of accounts and how many fit. q: part of address or name. sort: a column, ``-`` for descending."""
        fits: list[ColumnElement[bool]] = [users.c.deleted_at.is_(None)]
        if q:
            fits.append(
                or_(
                    func.lower(users.c.email).contains(q.lower(), autoescape=True),
                    func.lower(users.c.full_name).contains(q.lower(), autoescape=True),
                )
            )
        if role:
            fits.append(users.c.role_name == role)
        if active is not None:
            fits.append(users.c.is_active.is_(active))
        name = sort.removeprefix("-")
        name = "role_name" if name == "role" else name
        column = users.c[name if name in _SORTS else "email"]
        order = column.desc() if sort.startswith("-") else column
        query: Select[Any] = select(users).where(*fits).order_by(order, users.c.id)
        with self._reading() as transaction:
            rows, total = page(transaction, query, limit, offset)
            return [user_of(r) for r in rows], total

    def any_user(self) -> bool:
        """Whether there ever was an account."""
        with self._reading() as transaction:
            return transaction.execute(select(users.c.id).limit(1)).first() is not None

    def add_user(self, email: str, full_name: str, role: str, password: str | None) -> User:
        """A new account; Conflict ``exists_already``. password: its hash."""
        with self._writing() as transaction:
            _email_free(transaction, email)
            return _insert(transaction, email, full_name, role, password)

    def add_first_user(self, email: str, password: str) -> User | None:
        """The first account, an admin; None when there is (or was) any account. Safe with several at once."""
        with self._writing() as transaction:
            self._lock_admins(transaction)
            if transaction.execute(select(users.c.id).limit(1)).first() is not None:
                return None
            return _insert(transaction, email, "Administrator", "admin", password, is_superuser=True)

    def change_user(
        self, name: str, changes: Mapping[str, Any], expected: int | None = None
    ) -> tuple[User, User]:
        """Change full_name, role_name, is_active, hashed_password; the old and the new.

        Its sessions end when role, activity or password change. Precondition ``stale``, Conflict ``last_admin``.
        """
        with self._writing() as transaction:
            self._lock_admins(transaction)
            row = _existing(transaction, name)
            require_version(row.version, expected)
            after = {**row._mapping, **changes}
            keep_an_admin(transaction, row, after["role_name"] == "admin" and after["is_active"])
            values = {**changes, "version": row.version + 1, "updated_at": now()}
            if after["role_name"] != row.role_name:
                values["role_claimed"] = False
            transaction.execute(update(users).where(users.c.id == row.id).values(**values))
            if any(after[f] != row._mapping[f] for f in ("role_name", "is_active", "hashed_password")):
                _end_sessions(transaction, sessions.c.user_id == row.id)
            return user_of(row), user_of(_existing(transaction, row.id))

    def rehash(self, id_: str, old: str, new: str) -> None:
        """The same password, hashed anew; nothing when it was changed meanwhile."""
        same = (users.c.id == id_) & (users.c.hashed_password == old)
        with self._writing() as transaction:
            transaction.execute(update(users).where(same).values(hashed_password=new))

    def delete_user(self, name: str, expected: int | None = None) -> User:
        """Take an account away, its sessions and tokens with it; Conflict ``last_admin``, Precondition ``stale``."""
        with self._writing() as transaction:
            self._lock_admins(transaction)
            row = _existing(transaction, name)
            require_version(row.version, expected)
            keep_an_admin(transaction, row, False)
            gone = {"deleted_at": now(), "is_active": False, "hashed_password": None}  # nosec B105  # taken away
            transaction.execute(update(users).where(users.c.id == row.id).values(**gone))
            _end_sessions(transaction, sessions.c.user_id == row.id)
            transaction.execute(
                update(api_tokens)
                .where(api_tokens.c.user_id == row.id, api_tokens.c.revoked_at.is_(None))
                .values(revoked_at=now())
            )
            return user_of(row)

    def login_refused(self, email: str, id_: str, wrong: bool, locks: Mapping[int, float]) -> None:
        """Write down a refused login; count a wrong password, unless the account is locked already.

        id_: the account's, or anything where there is none: the same is done for either, so that time does not tell.
        locks: failures in a row -> seconds to lock for.
        """
        at, failures = now(), users.c.failed_logins + 1
        due = [
            ((failures >= n) & ((failures - n) % 5 == 0), literal(at + timedelta(seconds=locks[n]), Utc))
            for n in sorted(locks, reverse=True)
        ]
        counts = (users.c.id == id_) & or_(users.c.locked_until.is_(None), users.c.locked_until <= at)
        values = {"failed_logins": failures, "locked_until": case(*due, else_=None)}
        counted = update(users).where(counts, literal(wrong)).values(values).returning(users.c.locked_until)
        with self._writing() as transaction:
            until = transaction.execute(counted).scalar_one_or_none()
            noted = [audit_row("user", id_, "login_failed", new={"email": email[:320]})]
            if until is not None:
                noted.append(audit_row("user", id_, "locked", new={"until": until.isoformat()}))
            transaction.execute(insert(audit_logs), noted)

    def unlock(self, name: str) -> User:
        """Forget its failed logins and its lock."""
        with self._writing() as transaction:
            row = _existing(transaction, name)
            free = {"failed_logins": 0, "locked_until": None}
            transaction.execute(update(users).where(users.c.id == row.id).values(**free))
            return user_of(_existing(transaction, row.id))

    def _lock_admins(self, transaction: Transaction) -> None:
        # SQLite has one writer as it is.
        if self._engine.dialect.name == "postgresql":
            transaction.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADMINS_LOCK})

    # --- sessions

    def begin_session(
        self, id_: str, user: str, refresh: str, seconds: int, user_agent: str, address: str
    ) -> Login:
        """A new session; refresh: hash of its first refresh token. Clears the user's failed logins."""
        at = now()
        values = {
            "id": id_,
            "user_id": user,
            "refresh_hash": refresh,
            "user_agent": user_agent[:300],
            "address": address,
            "created_at": at,
            "last_used_at": at,
            "expires_at": at + timedelta(seconds=seconds),
        }
        entered = {"failed_logins": 0, "locked_until": None, "last_login_at": at}
        with self._writing() as transaction:
            transaction.execute(insert(sessions).values(**values))
            transaction.execute(update(users).where(users.c.id == user).values(**entered))
            row = transaction.execute(select(sessions).where(sessions.c.id == values["id"])).one()
            return _session(row)

    def session_user(self, session: str, user: str) -> User | None:
        """The user of a session, when both are alive."""
        alive = (sessions.c.revoked_at.is_(None)) & (sessions.c.expires_at > now())
        query = select(users).join(sessions, sessions.c.user_id == users.c.id)
        query = query.where(sessions.c.id == session, users.c.id == user, alive, *_living())
        with self._reading() as transaction:
            row = transaction.execute(query).first()
            return user_of(row) if row else None

    def session(self, id_: str) -> Login | None:
        """One session, ended or not."""
        with self._reading() as transaction:
            row = transaction.execute(select(sessions).where(sessions.c.id == id_)).first()
            return _session(row) if row else None

    def sessions(self, user: str) -> list[Login]:
        """The living sessions of a user, the newest first."""
        alive = (sessions.c.revoked_at.is_(None)) & (sessions.c.expires_at > now())
        query = (
            select(sessions)
            .where(sessions.c.user_id == user, alive)
            .order_by(sessions.c.created_at.desc(), sessions.c.id)
        )
        with self._reading() as transaction:
            return [_session(r) for r in transaction.execute(query)]

    def rotate_session(self, id_: str, old: str, new: str, seconds: int) -> bool:
        """Replace the refresh token's hash if it is still the old one; its life begins anew."""
        at = now()
        fits = (sessions.c.id == id_) & (sessions.c.refresh_hash == old) & sessions.c.revoked_at.is_(None)
        values = {
            "refresh_hash": new,
            "previous_hash": old,
            "rotated_at": at,
            "last_used_at": at,
            "expires_at": at + timedelta(seconds=seconds),
        }
        with self._writing() as transaction:
            return bool(transaction.execute(update(sessions).where(fits).values(**values)).rowcount)

    def end_session(self, id_: str) -> bool:
        """Revoke one; whether it was alive."""
        with self._writing() as transaction:
            return _end_sessions(transaction, sessions.c.id == id_) > 0

    def end_sessions(self, user: str) -> int:
        """Revoke all of a user; how many."""
        with self._writing() as transaction:
            return _end_sessions(transaction, sessions.c.user_id == user)

    def sweep_sessions(self, days: int = 30) -> int:
        """Forget those that ended so long ago, a batch at a time; how many."""
        old = now() - timedelta(days=days)
        ended = (sessions.c.expires_at < old) | (sessions.c.revoked_at < old)
        some = select(sessions.c.id).where(ended).limit(_BATCH)
        with self._writing() as transaction:
            return int(transaction.execute(delete(sessions).where(sessions.c.id.in_(some))).rowcount)

    # --- API tokens

    def add_token(
        self, id_: str, user: str, name: str, hash_: str, scopes: list[str], expires_at: datetime | None
    ) -> ApiToken:
        """A new token of a user."""
        values = {"user_id": user, "name": name, "token_hash": hash_, "scopes": scopes}
        with self._writing() as transaction:
            transaction.execute(
                insert(api_tokens).values(id=id_, created_at=now(), expires_at=expires_at, **values)
            )
            return _token(transaction.execute(select(api_tokens).where(api_tokens.c.id == id_)).one())

    def token_and_user(self, id_: str) -> tuple[ApiToken, User] | None:
        """A token that is alive, and its user, who is too."""
        alive = api_tokens.c.revoked_at.is_(None) & (
            api_tokens.c.expires_at.is_(None) | (api_tokens.c.expires_at > now())
        )
        with self._reading() as transaction:
            row = transaction.execute(select(api_tokens).where(api_tokens.c.id == id_, alive)).first()
            if row is None:
                return None
            owner = transaction.execute(select(users).where(users.c.id == row.user_id, *_living())).first()
            return (_token(row), user_of(owner)) if owner else None

    def touch_token(self, token: ApiToken) -> None:
        """Note that it was used, at most once a minute."""
        at = now()
        if token.last_used_at is not None and at - token.last_used_at < _TOUCH:
            return
        with self._writing() as transaction:
            transaction.execute(update(api_tokens).where(api_tokens.c.id == token.id).values(last_used_at=at))

    def tokens(self, user: str) -> list[ApiToken]:
        """The tokens of a user that were not revoked, the newest first."""
        query = select(api_tokens).where(api_tokens.c.user_id == user, api_tokens.c.revoked_at.is_(None))
        with self._reading() as transaction:
            rows = transaction.execute(query.order_by(api_tokens.c.created_at.desc(), api_tokens.c.id))
            return [_token(r) for r in rows]

    def revoke_token(self, id_: str, user: str | None = None) -> ApiToken:
        """End one, of that user when one is given; NotFound ``no_such_token``."""
        ours = (api_tokens.c.id == id_) & api_tokens.c.revoked_at.is_(None)
        if user is not None:
            ours &= api_tokens.c.user_id == user
        with self._writing() as transaction:
            row = transaction.execute(select(api_tokens).where(ours)).first()
            if row is None:
                raise NotFound("no_such_token", f"There is no API token {id_}", "List them first.")
            transaction.execute(update(api_tokens).where(ours).values(revoked_at=now()))
            return _token(row)


def _living() -> tuple[ColumnElement[bool], ...]:
    return users.c.is_active.is_(True), users.c.deleted_at.is_(None)


def _existing(transaction: Transaction, name: str) -> Row[Any]:
    named = or_(users.c.id == name, users.c.email == name.lower())
    row = transaction.execute(select(users).where(named, users.c.deleted_at.is_(None))).first()
    if row is None:
        raise NotFound("no_such_user", f"There is no user {name}", "List them first.", {"name": name})
    return row


def _email_free(transaction: Transaction, email: str) -> None:
    if transaction.execute(
        select(users.c.id).where(users.c.email == email, users.c.deleted_at.is_(None))
    ).first():
        raise Conflict("exists_already", f"There is a user {email} already", "Change it with PUT.")


def _insert(
    transaction: Transaction, email: str, full_name: str, role: str, password: str | None, **more: Any
) -> User:
    id_, at = new_id(), now()
    values = {"email": email, "full_name": full_name, "role_name": role, "hashed_password": password, **more}
    transaction.execute(insert(users).values(id=id_, created_at=at, updated_at=at, **values))
    return user_of(_existing(transaction, id_))


def keep_an_admin(transaction: Transaction, row: Row[Any], stays: bool) -> None:
    """Conflict ``last_admin`` when this row is the last one and does not stay one. Under the lock of the admins."""
    if stays or row.role_name != "admin" or not row.is_active:
        return
    others = select(users.c.id).where(users.c.role_name == "admin", users.c.id != row.id, *_living())
    if transaction.execute(others.limit(1)).first() is None:
        raise Conflict("last_admin", f"{row.email} is the last admin", "Make somebody else an admin first.")


def _end_sessions(transaction: Transaction, which: ColumnElement[bool]) -> int:
    ended = update(sessions).where(which, sessions.c.revoked_at.is_(None)).values(revoked_at=now())
    return int(transaction.execute(ended).rowcount)


def user_of(r: Row[Any]) -> User:
    """The account of a row."""
    return User(
        r.id,
        r.email,
        r.full_name,
        r.hashed_password,
        r.role_name,
        r.is_active,
        r.is_superuser,
        r.issuer,
        r.subject,
        r.failed_logins,
        r.locked_until,
        r.last_login_at,
        r.version,
        r.created_at,
        r.updated_at,
    )


def _session(r: Row[Any]) -> Login:
    return Login(
        r.id,
        r.user_id,
        r.refresh_hash,
        r.previous_hash,
        r.rotated_at,
        r.user_agent,
        r.address,
        r.created_at,
        r.last_used_at,
        r.expires_at,
        r.revoked_at,
    )


def _token(r: Row[Any]) -> ApiToken:
    return ApiToken(
        r.id,
        r.user_id,
        r.name,
        r.token_hash,
        r.scopes,
        r.created_at,
        r.expires_at,
        r.last_used_at,
        r.revoked_at,
    )
