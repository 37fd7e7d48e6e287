"""Neutral words that every room shares with the engines: names, columns, tables, cuts, changes.

Pure data; no driver, no SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headrace.spec.names import TableName

__all__ = [
    "MISSING",
    "Carriage",
    "Column",
    "Constraint",
    "Cut",
    "Index",
    "Key",
    "KeyedBatch",
    "KeylessBatch",
    "Leaf",
    "Mapped",
    "Progress",
    "Route",
    "Row",
    "Table",
    "TableName",
]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


# Stands for a value that an event does not carry.
MISSING: Final = _Missing()

Row = tuple[Any, ...]
Key = tuple[Any, ...]

# How a column's value travels in the stream:
# ``event``  - taken from the change event (its event form is lossless);
# ``reread`` - fetched from the source by key, as text, when the event is applied;
# ``refused`` - can be carried neither way: preflight refuses the table.
Carriage = Literal["event", "reread", "refused"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a source table.

    type: the engine's full spelling, ready for DDL (``numeric(10,2)``, ``public."Mood"[]``).
    base: engine's name of the type at the bottom of domains (``int4``, ``_text``, ``mood``).
    category: engine's own class of that base type (PostgreSQL: typtype+typcategory, e.g. ``bN``, ``eE``).
    number: stable number of the column (PostgreSQL: attnum); a re-created column gets another.
    default: the default expression as SQL, None without. identity: ``always``, ``by default`` or None.
    generated: expression of a generated column, else None; such a column is never written.
    """

    name: str
    type: str
    base: str
    category: str
    number: int
    nullable: bool = True
    default: str | None = None
    identity: Literal["always", "by default"] | None = None
    generated: str | None = None
    virtual: bool = False
    collation: str | None = None
    carriage: Carriage = "event"
    comment: str | None = None
    typmod: int = -1
    type_schema: str = "pg_catalog"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One physical relation under a table (itself, or a leaf partition).

    pages: size in blocks (PostgreSQL: of 8 KiB). file: id of its storage; another one after a rewrite.
    """

    name: TableName
    oid: int
    pages: int
    file: int


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index or constraint of a source table.

    definition: engine's own SQL for the index (``pg_get_indexdef``) or the constraint
    (``pg_get_constraintdef``); columns: the plain columns it covers, in order (empty for expressions).
    constraint: name of the constraint it stands for (PRIMARY KEY, UNIQUE, EXCLUDE), else None.
    """

    name: str
    definition: str
    unique: bool = False
    primary: bool = False
    constraint: str | None = None
    columns: tuple[str, ...] = ()
    partial: bool = False
    deferrable: bool = False
    valid: bool = True
    nulls_not_distinct: bool = False


@dataclass(frozen=True, slots=True)
class Constraint:
    """A check or foreign key: name and ``pg_get_constraintdef``; references: target of a foreign key."""

    name: str
    kind: Literal["check", "foreign"]
    definition: str
    references: TableName | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a source as it stands in the catalogue.

    key: Headrace's own key: the primary key, or a NOT NULL, non-partial, non-deferrable unique index whose
    columns travel losslessly in events; empty means keyless. key_index: the index behind it.
    replica_identity: ``default``, ``full``, ``index:<name>`` or ``nothing``.
    rows, bytes: estimates (-1 unknown). signature: changes whenever column numbers, types or leaves change.
    """

    name: TableName
    oid: int
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    key_index: str | None = None
    primary_key: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    partitioned: bool = False
    partition_key: str | None = None
    leaves: tuple[Leaf, ...] = ()
    replica_identity: str = "default"
    owner: str = ""
    rows: int = -1
    bytes: int = -1
    unlogged: bool = False
    comment: str | None = None
    signature: str = ""
    # DDL that PostgreSQL-like targets replay for partitions: (partition name, bounds, sub-partition key)
    partitions: tuple[tuple[TableName, TableName, str, str | None], ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name; KeyError without."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Mapped:
    """How one source column lands: its target name and an optional mask."""

    source: Column
    target: str
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One table of a pipeline: where it comes from, where it goes, what of it.

    columns: the mapped columns in source order, without excluded ones; generated ones are left in so that
    DDL can make them, and are never written. key: in source names, empty when keyless. where: row filter SQL.
    """

    source: Table
    target: TableName
    columns: tuple[Mapped, ...]
    where: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Key columns in source names."""
        return self.source.key

    @property
    def written(self) -> tuple[Mapped, ...]:
        """Columns that load and stream write."""
        return tuple(m for m in self.columns if m.source.generated is None)


@dataclass(frozen=True, slots=True)
class Cut:
    """The exact join of load and stream for one table.

    snapshot: the engine's own snapshot (PostgreSQL: ``xmin:xmax:xip,...``). position: source position taken
    after the snapshot opened; an event written after it is never covered. server: identity of the server
    instance the cut is valid for.
    """

    snapshot: str
    position: int
    server: str
    taken_at: str = ""


@dataclass(slots=True)
class Progress:
    """Progress of one topic, as stored in the target in the transaction of the data itself.

    topic_id: Kafka's own id of the topic. next_offset: first offset not yet applied. last_offset and
    last_position: the last event applied and its source position (-1 before the first).
    """

    pipeline: str
    generation: str
    topic: str
    source: TableName
    target: TableName
    topic_id: str = ""
    next_offset: int = 0
    last_offset: int = -1
    last_position: int = -1
    cut: Cut | None = None
    state: str = "loading"
    held: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class KeyedBatch:
    """The folded batch of a keyed table.

    rows: complete rows. partial: rows with MISSING values and the key their row has in the target now.
    gone: keys that no longer exist. moved: some partial row comes from another key.
    """

    rows: list[Row] = field(default_factory=list)
    partial: list[tuple[Row, Key]] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    moved: bool = False


@dataclass(slots=True)
class KeylessBatch:
    """The folded batch of a keyless table: rows to add and rows to remove, each with its count."""

    added: list[tuple[Row, int]] = field(default_factory=list)
    removed: list[tuple[Row, int]] = field(default_factory=list)
