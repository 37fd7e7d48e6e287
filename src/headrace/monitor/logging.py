"""Logs of a process: JSON lines (or text), with the call they belong to, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from headrace.actor import current
from headrace.capture.hiding import unveiled
from headrace.secrecy import MASK, known
from headrace.settings import Settings

# What moves a terminal's cursor, ends a line or turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SECRETS = (
    re.compile(r"(?i)((?:passw(?:or)?d|secret|token|authorization|api[_-]?key)[\"']?\s*[=:]\s*[\"']?(?:Bearer\s+)?)([^\s\"',;&}]+)"),
    re.compile(r"(?i)(Bearer\s+)([A-Za-z0-9._~+/=-]{8,})"),
    re.compile(r"()(hr_[0-9a-f]{32}\.[\w-]+)"),
    re.compile(r"()(eyJ[\w-]+\.[\w-]+\.[\w-]*)"),
)  # fmt: skip


def redacted(text: str) -> str:
    """A text without the secrets that are known and what looks like one."""
    text = unveiled(text)
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


class Redacting(logging.Filter):
    """Takes secrets out of every line, and says whose call it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask them; the line stays."""
        text = record.getMessage()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.msg, record.args = redacted(text), None
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
            # Formatters would make it anew from the exception.
            record.exc_info = None
        actor = current()
        for name, value in (
            ("request_id", actor.request_id),
            ("user", actor.name),
            ("pipeline", actor.pipeline),
        ):
            if value and not hasattr(record, name):
                setattr(record, name, value)
        return True


class _Json(JsonFormatter):
    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        # uvicorn's message once more, for terminals.
        log_data.pop("color_message", None)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        if record.exc_text:
            log_data["exception"] = record.exc_text


class _Text(logging.Formatter):
    """One line for one record, whatever is in it; those of an exception are set in."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _plain(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        trace, record.exc_text = record.exc_text, None
        lines = trace.split("\n") if trace else []
        try:
            return "\n".join([super().format(record), *("    " + _plain(line) for line in lines)])
        finally:
            record.exc_text = trace


def _plain(text: str) -> str:
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def set_up(settings: Settings, component: str) -> None:
    """Have this process log so, to standard error. component: ``server`` or ``worker``."""
    known.learn(*filter(None, settings.secrets))
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(
            _Json("{message}", style="{", timestamp="ts", static_fields={"component": component})
        )
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(Redacting())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
