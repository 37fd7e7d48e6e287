"""What Kafka Connect writes in its log: our own layout (one JSON object a line) and the one Kafka comes with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LEVELS = {
    "TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error", "FATAL": "error",
}  # fmt: skip
_CONTEXT = re.compile(r"\[(?P<connector>.+)\|(?:worker|task-(?P<task>\d+))(?:\|\w+)?\]")
# "[%d] %p %X{connector.context}%m (%c:%L)%n", then the stack trace.
_HEAD = re.compile(
    r"\[(?P<ts>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+)\] (?P<level>TRACE|DEBUG|INFO|WARN|ERROR|FATAL) +"
    r"(?P<context>\[\S+\|(?:worker|task-\d+)(?:\|\w+)?\] )?(?P<rest>.*)",
    re.DOTALL,
)
_LOGGER = re.compile(r" \((?P<logger>[\w.$-]+):\d+\)(?:\n|$)")
_ENTRY_CHARS = 64_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Something a connector (or Connect itself: ``""``) said. task: its number, None when the connector itself spoke."""

    ts: datetime
    level: str
    logger: str
    connector: str
    task: int | None
    message: str
    stack: str = ""


def entries(data: bytes, last: bool) -> tuple[list[Entry], int]:
    """The entries that are whole, and how many bytes they and all before them take.

    last: nothing belongs to the last entry any more. What is no entry, nor a part of one, is passed over.
    """
    found: list[Entry] = []
    text: list[str] = []
    chars = at = began = 0
    end = data.rfind(b"\n") + 1

    def close() -> None:
        if text and (entry := _of_kafka("\n".join(text))):
            found.append(entry)
        text.clear()

    for raw in data[:end].splitlines(keepends=True):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        entry = _of_ours(line) if line.startswith("{") else None
        if entry is not None:
            close()
            found.append(entry)
        elif _HEAD.match(line):
            close()
            text.append(line)
            began, chars = at, len(line)
        elif text and chars < _ENTRY_CHARS:
            text.append(line)
            chars += len(line)
        at += len(raw)
    if text and not last:
        return found, began
    close()
    return found, end


def _of_ours(line: str) -> Entry | None:
    try:
        told = json.loads(line)
        at = datetime.fromisoformat(told["ts"])
        message, stack = str(told["message"]), str(told.get("stack", ""))
        return _entry(at, told["level"], told["logger"], told.get("context", ""), message, stack)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _of_kafka(text: str) -> Entry | None:
    head = _HEAD.match(text)
    if head is None:
        return None
    message, logger, stack = head["rest"], "", ""
    if named := _LOGGER.search(message):
        message, logger, stack = message[: named.start()], named["logger"], message[named.end() :]
    try:
        # It is written in the local time of Connect's machine.
        at = datetime.fromisoformat(head["ts"]).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return _entry(at, head["level"], logger, head["context"] or "", message, stack)


def _entry(at: datetime, level: Any, logger: Any, context: Any, message: str, stack: str) -> Entry:
    whose = _CONTEXT.fullmatch(context.strip())
    connector, task = (whose["connector"], whose["task"]) if whose else ("", None)
    return Entry(
        at if at.tzinfo else at.replace(tzinfo=UTC),
        _LEVELS[level],
        str(logger),
        connector,
        None if task is None else int(task),
        message,
        stack.strip("\n"),
    )
