"""What to do when a source table is no longer what it was: add columns, load again, or pause. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.engines.model import Column, Route

Answer = Literal["same", "add", "reload", "pause"]


@dataclass(frozen=True, slots=True)
class Drift:
    """``add``: only columns came; ``reload``: partitions changed; ``pause``: anything else, said in ``why``."""

    answer: Answer
    added: tuple[Column, ...] = ()
    why: str = ""


def compare(old: Route, new: Route | None, evolve: bool) -> Drift:
    """What changed between two looks at a table. new None: the table is gone (or no longer selected)."""
    name = old.source.name
    if new is None:
        return Drift("pause", why=f"table {name} is gone from the source")
    before = {c.number: c for c in old.source.columns}
    after = {c.number: c for c in new.source.columns}
    if gone := [c.name for n, c in before.items() if n not in after]:
        return Drift("pause", why=f"column {_listed(gone)} of {name} was dropped")
    for number, column in before.items():
        now = after[number]
        if now.name != column.name:
            return Drift("pause", why=f"column {column.name} of {name} was renamed to {now.name}")
        if now.type != column.type:
            return Drift(
                "pause", why=f"column {column.name} of {name} changed from {column.type} to {now.type}"
            )
    if old.key != new.key:
        return Drift("pause", why=f"the key of {name} changed from {_listed(old.key)} to {_listed(new.key)}")
    added = tuple(m.source for m in new.columns if m.source.number not in before)
    if added and not evolve:
        return Drift("pause", added, f"column {_listed([c.name for c in added])} was added to {name}")
    if added:
        return Drift("add", added)
    if {leaf.oid for leaf in old.source.leaves} != {leaf.oid for leaf in new.source.leaves}:
        return Drift("reload", why=f"the partitions of {name} changed")
    return Drift("same")


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
