"""What a verification found, in the form that the contract promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.engines.model import TableName
from headrace.errors import NotFound, Precondition

Kind = Literal["missing", "extra", "different"]

# Of the keys that differ, how many are kept for a repair; beyond them a resync is the cheaper way.
REPAIRABLE = 10_000


@dataclass(slots=True)
class Totals:
    """Rows and the sum of their weights (``engines.compare.weight``)."""

    rows: int = 0
    checksum: int = 0

    def add(self, rows: int, checksum: int) -> None:
        """Count further rows in."""
        self.rows += rows
        self.checksum += checksum

    @property
    def text(self) -> str:
        """The checksum as 32 hex digits (modulo 2^128)."""
        return f"{self.checksum % 2**128:032x}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key whose rows stay different although the target had the time to follow.

    key: column (source name) -> text; of a keyless table every compared column, long values cut.
    kind: ``missing`` or ``extra`` on the target, else ``different``. columns: the differing ones, by source
    name; empty unless ``different``. source_count, target_count: rows under the key on either side.
    """

    key: dict[str, str | None]
    kind: Kind
    columns: tuple[str, ...] = ()
    source_count: int = 1
    target_count: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return {
            "key": self.key,
            "kind": self.kind,
            "columns": list(self.columns),
            "source_count": self.source_count,
            "target_count": self.target_count,
        }


@dataclass(slots=True)
class TableReport:
    """The result for one table.

    source, target: totals of the rows whose state was settled, which are the same numbers where the sides are
    the same even though no moment existed at which all of them stood so. unsettled: keys that moved too fast
    to be judged (at most ``cap`` of ``unsettled_total``); they are in no total and in no difference.
    differences: at most ``cap`` of ``differences_total``. repair: keys to repair, at most ``REPAIRABLE``;
    None when rows cannot be found by key. error: ``HeadraceError.as_dict`` when it could not be compared.
    """

    name: TableName
    target_name: TableName
    cap: int
    source: Totals = field(default_factory=Totals)
    target: Totals = field(default_factory=Totals)
    differences: list[Difference] = field(default_factory=list)
    differences_total: int = 0
    unsettled: list[dict[str, str | None]] = field(default_factory=list)
    unsettled_total: int = 0
    repair: list[dict[str, str]] | None = field(default_factory=list)
    error: dict[str, Any] | None = None
    finished_at: str = ""
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """No difference that persists; never true of a table that could not be compared."""
        return self.error is None and self.differences_total == 0 and self.source == self.target

    @property
    def settled(self) -> bool:
        """Whether every key was judged."""
        return self.error is None and self.unsettled_total == 0

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``headrace verify`` for one table; null for numbers of a table that failed."""
        failed = self.error is not None
        return {
            "name": str(self.name),
            "target": str(self.target_name),
            "equal": self.equal,
            "settled": self.settled,
            "source_rows": None if failed else self.source.rows,
            "target_rows": None if failed else self.target.rows,
            "source_checksum": None if failed else self.source.text,
            "target_checksum": None if failed else self.target.text,
            "differences": [d.as_dict() for d in self.differences],
            "differences_total": self.differences_total,
            "cap": self.cap,
            "unsettled": self.unsettled,
            "unsettled_total": self.unsettled_total,
            "error": self.error,
            "finished_at": self.finished_at,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Report:
    """The result for all tables asked for. cap: how many differences are listed per table."""

    tables: list[TableReport]
    cap: int
    started_at: str = ""
    finished_at: str = ""

    @property
    def equal(self) -> bool:
        """Whether every table is equal; false when nothing was compared."""
        return bool(self.tables) and all(t.equal for t in self.tables)

    @property
    def settled(self) -> bool:
        """Whether every key of every table was judged."""
        return all(t.settled for t in self.tables)

    def table(self, name: TableName) -> TableReport:
        """The result for the table of that source name. Raises NotFound."""
        for table in self.tables:
            if table.name == name:
                return table
        raise NotFound("no_such_table", f"The verification did not include {name}.", "Verify it first.")

    def keys_to_repair(self, table: TableName) -> list[dict[str, str]]:
        """Keys (source column -> text that casts to its type) of all rows that differ.

        Raises NotFound for a table that was not verified; Precondition when rows cannot be repaired by key:
        it has no key, the key is masked, or more than ``REPAIRABLE`` rows differ.
        """
        found = self.table(table)
        if found.differences_total == 0:
            return []
        if found.repair is None or found.differences_total > len(found.repair):
            raise Precondition(
                "not_repairable",
                f"{table}: {found.differences_total} differences cannot be repaired row by row.",
                "Resync the table.",
                {"table": str(table), "differences": found.differences_total},
            )
        return list(found.repair)

    def __iter__(self) -> Iterator[TableReport]:
        return iter(self.tables)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``headrace verify --json``."""
        return {
            "equal": self.equal,
            "settled": self.settled,
            "cap": self.cap,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "tables": [t.as_dict() for t in self.tables],
        }
