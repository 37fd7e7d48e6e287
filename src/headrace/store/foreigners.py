"""Accounts of other issuers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headrace.errors import Bug
from headrace.store.base import Transaction, new_id
from headrace.store.database import now
from headrace.store.schema import users
from headrace.store.users import User, Users, keep_an_admin, user_of


class Foreigners(Users):
    """Finding them, making them at first sight, following what their issuer says of their role."""

    def foreign_user(
        self, issuer: str, subject: str, email: str, full_name: str, claimed: str | None, default: str
    ) -> tuple[User | None, User]:
        """The account of another issuer's subject as it was and as it is; None before its first sight.

        It never becomes a local account of the same address: where that is taken, it gets one of its own. claimed: the
        role that its issuer names. One whose role was named once and is not any more falls to the default.
        """
        theirs = select(users).where(users.c.issuer == issuer, users.c.subject == subject)
        with self._reading() as transaction:
            row = transaction.execute(theirs).first()
        if row is not None and not _changes(row, claimed, default):
            # Each of its calls comes this way; it writes nothing.
            return user_of(row), user_of(row)
        with self._writing() as transaction:
            if row is None:
                role = {"role_name": claimed or default, "role_claimed": claimed is not None}
                named = {"issuer": issuer, "subject": subject, "full_name": full_name, **role}
                if self._made(transaction, named, _addresses(issuer, subject, email)):
                    return None, user_of(transaction.execute(theirs).one())
            self._lock_admins(transaction)
            row = transaction.execute(theirs).one()
            if changes := _changes(row, claimed, default):
                keep_an_admin(transaction, row, changes["role_name"] == "admin" and row.is_active)
                values = {**changes, "version": row.version + 1, "updated_at": now()}
                transaction.execute(update(users).where(users.c.id == row.id).values(**values))
            return user_of(row), user_of(transaction.execute(theirs).one())

    def _made(self, transaction: Transaction, named: dict[str, Any], addresses: Iterator[str]) -> bool:
        """Make it with the first address that is free; False when somebody else has made it meanwhile."""
        upsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        same = (users.c.issuer == named["issuer"]) & (users.c.subject == named["subject"])
        at = now()
        for email in addresses:
            values = {"id": new_id(), "email": email, "created_at": at, "updated_at": at, **named}
            made = upsert(users).values(**values).on_conflict_do_nothing().returning(users.c.id)
            if transaction.execute(made).first() is not None:
                return True
            if transaction.execute(select(users.c.id).where(same)).first() is not None:
                return False
        raise Bug("no_address", "No address was free for an account of another issuer")


def _addresses(issuer: str, subject: str, email: str) -> Iterator[str]:
    """What its address may be, the best first. Subjects differ by case, addresses do not; nobody can take the last."""
    host = (issuer.partition("://")[2] or issuer).lower()[:100]
    yield from (a for a in (email, f"{subject.lower()[:200]}@{host}") if a)
    yield f"{new_id()}@{host}"


def _changes(row: Row[Any], claimed: str | None, default: str) -> dict[str, Any]:
    """What its issuer changes of its role."""
    if row.deleted_at is not None or (claimed is None and not row.role_claimed):
        return {}
    wanted = {"role_name": claimed or default, "role_claimed": True}
    return {} if wanted.items() <= row._mapping.items() else wanted
