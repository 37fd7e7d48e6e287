"""Kafka Connect's log file is followed, and what connectors of pipelines say goes into their pipelines' logs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from headrace.capture.hiding import plain_secrets
from headrace.errors import HeadraceError
from headrace.monitor.entries import Entry, entries
from headrace.monitor.logging import redacted
from headrace.secrecy import known
from headrace.store import Store
from headrace.store.records import Place

LOOK_SECONDS = 1.0
LEASE_SECONDS = 15.0
CHUNK = 1 << 20
CHUNKS_A_LOOK = 8
# Of a file that nobody has read before, and of what comes with it.
FIRST_BYTES = 8 << 20
WINDOW_SECONDS = 10.0
LINES = 200
CHARS = 512 << 10
MESSAGE_CHARS, STACK_CHARS = 8_000, 24_000
_HEAD_BYTES = 1024
_LIFE = re.compile(
    r"(Creating|Stopping) (connector|task) |\S+ Source task finished initialization and start"
    r"|(Starting|Finished) streaming|Attempting to restart task|Successfully restarted task"
)

Line = dict[str, Any]
_log = logging.getLogger(__name__)


class Gatherer:
    """Follows one file across its rotations, from where the last one was, while it holds the file's lease."""

    def __init__(self, store: Store, file: Path, owner: str) -> None:
        self._store, self._file, self._owner = store, file, owner
        # Workers of one machine name the file alike; on several machines it is one shared file, or each has its own.
        self._name = f"connect-log:{file}"[-255:]
        self._kept: Place | None = None
        self._reached: Place | None = None
        self._known = self._ours = False
        self._ask_at = float("-inf")
        self._end: tuple[Path, int] | None = None
        self._budget = Budget()
        self._said = ""

    def run(self, stopping: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:
                # The place is asked of the store again: another may have read on.
                self._known, self._budget = False, Budget()
                if str(error) != self._said:
                    self._said = str(error)
                    trace = not isinstance(error, HeadraceError | OSError)
                    _log.warning("Kafka Connect's log is not gathered now: %s", error, exc_info=trace)
        with contextlib.suppress(HeadraceError):
            self._store.release(self._name, self._owner)

    def look(self) -> None:
        """Gather what is new, some MB at most; nothing where the file cannot be read or another does it."""
        if not os.access(self._file, os.R_OK) or not self._holds():
            return
        if not self._known:
            self._kept = self._reached = self._store.log_place(self._name)
            self._known = True
        # What was rotated just now is looked for again.
        with contextlib.suppress(FileNotFoundError):
            for _ in range(CHUNKS_A_LOOK):
                if not self._step():
                    break
        self._said = ""

    def _holds(self) -> bool:
        at = time.monotonic()
        if at >= self._ask_at:
            self._ours = self._store.take(self._name, self._owner, LEASE_SECONDS)
            self._ask_at = at + (LEASE_SECONDS / 3 if self._ours else LEASE_SECONDS)
            self._known = self._known and self._ours
        return self._ours

    def _step(self) -> bool:
        """Gather one chunk; False when there is nothing more for now."""
        files = self._files()
        first, position = self._locate(files)
        for number in range(first, len(files)):
            found, place, more = self._chunk(files[number], position, newest=number == len(files) - 1)
            if place is not None:
                self._write(place, found)
                return more
            position = 0
        self._write(self._reached, [])
        return False

    def _chunk(self, path: Path, position: int, newest: bool) -> tuple[list[Entry], Place | None, bool]:
        """What a file has from there on, how far that reaches (None: nowhere), and whether there may be more."""
        with path.open("rb") as file:
            file.seek(position)
            data = file.read(CHUNK)
            full, end = len(data) == CHUNK, position + len(data)
            # A stack trace may still be on its way; after a look without a new byte it is whole.
            still = (path, end) == self._end
            self._end = None if full else (path, end)
            found, used = entries(data, last=not full and (still or not newest))
            if full and not used:
                found, used = entries(data, last=True)
                if not used:
                    _log.warning(
                        "a line of Kafka Connect's log is left out: it has more than %d bytes", CHUNK
                    )
                    used = CHUNK
            place = Place(identity(file, position + used), position + used) if used else None
        return found, place, full or not newest

    def _files(self) -> list[Path]:
        """The file and what it was rotated to, the oldest first, itself last."""
        stem, suffix = re.escape(self._file.stem), re.escape(self._file.suffix)
        rotated = re.compile(rf"{stem}[.-][\d.-]+{suffix}|{stem}{suffix}[.-][\d.-]+")
        found = []
        for each in os.scandir(self._file.parent):
            if rotated.fullmatch(each.name):
                numbers = [int(number) for number in re.findall(r"\d+", each.name)]
                # By age, for numbers rise in log4j's names and fall in others'.
                found.append((each.stat().st_mtime_ns, numbers, each.name))
        return [*(self._file.with_name(name) for *_, name in sorted(found)), self._file]

    def _locate(self, files: list[Path]) -> tuple[int, int]:
        """Which of the files was read last, by what it begins with, and where to go on."""
        place = self._reached
        if place is None:
            size = self._file.stat().st_size
            return len(files) - 1, max(0, size - FIRST_BYTES)
        for number in reversed(range(len(files))):
            try:
                with files[number].open("rb") as file:
                    if os.fstat(file.fileno()).st_size >= place.position and (
                        identity(file, place.position) == place.identity
                    ):
                        return number, place.position
            except FileNotFoundError:
                continue
        # All of it was thrown away: what is there is newer.
        return 0, 0

    def _write(self, place: Place | None, found: list[Entry]) -> None:
        lines: dict[str, list[Line]] = {}
        at = time.monotonic()
        if found:
            owners = self._store.connector_owners()
            for entry in found:
                connector = _whose(entry, owners)
                pipeline = owners.get(connector)
                if pipeline is not None and _worth(entry):
                    line = _line(entry, connector)
                    if self._budget.allows(pipeline, line, at):
                        lines.setdefault(pipeline, []).append(line)
        for pipeline, number in self._budget.left_out(at).items():
            lines.setdefault(pipeline, []).append(_left_out(number))
        moved = place is not None and (
            self._kept is None
            or place.identity != self._kept.identity
            or place.position - self._kept.position > CHUNK
        )
        if place is not None and (lines or moved):
            self._learn(lines)
            self._store.gather(
                self._name, self._kept, place, {n: list(map(_shown, some)) for n, some in lines.items()}
            )
            self._kept = place
        self._reached = place

    def _learn(self, pipelines: Mapping[str, Any]) -> None:
        for name in pipelines:
            spec = self._store.pipeline(name).spec
            for end in (spec.source, spec.target):
                # Reading one makes its secrets known.
                self._store.connection(end)
            known.learn(*plain_secrets({k: str(v) for k, v in spec.connector.items()}).values())


class Budget:
    """So many lines, and so many characters, of a pipeline in a while; INFO leaves half of it to what is worse."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def allows(self, pipeline: str, line: Line, at: float) -> bool:
        """Whether one more line fits; else it is counted."""
        window = self._windows.setdefault(pipeline, _Window(at))
        share = 2 if line["level"] == "info" else 1
        chars = min(len(line["message"]), MESSAGE_CHARS) + min(
            len(line["context"].get("stack", "")), STACK_CHARS
        )
        if window.lines >= LINES // share or window.chars + chars > CHARS // share:
            window.left_out += 1
            return False
        window.lines += 1
        window.chars += chars
        return True

    def left_out(self, at: float) -> dict[str, int]:
        """How many did not fit into the whiles that are over, which are forgotten."""
        over = {name: w for name, w in self._windows.items() if at - w.began >= WINDOW_SECONDS}
        for name in over:
            del self._windows[name]
        return {name: w.left_out for name, w in over.items() if w.left_out}


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    chars: int = 0
    left_out: int = 0


def identity(file: BinaryIO, position: int) -> str:
    """What tells a log file from others, read so far: how it begins."""
    length = min(position, _HEAD_BYTES)
    file.seek(0)
    return f"{length}:{hashlib.sha256(file.read(length)).hexdigest()}"


def _whose(entry: Entry, owners: Mapping[str, str]) -> str:
    """The connector that an entry is about."""
    if entry.connector or entry.level not in ("warning", "error"):
        return entry.connector
    # Connect's herder and Kafka's clients have no context, and name it.
    named = [connector for connector in owners if connector in entry.message]
    return named[0] if len(named) == 1 else ""


def _worth(entry: Entry) -> bool:
    """Warnings and errors; of the rest, what begins and ends a connector, a task, its stream."""
    return entry.level in ("warning", "error") or (
        entry.level == "info" and _LIFE.match(entry.message) is not None
    )


def _line(entry: Entry, connector: str) -> Line:
    context = {"logger": entry.logger, "connector": connector}
    if entry.task is not None:
        context["task"] = str(entry.task)
    if entry.stack:
        context["stack"] = entry.stack
    at, level = entry.ts, entry.level
    return {"ts": at, "level": level, "component": "connect", "message": entry.message, "context": context}


def _shown(line: Line) -> Line:
    """Without secrets, then cut: what is left of a secret that was cut is not known for one. With the cause."""
    message = redacted(line["message"])
    context = {name: redacted(text) for name, text in line["context"].items()}
    if stack := context.get("stack"):
        context["stack"] = stack = stack[:STACK_CHARS]
        what = stack.partition("\n")[0]
        cause = stack.rpartition("\nCaused by: ")[2].partition("\n")[0]
        message = f"{message}: {what}" + (f" ({cause})" if cause != what else "")
    return {**line, "message": message[:MESSAGE_CHARS], "context": context}


def _left_out(number: int) -> Line:
    return {
        "ts": datetime.now(UTC),
        "level": "warning",
        "component": "connect",
        "message": f"{number} lines of Kafka Connect's log are left out: they were more than {LINES} lines or"
        f" {CHARS >> 10} KB in {WINDOW_SECONDS:.0f} s",
        "context": {},
    }
