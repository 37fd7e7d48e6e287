"""From single runs to medians, ``results.json``, a table, and the README's part about measurements."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.starting import FIRST, LATER
from bench.works import Run

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
REFERENCE = {"load": "headrace", "stream": "headrace", "latency": "headrace", "start": LATER}
WORDS = {
    "load": "Load of pgbench_accounts into an empty database, primary key included",
    "stream": "Drain of a backlog of single-row update transactions",
    "latency": "Source commit to target commit at 500 transactions/s",
    "start": "`headrace up` on fetched artifacts",
}

Row = dict[str, Any]


def rows(runs: Sequence[Run], scale: float) -> list[Row]:
    """One row per work and system, in the order they ran.

    seconds and rows_per_s are medians. ratio_to_headrace: how many times as long as Headrace this system takes for the
    same number of rows (for latency and start: how many times Headrace's seconds); above 1, Headrace is faster.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.work, run.system), []).append(run)
    found = [_row(work, system, group, scale) for (work, system), group in groups.items()]
    for row in found:
        reference = next((r for r in found if (r["work"], r["system"]) == _reference(row["work"])), None)
        row["ratio_to_headrace"] = _ratio(row, reference) if reference else None
    return found


def _reference(work: str) -> tuple[str, str]:
    return work, REFERENCE[work]


def _row(work: str, system: str, group: Sequence[Run], scale: float) -> Row:
    seconds = statistics.median(run.seconds for run in group)
    moved = work in ("load", "stream")
    return {
        "work": work,
        "system": system,
        "seconds": round(seconds, 4),
        "rows_per_s": round(group[0].rows / seconds, 1) if moved else None,
        "ratio_to_headrace": None,
        "rows": group[0].rows,
        "scale": scale,
        "median": _medians([run.more for run in group]),
        "cpu_seconds": _medians([run.cpu for run in group]),
        "runs": [{"seconds": round(run.seconds, 4), "cpu_seconds": run.cpu, **run.more} for run in group],
        "machine": _machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _medians(maps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in maps for name in one)
    return {name: round(statistics.median(one.get(name, 0.0) for one in maps), 2) for name in names}


def _ratio(row: Row, reference: Row) -> float:
    if row["rows_per_s"]:
        return round(float(reference["rows_per_s"] / row["rows_per_s"]), 3)
    return round(float(row["seconds"] / reference["seconds"]), 3)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def merge(new: Sequence[Row], old: Sequence[Row]) -> list[Row]:
    """The new rows, and the old ones of works that were not run."""
    ran = {row["work"] for row in new}
    found = [*new, *(row for row in old if row["work"] not in ran)]
    return sorted(found, key=lambda row: list(WORDS).index(row["work"]))


def read(path: Path) -> list[Row]:
    """The rows of a results file; none when there is no file."""
    if not path.exists():
        return []
    found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, found: Sequence[Row]) -> None:
    """Write a results file."""
    path.write_text(json.dumps(list(found), indent=1) + "\n", encoding="utf-8")


def show(found: Sequence[Row]) -> None:
    """The table for people."""
    table = Table("work", "system", "seconds", "rows/s", "ratio to Headrace", "more", "CPU seconds")
    for row in found:
        table.add_row(
            row["work"],
            row["system"],
            f"{row['seconds']:.3g}",
            f"{row['rows_per_s']:,.0f}" if row["rows_per_s"] else "",
            f"{row['ratio_to_headrace']:.2f}" if row["ratio_to_headrace"] else "",
            ", ".join(f"{k} {v:g}" for k, v in row["median"].items()),
            ", ".join(f"{k} {v:.1f}" for k, v in row["cpu_seconds"].items() if v >= 0.05),
        )
    Console(width=200).print(table)


def readme(found: Sequence[Row]) -> None:
    """Put the figures into the README, between its two marks."""
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    README.write_text(pattern.sub(lambda _: f"{BEGIN}\n{markdown(found)}{END}", text), encoding="utf-8")


def markdown(found: Sequence[Row]) -> str:
    """The README's part: one table per work; says so when nothing was measured."""
    if not found:
        return "Nothing measured yet: `make bench` writes `bench/results.json`.\n"
    first = found[0]
    count = len(first["runs"])
    parts = [f"Median of {count} run{'s' if count != 1 else ''} on {first['machine']}, {first['date']}.\n"]
    for work, words in WORDS.items():
        part = [row for row in found if row["work"] == work]
        if part:
            parts.append(f"\n{words}:\n\n{_table(work, part)}")
    return "".join(parts)


def _table(work: str, part: Sequence[Row]) -> str:
    head: tuple[str, ...]
    body: list[tuple[str, ...]]
    match work:
        case "latency":
            head = ("system", "p50", "p99")
            body = [(r["system"], f"{r['median']['p50_ms']} ms", f"{r['median']['p99_ms']} ms") for r in part]
        case "start":
            head = ("start", "until ready", "resident at rest")
            body = [(r["system"], f"{r['seconds']:.1f} s", _resident(r)) for r in part]
        case _:
            head = ("system", "rows", "seconds", "rows/s", "time per row, Headrace = 1")
            body = [
                (
                    r["system"],
                    f"{r['rows']:,}",
                    f"{r['seconds']:.1f}",
                    f"{r['rows_per_s']:,.0f}",
                    f"{r['ratio_to_headrace']:.2f}",
                )
                for r in part
            ]
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _resident(row: Row) -> str:
    return f"{row['median']['rss_mb'] / 1000:.2f} GB" if row["system"] != FIRST else ""
