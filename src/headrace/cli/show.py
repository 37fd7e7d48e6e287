"""Answers for people: tables on standard output, errors on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError

# rich is imported where something is shown: what a command asks for is on its way sooner.
if TYPE_CHECKING:
    from rich.console import Console

JSON = Mapping[str, Any]

_TONE = {
    "running": "green",
    "live": "green",
    "idle": "green",
    "incremental": "green",
    "ok": "green",
    "resolved": "green",
    "completed": "green",
    "failed": "red",
    "RUNNING": "green",
    "error": "red",
    "critical": "red",
    "firing": "red",
    "FAILED": "red",
    "unreachable": "red",
    "warning": "yellow",
    "paused": "yellow",
    "stopped": "yellow",
    "acknowledged": "yellow",
    "PAUSED": "yellow",
    "STOPPED": "yellow",
    "info": "cyan",
}


def escape(text: str) -> str:
    """The text with nothing in it that rich takes for markup."""
    from rich.markup import escape

    return escape(text)


def out() -> Console:
    """Standard output, as it is now; wide when nobody looks, so that nothing is cut."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, width=200)


def error(raised: HeadraceError) -> None:
    """Message, findings and guidance of an error on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    findings = raised.context.get("findings")
    if findings:
        console.print(f"[red]error[/] ({raised.code}): the preflight found what has to be mended first")
        _findings(console, findings)
    else:
        console.print(f"[red]error[/] ({raised.code}): {escape(raised.message)}")
    if raised.guidance:
        console.print(escape(raised.guidance))


def line(text: str) -> None:
    """One line."""
    out().print(escape(text))


def note(text: str) -> None:
    """One line beside the answer, on standard error."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(text))


def instant(text: str | None) -> str:
    """An instant of an answer, to the second."""
    return text[:19].replace("T", " ") if text else ""


def utc(instant: datetime | None) -> str | None:
    """An instant of an option, which is in UTC, as the API wants it."""
    return f"{instant.isoformat()}Z" if instant else None


def toned(word: Any) -> str:
    """A word of state in its colour."""
    if not word:
        return ""
    tone = _TONE.get(str(word))
    return f"[{tone}]{word}[/]" if tone else escape(str(word))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], toned_columns: Sequence[str] = ()) -> None:
    """A table; numbers to the right, words of state coloured."""
    from rich.table import Table

    filled = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, header_style="dim")
    for at, name in enumerate(columns):
        numbers = any(isinstance(row[at], int | float) for row in filled)
        made.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in filled:
        cells = (toned(c) if n in toned_columns else _cell(c) for n, c in zip(columns, row, strict=True))
        made.add_row(*cells)
    out().print(made)


def findings(found: Sequence[JSON]) -> None:
    """Findings with the SQL that mends them."""
    _findings(out(), found)


def _findings(console: Console, found: Sequence[JSON]) -> None:
    for one in found:
        said = f"{toned(one['severity'])} {one['side']} {escape(one['code'])}: {escape(one['message'])}"
        console.print(said)
        if one.get("guidance"):
            console.print(f"    {escape(one['guidance'])}")
        for text in (one.get("fix") or "").splitlines():
            console.print(f"    [bold]{escape(text)}[/]")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"
