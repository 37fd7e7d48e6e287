"""Who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, insert, select, union_all

from headrace.actor import current
from headrace.store.base import Part, page
from headrace.store.database import now
from headrace.store.records import Audit
from headrace.store.schema import audit_logs, connections, pipelines
from headrace.store.telling import publish

_BATCH = 1000
# Who logs in is not told to everybody.
_PRIVATE = ("user", "api_token", "address")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: every field that is given has to fit. user: id or name. since inclusive, until exclusive."""

    entity_type: str | None = None
    entity_id: str | None = None
    action: str | None = None
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audits(Part):
    """Writing down and reading back changes."""

    def audit(
        self,
        entity_type: str,
        entity_id: str,
        action: str,
        *,
        old: dict[str, Any] | None = None,
        new: dict[str, Any] | None = None,
    ) -> None:
        """Write down a change, in the name of the current actor. The caller masks secrets."""
        with self._writing() as transaction:
            transaction.execute(insert(audit_logs), [audit_row(entity_type, entity_id, action, old, new)])
            if entity_type not in _PRIVATE:
                pipeline = entity_id if entity_type == "pipeline" else None
                said = {
                    "entity_type": entity_type,
                    "entity_id": entity_id,
                    "action": action,
                    "user": current().name,
                }
                publish(transaction, "changes", pipeline, said)

    def audits(
        self, which: AuditFilter = AuditFilter(), limit: int = 200, offset: int = 0
    ) -> tuple[list[Audit], int]:
        """A page of changes, the newest first, and how many there are in all."""
        with self._reading() as transaction:
            query = _filtered(select(audit_logs), which).order_by(audit_logs.c.id.desc())
            rows, total = page(transaction, query, limit, offset)
            return [_audit(r) for r in rows], total

    def every_audit(self, which: AuditFilter = AuditFilter()) -> Iterator[Audit]:
        """All changes, the oldest first, read in batches so that no transaction stays open between them."""
        after = 0
        while True:
            query = _filtered(select(audit_logs), which).where(audit_logs.c.id > after)
            with self._reading() as transaction:
                rows = transaction.execute(query.order_by(audit_logs.c.id).limit(_BATCH)).all()
            yield from map(_audit, rows)
            if len(rows) < _BATCH:
                return
            after = rows[-1].id

    def sweep_audits(self, days: int) -> int:
        """Forget what is older, a batch at a time; how many."""
        return self._forget(audit_logs.c.id, audit_logs.c.timestamp < now() - timedelta(days=days))


def audit_row(
    entity_type: str,
    entity_id: str,
    action: str,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A change as it is written down, in the name of the current actor."""
    actor = current()
    return {
        "entity_type": entity_type,
        "entity_id": entity_id[:64],
        "action": action,
        "user_id": actor.user,
        "user_name": actor.name or None,
        "address": actor.address or None,
        "request_id": actor.request_id or None,
        "old_values": old,
        "new_values": new,
        "timestamp": now(),
    }


def _filtered(query: Select[Any], which: AuditFilter) -> Select[Any]:
    query = query.select_from(audit_logs)
    if which.entity_id is not None:
        # Written down under its name, known by its id as well.
        named = (select(t.c.name).where(t.c.id == which.entity_id) for t in (pipelines, connections))
        its = audit_logs.c.entity_id
        query = query.where((its == which.entity_id) | its.in_(union_all(*named)))
    for name in ("entity_type", "action"):
        if (value := getattr(which, name)) is not None:
            query = query.where(audit_logs.c[name] == value)
    if which.user is not None:
        query = query.where((audit_logs.c.user_id == which.user) | (audit_logs.c.user_name == which.user))
    if which.since is not None:
        query = query.where(audit_logs.c.timestamp >= which.since)
    if which.until is not None:
        query = query.where(audit_logs.c.timestamp < which.until)
    return query


def _audit(r: Row[Any]) -> Audit:
    return Audit(
        r.id,
        r.timestamp,
        r.entity_type,
        r.entity_id,
        r.action,
        r.user_id,
        r.user_name,
        r.address,
        r.request_id,
        r.old_values,
        r.new_values,
    )
