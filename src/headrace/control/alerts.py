"""The use cases of alerts: rules, channels, history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from headrace.alerts.notify import Notice, send
from headrace.errors import Precondition
from headrace.secrecy import MASK
from headrace.spec.alerts import ChannelKind, ChannelSpec, RuleSpec
from headrace.spec.secrets import secret_needed
from headrace.store import Store
from headrace.store.alerts import Alert, AlertChannel, AlertRule

JSON = dict[str, Any]


class AlertCases:
    """One object per process; threads may share it. Answers are JSON forms."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- rules

    def rules(self) -> list[JSON]:
        """All rules, by name."""
        return [_rule(r) for r in self._store.alert_rules()]

    def rule(self, name: str) -> JSON:
        """One rule by name or id; NotFound."""
        return _rule(self._store.alert_rule(name))

    def add_rule(self, spec: RuleSpec) -> JSON:
        """A new rule; Conflict ``exists_already``."""
        with self._store.together():
            made = _rule(self._store.add_alert_rule(spec.model_dump()))
            self._store.audit("alert_rule", made["id"], "created", new=made)
        return made

    def put_rule(self, name: str, spec: RuleSpec, expected: int | None) -> JSON:
        """Change a rule; Precondition ``stale`` when its version is not the expected one."""
        with self._store.together():
            old, new = self._store.put_alert_rule(name, spec.model_dump(), expected)
            self._store.audit("alert_rule", new.id, "updated", old=_rule(old), new=_rule(new))
        return _rule(new)

    def delete_rule(self, name: str, expected: int | None = None) -> None:
        """Forget a rule; its history stays. Precondition ``stale``."""
        with self._store.together():
            gone = self._store.delete_alert_rule(name, expected)
            self._store.audit("alert_rule", gone.id, "deleted", old=_rule(gone))

    # --- channels

    def channels(self) -> list[JSON]:
        """All channels, secrets masked."""
        return [_channel(c) for c in self._store.alert_channels()]

    def channel(self, name: str) -> JSON:
        """One channel by name or id, secrets masked."""
        return _channel(self._store.alert_channel(name))

    def add_channel(self, spec: ChannelSpec) -> JSON:
        """A new channel; Conflict ``exists_already``."""
        config, secrets = spec.split()
        with self._store.together():
            made = _channel(self._store.put_alert_channel(None, _columns(spec, config), secrets))
            self._store.audit("alert_channel", made["id"], "created", new=made)
        return made

    def put_channel(self, name: str, spec: ChannelSpec) -> JSON:
        """Change a channel; a secret that is the mask of an answer stays what it was.

        Invalid ``secret_needed`` where it would go to another place than before.
        """
        before = self._store.alert_channel(name)
        config, secrets = spec.split()
        masks = [k for k, v in secrets.items() if v == MASK]
        if masks and (moved := _moved(before, spec.kind, config, secrets)):
            raise secret_needed(moved, masks)
        kept = {k: before.secrets.get(k, "") if v == MASK else v for k, v in secrets.items()}
        with self._store.together():
            new = _channel(self._store.put_alert_channel(before.id, _columns(spec, config), kept))
            self._store.audit("alert_channel", before.id, "updated", old=_channel(before), new=new)
        return new

    def delete_channel(self, name: str) -> None:
        """Forget a channel; Conflict ``channel_in_use``."""
        with self._store.together():
            gone = self._store.delete_alert_channel(name)
            self._store.audit("alert_channel", gone.id, "deleted", old=_channel(gone))

    def test_channel(self, name: str) -> JSON:
        """Send a notice through it; Unavailable ``channel_failed``, Precondition ``channel_disabled``."""
        channel = self._store.alert_channel(name)
        if not channel.enabled:
            raise Precondition("channel_disabled", f"{channel.name} is disabled", "Enable it first.")
        notice = Notice(
            f"Headrace: test of the channel {channel.name}", "This is a test. No pipeline is in trouble."
        )
        if channel.kind == "in_app":
            self._store.settle_alert(self._store.raise_alert(notice.text, test=True), "resolved")
        send(cast(ChannelKind, channel.kind), channel.config, channel.secrets, notice)
        self._store.audit("alert_channel", channel.id, "tested")
        return {"name": channel.name, "sent": True}

    # --- history

    def history(
        self, status: str | None, rule: str | None, pipeline: str | None, limit: int, offset: int
    ) -> tuple[list[JSON], int]:
        """A page of alerts, the newest first, and how many there are."""
        found, total = self._store.alerts(status, rule, pipeline, limit, offset)
        return [_alert(a) for a in found], total

    def settle(self, id_: str, status: Literal["acknowledged", "resolved"]) -> JSON:
        """Acknowledge or resolve an alert."""
        with self._store.together():
            settled = _alert(self._store.settle_alert(id_, status))
            self._store.audit("alert", id_, status)
        return settled


def _columns(spec: ChannelSpec, config: JSON) -> JSON:
    return {"name": spec.name, "kind": spec.kind, "config": config, "enabled": spec.enabled}


def _moved(before: AlertChannel, kind: ChannelKind, config: JSON, secrets: Mapping[str, str]) -> list[str]:
    """What of the place that notices go to is another than before."""
    moved = [] if kind == before.kind else ["kind"]
    moved += [k for k in ("host", "port", "user", "tls") if config.get(k) != before.config.get(k)]
    if secrets.get("url") not in (MASK, before.secrets.get("url")):
        moved.append("url")
    return moved


def _rule(r: AlertRule) -> JSON:
    return {
        "id": r.id,
        "name": r.name,
        "metric": r.metric,
        "condition": r.condition,
        "threshold": r.threshold,
        "duration_seconds": r.duration_seconds,
        "severity": r.severity,
        "channels": list(r.channels),
        "enabled": r.enabled,
        "version": r.version,
        "created_at": r.created_at.isoformat(),
        "updated_at": r.updated_at.isoformat(),
    }


def _channel(c: AlertChannel) -> JSON:
    hidden = {name: MASK for name, value in c.secrets.items() if value}
    form: JSON = {
        "id": c.id,
        "name": c.name,
        "kind": c.kind,
        "enabled": c.enabled,
        "email": None,
        "url": hidden.get("url"),
        "signing_key": hidden.get("signing_key"),
        "created_at": c.created_at.isoformat(),
        "updated_at": c.updated_at.isoformat(),
    }
    if c.kind == "email":
        form["email"] = {**c.config, "password": hidden.get("password", "")}
    return form


def _alert(a: Alert) -> JSON:
    return {
        "id": a.id,
        "rule_id": a.rule_id,
        "pipeline_id": a.pipeline_id,
        "rule": a.rule,
        "pipeline": a.pipeline,
        "status": a.status,
        "message": a.message,
        "triggered_at": a.triggered_at.isoformat(),
        "acknowledged_at": a.acknowledged_at.isoformat() if a.acknowledged_at else None,
        "resolved_at": a.resolved_at.isoformat() if a.resolved_at else None,
        "metadata": a.metadata,
    }
