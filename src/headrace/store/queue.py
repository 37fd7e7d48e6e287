"""What faces ask of the worker, who holds which pipeline, and who is alive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headrace.actor import current
from headrace.errors import NotFound
from headrace.store.base import Part, Transaction, new_id, pipeline_id
from headrace.store.database import now
from headrace.store.owners import dead
from headrace.store.records import Beat, Request
from headrace.store.schema import beats, leases, pipelines, requests

_BEAT = timedelta(seconds=2)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Queue(Part):
    """Requests, leases and signs of life."""

    _beaten: dict[tuple[str, str, str | None], datetime]

    def ask(self, name: str, kind: str, args: dict[str, Any] | None = None) -> str:
        """Queue a request for the worker of a pipeline; its id."""
        with self._writing() as transaction:
            id_ = new_id()
            values = {"kind": kind, "args": args or {}, "status": "queued", "created_at": now()}
            values["request_id"] = current().request_id or None
            pipeline = pipeline_id(transaction, name)
            transaction.execute(insert(requests).values(id=id_, pipeline_id=pipeline, **values))
            return id_

    def take_request(self, name: str) -> Request | None:
        """The oldest queued request, now ``running`` and ours alone; None when there is none."""
        with self._writing() as transaction:
            waiting = requests.c.status == "queued"
            oldest = (
                select(requests.c.number)
                .where(requests.c.pipeline_id == pipeline_id(transaction, name), waiting)
                .order_by(requests.c.number)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            number = transaction.execute(oldest).scalar()
            if number is None:
                return None
            ours = requests.c.number == number
            transaction.execute(update(requests).where(ours, waiting).values(status="running"))
            return _request(transaction, ours)

    def finish_request(self, id_: str, result: Any = None, error: dict[str, Any] | None = None) -> None:
        """``failed`` with an error, else ``done`` with the result (JSON)."""
        values = {"status": "failed" if error else "done", "result": result, "error": error}
        with self._writing() as transaction:
            transaction.execute(
                update(requests).where(requests.c.id == id_).values(**values, finished_at=now())
            )

    def asked(self, name: str) -> bool:
        """Whether a request of a pipeline waits to be taken."""
        with self._reading() as transaction:
            waiting = (requests.c.pipeline_id == pipeline_id(transaction, name)) & (
                requests.c.status == "queued"
            )
            return transaction.execute(select(requests.c.number).where(waiting).limit(1)).first() is not None

    def refuse_requests(self, name: str, error: dict[str, Any]) -> None:
        """Every request that waits for the pipeline to go on ends ``failed``. A verification ends by itself."""
        waits = (requests.c.status == "queued") | (
            (requests.c.status == "running") & (requests.c.kind == "resync")
        )
        with self._writing() as transaction:
            left = (requests.c.pipeline_id == pipeline_id(transaction, name)) & waits
            values = {"status": "failed", "error": error, "finished_at": now()}
            transaction.execute(update(requests).where(left).values(**values))

    def request(self, id_: str) -> Request:
        """One request; NotFound ``no_such_request``."""
        with self._reading() as transaction:
            return _request(transaction, requests.c.id == id_)

    def sweep_requests(self, days: int = 7) -> int:
        """Forget requests that were answered so long ago, a batch at a time; how many."""
        return self._forget(requests.c.number, requests.c.finished_at < now() - timedelta(days=days))

    def requeue_requests(self, name: str) -> int:
        """Requests that a dead worker left ``running`` are queued again; how many."""
        with self._writing() as transaction:
            left = (requests.c.pipeline_id == pipeline_id(transaction, name)) & (
                requests.c.status == "running"
            )
            return int(transaction.execute(update(requests).where(left).values(status="queued")).rowcount)

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lease of that name for so long if it is free, run out, or ours already."""
        at = now()
        upsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        values = {"owner": owner, "expires_at": at + timedelta(seconds=seconds)}
        free = (leases.c.expires_at <= at) | (leases.c.owner == owner)
        statement = upsert(leases).values(name=name, **values)
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
        with self._writing() as transaction:
            # Drivers count inserted rows differently; a returned row cannot be misread.
            return transaction.execute(statement.returning(leases.c.name)).first() is not None

    def take(self, name: str, owner: str, seconds: float) -> bool:
        """As ``acquire``; at once where the holder was a process of this machine that is no more."""
        if self.acquire(name, owner, seconds):
            return True
        holder = self.holder(name)
        if holder is None or not dead(holder):
            return False
        self.release(name, holder)
        return self.acquire(name, owner, seconds)

    def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Hold the lease for so long from now; False when it has run out or is another's."""
        at = now()
        ours = (leases.c.name == name) & (leases.c.owner == owner) & (leases.c.expires_at > at)
        until = at + timedelta(seconds=seconds)
        with self._writing() as transaction:
            changed = transaction.execute(update(leases).where(ours).values(expires_at=until))
            return bool(changed.rowcount == 1)

    def holder(self, name: str) -> str | None:
        """Who holds the lease of that name, run out or not; None when nobody does."""
        with self._reading() as transaction:
            found = transaction.execute(select(leases.c.owner).where(leases.c.name == name)).scalar()
            return None if found is None else str(found)

    def release(self, name: str, owner: str) -> None:
        """Give the lease back if it is ours."""
        with self._writing() as transaction:
            transaction.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))

    def beat(self, component: str, owner: str, pid: int, url: str | None = None) -> None:
        """Note that a process lives, at most every two seconds; signs older than a day are swept."""
        at = now()
        if at - self._beaten.get((component, owner, url), _LONG_AGO) < _BEAT:
            return
        self._beaten[component, owner, url] = at
        with self._writing() as transaction:
            old = beats.c.seen_at < at - timedelta(days=1)
            ours = (beats.c.component == component) & (beats.c.owner == owner)
            transaction.execute(delete(beats).where(old | ours))
            transaction.execute(
                insert(beats).values(component=component, owner=owner, pid=pid, url=url, seen_at=at)
            )

    def stop_beating(self, component: str, owner: str) -> None:
        """Take back the signs of life of a process that ends."""
        ours = (beats.c.component == component) & (beats.c.owner == owner)
        with self._writing() as transaction:
            transaction.execute(delete(beats).where(ours))

    def beats(self, component: str) -> list[Beat]:
        """Signs of life of a component's processes, newest first."""
        query = select(beats).where(beats.c.component == component).order_by(beats.c.seen_at.desc())
        with self._reading() as transaction:
            return [Beat(r.component, r.owner, r.pid, r.url, r.seen_at) for r in transaction.execute(query)]


def _request(transaction: Transaction, which: Any) -> Request:
    query = select(requests, pipelines.c.name.label("pipeline")).join(pipelines).where(which)
    row = transaction.execute(query).first()
    if row is None:
        raise NotFound("no_such_request", "There is no such request", "It may have gone with its pipeline.")
    return _record(row)


def _record(row: Row[Any]) -> Request:
    return Request(
        row.id,
        row.pipeline,
        row.kind,
        row.args,
        row.status,
        row.result,
        row.error,
        row.created_at,
        row.finished_at,
        row.request_id,
    )
