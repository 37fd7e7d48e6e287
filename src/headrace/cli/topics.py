"""Commands about Kafka's topics and what is in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import Session, group
from headrace.cli.locate import path_part

Topic = Annotated[str, typer.Argument(help="Name of the topic.")]
# A message is one line for people; --json has all of it.
_LONGEST = 120


def register(app: typer.Typer) -> None:
    """Add the group."""
    group(app, "topics", "Kafka's topics.", list=list_topics, show=show_topic, messages=messages)


def list_topics(
    session: Session,
    q: Annotated[str | None, typer.Option("--search", help="Part of the name.")] = None,
    internal: Annotated[bool, typer.Option("--internal", help="Kafka's own, too.")] = False,
) -> None:
    """Topics, by name."""
    session.answer(session.api.all("topics", q=q, internal=internal), _show_topics)


def show_topic(session: Session, name: Topic) -> None:
    """One topic: its partitions, its settings."""
    session.answer(session.api.get(f"topics/{path_part(name)}"), _show_topic)


def messages(
    session: Session,
    name: Topic,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="So many.")] = 20,
    offset: Annotated[
        int | None, typer.Option("--offset", min=0, help="From here on; the newest without.")
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only of this one.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only of this key, as text.")] = None,
) -> None:
    """Messages of a topic: the newest, from an offset on, or of a key."""
    asked = {"limit": limit, "offset": offset, "partition": partition, "key": key}
    session.answer(session.api.get(f"topics/{path_part(name)}/messages", **asked)["items"], _show_messages)


def _show_topics(found: list[dict[str, Any]]) -> None:
    rows = [(t["name"], t["partitions"], t["replication"], t["internal"]) for t in found]
    show.table(("topic", "partitions", "replicas", "internal"), rows)


def _show_topic(found: dict[str, Any]) -> None:
    show.line(f"{found['name']}: {found['messages']:,} messages at most")
    rows = [
        (p["partition"], p["leader"], ", ".join(map(str, p["in_sync"])), p["begin"], p["end"])
        for p in found["partitions"]
    ]
    show.table(("partition", "leader", "in sync", "from", "to"), rows)
    if found["settings"]:
        show.table(("setting", "value"), sorted(found["settings"].items()))


def _show_messages(found: list[dict[str, Any]]) -> None:
    rows = [
        (m["partition"], m["offset"], _when(m["timestamp"]), _said(m["key"]), _said(m["value"]))
        for m in found
    ]
    show.table(("partition", "offset", "when", "key", "value"), rows)


def _when(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return show.instant(datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat())


def _said(value: dict[str, Any]) -> str:
    if value["format"] == "null":
        return "null"
    if value["format"] == "too_large":
        return f"({show.size(value['bytes'])})"
    data = value["data"]
    text = (
        data if isinstance(data, str) and value["format"] != "json" else json.dumps(data, ensure_ascii=False)
    )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
