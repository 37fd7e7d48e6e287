"""Commands about alerts: their rules, their channels, what was raised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from headrace.cli import show
from headrace.cli.command import Session, group
from headrace.cli.locate import path_part

AlertId = Annotated[str, typer.Argument(help="Id of the alert, as the history lists it.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group(
        app,
        "alerts",
        "Rules, channels and what was raised.",
        rules=rules,
        history=history,
        ack=acknowledge,
        resolve=resolve,
        channels=channels,
        test=try_channel,
    )


def rules(session: Session) -> None:
    """When alerts are raised, and who is told."""
    session.answer(session.api.all("alerts/rules"), _show_rules)


def history(
    session: Session,
    status: Annotated[
        Literal["firing", "acknowledged", "resolved"] | None,
        typer.Option("--status", help="Only these."),
    ] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only of this rule.")] = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Only about this pipeline.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many.")] = 50,
) -> None:
    """What was raised, the newest first."""
    found = session.api.get("alerts/history", status=status, rule=rule, pipeline=pipeline, limit=limit)
    session.answer(found["items"], _show_history)


def acknowledge(session: Session, alert: AlertId) -> None:
    """Say that somebody has seen an alert."""
    _settle(session, alert, "acknowledge")


def resolve(session: Session, alert: AlertId) -> None:
    """Say that what an alert is about is over."""
    _settle(session, alert, "resolve")


def channels(session: Session) -> None:
    """Where alerts go."""
    session.answer(session.api.all("alerts/channels"), _show_channels)


def try_channel(
    session: Session, channel: Annotated[str, typer.Argument(help="Name of the channel.")]
) -> None:
    """Send a notice through a channel now."""
    sent = session.api.post(f"alerts/channels/{path_part(channel)}/test")
    session.answer(sent, lambda s: show.line(f"A notice was sent through {s['name']}."))


def _settle(session: Session, alert: str, verb: str) -> None:
    found = session.api.post(f"alerts/history/{path_part(alert)}/{verb}")
    session.answer(found, lambda a: _show_history([a]))


def _show_rules(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            r["name"],
            f"{r['metric']} {r['condition']} {r['threshold']:g}",
            f"{r['duration_seconds']} s",
            r["severity"],
            ", ".join(r["channels"]),
            r["enabled"],
        )
        for r in found
    ]
    show.table(("rule", "when", "for", "severity", "channels", "enabled"), rows, ("severity",))


def _show_history(found: list[dict[str, Any]]) -> None:
    rows = [
        (show.instant(a["triggered_at"]), a["status"], a["rule"], a["pipeline"], a["message"], a["id"])
        for a in found
    ]
    show.table(("since", "status", "rule", "pipeline", "message", "id"), rows, ("status",))


def _show_channels(found: list[dict[str, Any]]) -> None:
    rows = [(c["name"], c["kind"], _where(c), c["enabled"]) for c in found]
    show.table(("channel", "kind", "where", "enabled"), rows)


def _where(channel: dict[str, Any]) -> str:
    if channel["email"]:
        return ", ".join(channel["email"]["recipients"])
    return channel["url"] or ""
