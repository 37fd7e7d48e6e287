"""Alert rules, the channels they speak through, and what they have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, Table, delete, insert, or_, select, update

from headrace.errors import Conflict, NotFound
from headrace.secrecy import known
from headrace.store.base import Part, Transaction, new_id, page, require_version
from headrace.store.database import now
from headrace.store.schema import alert_channels, alert_history, alert_rules, pipelines
from headrace.store.secrets import Cipher

_RULE = ("name", "metric", "condition", "threshold", "duration_seconds", "severity", "channels", "enabled")
_CHANNEL = ("name", "kind", "config", "enabled")
_THINGS = {"alert_rules": "alert rule", "alert_channels": "alert channel", "alert_history": "alert"}
_TIMES = {"acknowledged": "acknowledged_at", "resolved": "resolved_at"}


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When to raise an alert. condition: gt, gte, lt, lte, eq. channels: names of channels."""

    id: str
    name: str
    metric: str
    condition: str
    threshold: float
    duration_seconds: int
    severity: str
    channels: list[str]
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """Where alerts go. secrets: decrypted."""

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    enabled: bool
    secrets: dict[str, str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that was raised. status: firing, acknowledged or resolved. rule, pipeline: names, None when gone."""

    id: str
    rule_id: str | None
    pipeline_id: str | None
    rule: str | None
    pipeline: str | None
    status: str
    message: str
    triggered_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    metadata: dict[str, Any]


class Alerts(Part):
    """Reading and writing rules, channels and history."""

    _cipher: Cipher

    # --- rules

    def alert_rules(self) -> list[AlertRule]:
        """All, by name."""
        with self._reading() as transaction:
            return [_rule(r) for r in transaction.execute(select(alert_rules).order_by(alert_rules.c.name))]

    def alert_rule(self, name: str) -> AlertRule:
        """One by name or id; NotFound ``no_such_alert_rule``."""
        with self._reading() as transaction:
            return _rule(_existing(transaction, alert_rules, name))

    def add_alert_rule(self, values: Mapping[str, Any]) -> AlertRule:
        """Make one; Conflict ``exists_already``, NotFound for a channel that is not there."""
        with self._writing() as transaction:
            _free(transaction, alert_rules, values["name"])
            own = _rule_columns(transaction, values)
            id_, at = new_id(), now()
            transaction.execute(insert(alert_rules).values(id=id_, created_at=at, updated_at=at, **own))
            return _rule(_existing(transaction, alert_rules, id_))

    def put_alert_rule(
        self, name: str, values: Mapping[str, Any], expected: int | None = None
    ) -> tuple[AlertRule, AlertRule]:
        """Change one, the old and the new; Precondition ``stale`` when its version is not the expected one."""
        with self._writing() as transaction:
            row = _existing(transaction, alert_rules, name, lock=True)
            require_version(row.version, expected)
            if values["name"] != row.name:
                _free(transaction, alert_rules, values["name"])
            changed = {**_rule_columns(transaction, values), "version": row.version + 1, "updated_at": now()}
            transaction.execute(update(alert_rules).where(alert_rules.c.id == row.id).values(**changed))
            return _rule(row), _rule(_existing(transaction, alert_rules, row.id))

    def delete_alert_rule(self, name: str, expected: int | None = None) -> AlertRule:
        """Forget one (its history stays); what it was. Precondition ``stale``."""
        with self._writing() as transaction:
            row = _existing(transaction, alert_rules, name, lock=True)
            require_version(row.version, expected)
            transaction.execute(delete(alert_rules).where(alert_rules.c.id == row.id))
            return _rule(row)

    # --- channels

    def alert_channels(self) -> list[AlertChannel]:
        """All, by name."""
        with self._reading() as transaction:
            rows = transaction.execute(select(alert_channels).order_by(alert_channels.c.name))
            return [self._channel(r) for r in rows]

    def alert_channel(self, name: str) -> AlertChannel:
        """One by name or id; NotFound ``no_such_alert_channel``."""
        with self._reading() as transaction:
            return self._channel(_existing(transaction, alert_channels, name))

    def put_alert_channel(
        self, name: str | None, values: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> AlertChannel:
        """Make one (name None) or change one; Conflict ``exists_already``."""
        with self._writing() as transaction:
            row = _existing(transaction, alert_channels, name) if name is not None else None
            if row is None or values["name"] != row.name:
                _free(transaction, alert_channels, values["name"])
            own = {field: values[field] for field in _CHANNEL}
            own |= {"secrets": self._cipher.seal(secrets), "updated_at": now()}
            id_ = row.id if row else new_id()
            if row is None:
                transaction.execute(
                    insert(alert_channels).values(id=id_, created_at=own["updated_at"], **own)
                )
            else:
                transaction.execute(update(alert_channels).where(alert_channels.c.id == id_).values(**own))
                if row.name != values["name"]:
                    _rename_in_rules(transaction, row.name, values["name"])
            return self._channel(_existing(transaction, alert_channels, id_))

    def delete_alert_channel(self, name: str) -> AlertChannel:
        """Forget one; Conflict ``channel_in_use`` naming the rules that use it."""
        with self._writing() as transaction:
            row = _existing(transaction, alert_channels, name)
            users = [
                r.name for r in transaction.execute(select(alert_rules)) if row.name in (r.channels or [])
            ]
            if users:
                raise Conflict(
                    "channel_in_use",
                    f"{row.name} is used by {', '.join(sorted(users))}",
                    "Take it out of these rules first.",
                    {"rules": sorted(users)},
                )
            transaction.execute(delete(alert_channels).where(alert_channels.c.id == row.id))
            return self._channel(row)

    def _channel(self, r: Row[Any]) -> AlertChannel:
        secrets = self._cipher.open(r.secrets)
        known.learn(*secrets.values())
        return AlertChannel(r.id, r.name, r.kind, r.config, r.enabled, secrets, r.created_at, r.updated_at)

    # --- history

    def raise_alert(
        self, message: str, *, rule: str | None = None, pipeline: str | None = None, **metadata: Any
    ) -> str:
        """Write down that an alert fires; rule and pipeline by id. Its id."""
        id_ = new_id()
        values = {"rule_id": rule, "pipeline_id": pipeline, "message": message, "alert_metadata": metadata}
        with self._writing() as transaction:
            transaction.execute(
                insert(alert_history).values(id=id_, status="firing", triggered_at=now(), **values)
            )
        return id_

    def alerts(
        self,
        status: str | None = None,
        rule: str | None = None,
        pipeline: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Alert], int]:
        """A page of alerts, the newest first, and how many there are. rule, pipeline: name or id."""
        joined = alert_history.outerjoin(alert_rules).outerjoin(pipelines)
        fits = []
        if status:
            fits.append(alert_history.c.status == status)
        if rule:
            fits.append(or_(alert_rules.c.name == rule, alert_rules.c.id == rule))
        if pipeline:
            fits.append(or_(pipelines.c.name == pipeline, pipelines.c.id == pipeline))
        names = (alert_rules.c.name.label("rule"), pipelines.c.name.label("pipeline"))
        query = select(alert_history, *names).select_from(joined).where(*fits)
        query = query.order_by(alert_history.c.triggered_at.desc(), alert_history.c.id)
        with self._reading() as transaction:
            rows, total = page(transaction, query, limit, offset)
            return [_alert(r) for r in rows], total

    def settle_alert(self, id_: str, status: Literal["acknowledged", "resolved"]) -> Alert:
        """Acknowledge or resolve one; again is no change. Conflict ``resolved_already``."""
        with self._writing() as transaction:
            row = _existing(transaction, alert_history, id_, lock=True)
            if row.status == "resolved" and status == "acknowledged":
                raise Conflict(
                    "resolved_already", "The alert is resolved", "There is nothing to acknowledge."
                )
            if row.status != status:
                changed = {"status": status, _TIMES[status]: now()}
                transaction.execute(
                    update(alert_history).where(alert_history.c.id == row.id).values(**changed)
                )
            names = (alert_rules.c.name.label("rule"), pipelines.c.name.label("pipeline"))
            joined = alert_history.outerjoin(alert_rules).outerjoin(pipelines)
            query = select(alert_history, *names).select_from(joined).where(alert_history.c.id == row.id)
            return _alert(transaction.execute(query).one())


def _existing(transaction: Transaction, table: Table, name: str, *, lock: bool = False) -> Row[Any]:
    named = table.c.id == name if "name" not in table.c else or_(table.c.name == name, table.c.id == name)
    query = select(table).where(named)
    row = transaction.execute(query.with_for_update() if lock else query).first()
    if row is None:
        thing = _THINGS[table.name]
        code = f"no_such_{thing.replace(' ', '_')}"
        raise NotFound(code, f"There is no {thing} {name}", "List them first.", {"name": name})
    return row


def _free(transaction: Transaction, table: Table, name: str) -> None:
    if transaction.execute(select(table.c.id).where(table.c.name == name)).first():
        thing = _THINGS[table.name]
        raise Conflict("exists_already", f"There is an {thing} {name} already", "Change it with PUT.")


def _rule_columns(transaction: Transaction, values: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's columns, its channels (given by name or id) by name."""
    channels = [_existing(transaction, alert_channels, name).name for name in values["channels"]]
    return {**{field: values[field] for field in _RULE}, "channels": list(dict.fromkeys(channels))}


def _rename_in_rules(transaction: Transaction, old: str, new: str) -> None:
    for rule in transaction.execute(select(alert_rules)).all():
        if old in rule.channels:
            channels = [new if name == old else name for name in rule.channels]
            transaction.execute(
                update(alert_rules).where(alert_rules.c.id == rule.id).values(channels=channels)
            )


def _rule(r: Row[Any]) -> AlertRule:
    return AlertRule(
        r.id,
        r.name,
        r.metric,
        r.condition,
        r.threshold,
        r.duration_seconds,
        r.severity,
        r.channels,
        r.enabled,
        r.version,
        r.created_at,
        r.updated_at,
    )


def _alert(r: Row[Any]) -> Alert:
    return Alert(
        r.id,
        r.rule_id,
        r.pipeline_id,
        r.rule,
        r.pipeline,
        r.status,
        r.message,
        r.triggered_at,
        r.acknowledged_at,
        r.resolved_at,
        r.alert_metadata,
    )
