"""Answers kept for calls that are repeated: one key, one deed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headrace.store.base import Part
from headrace.store.database import now
from headrace.store.schema import idempotency_keys
from headrace.store.secrets import Cipher

# A call that has not answered for so long died with its server.
_ABANDONED = timedelta(minutes=5)
_BATCH = 5000


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. fingerprint: of the call. status None: it is still being worked on."""

    fingerprint: str
    status: int | None = None
    headers: dict[str, str] | None = None
    body: str = ""


class Once(Part):
    """Reading and writing answers; they are encrypted, for they may show a secret that is shown once."""

    _cipher: Cipher

    def begin_once(self, owner: str, key: str, fingerprint: str) -> Answer | None:
        """None when the caller is to do the deed now; else what is known of who does or did it."""
        at = now()
        upsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        values = {"fingerprint": fingerprint, "status": None, "answer": None, "created_at": at}
        dead = idempotency_keys.c.status.is_(None) & (idempotency_keys.c.created_at < at - _ABANDONED)
        statement = upsert(idempotency_keys).values(owner=owner, key=key, **values)
        statement = statement.on_conflict_do_update(index_elements=["owner", "key"], set_=values, where=dead)
        with self._writing() as transaction:
            if transaction.execute(statement.returning(idempotency_keys.c.key)).first() is not None:
                return None
            row = transaction.execute(select(idempotency_keys).where(_is(owner, key))).one()
        if row.status is None:
            return Answer(row.fingerprint)
        kept = self._cipher.open(row.answer)
        return Answer(row.fingerprint, row.status, json.loads(kept["headers"]), kept["body"])

    def end_once(self, owner: str, key: str, answer: Answer) -> None:
        """Keep the answer for whoever repeats the call."""
        sealed = self._cipher.seal({"headers": json.dumps(answer.headers or {}), "body": answer.body})
        with self._writing() as transaction:
            transaction.execute(
                update(idempotency_keys).where(_is(owner, key)).values(status=answer.status, answer=sealed)
            )

    def forget_once(self, owner: str, key: str) -> None:
        """Nothing was done: the call may be made again."""
        with self._writing() as transaction:
            transaction.execute(
                delete(idempotency_keys).where(_is(owner, key), idempotency_keys.c.status.is_(None))
            )

    def sweep_once(self, hours: int = 24) -> int:
        """Forget older answers, a batch at a time; how many."""
        old = select(idempotency_keys.c.owner, idempotency_keys.c.key).where(
            idempotency_keys.c.created_at < now() - timedelta(hours=hours)
        )
        with self._writing() as transaction:
            rows = transaction.execute(old.limit(_BATCH)).all()
            for row in rows:
                transaction.execute(delete(idempotency_keys).where(_is(row.owner, row.key)))
            return len(rows)


def _is(owner: str, key: str) -> ColumnElement[bool]:
    return and_(idempotency_keys.c.owner == owner, idempotency_keys.c.key == key)
