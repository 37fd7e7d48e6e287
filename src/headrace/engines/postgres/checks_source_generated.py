"""Checks of generated columns that would make the user's own changes fail.

From PostgreSQL 18 on a published table refuses UPDATE and DELETE ("Replica identity must not contain
unpublished generated columns") while its replica identity holds a generated column that the publication leaves
out. Virtual ones are never published; stored ones by ``publish_generated_columns = stored`` only. Excluding
the column in the spec does not help: a replica identity of FULL holds every column.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.engines.model import Table, TableName
from headrace.engines.postgres.checks_server import listing, read, values
from headrace.engines.postgres.checks_source_tables import (
    Relation,
    Source,
    SourceCheck,
    add_key,
    has_full_identity,
)
from headrace.engines.postgres.names import qualified, quoted
from headrace.errors import Finding

# The first version with virtual columns, and with the refusal.
REFUSING = 18

_GENERATED = """
select attrelid::int8 as relation, attname::text as name, attgenerated = 'v' as virtual
from pg_attribute where attrelid = any(%s::oid[]) and attnum > 0 and attgenerated <> '' and not attisdropped
order by attnum"""

_PUBLISHED = """
select schemaname::text, tablename::text, attnames::text[] from pg_publication_tables where pubname = %s"""


@dataclass(frozen=True, slots=True)
class _Generated:
    relation: int
    name: str
    virtual: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """The generated columns in one table's replica identity, those of its leaves included."""

    table: Table
    full: list[Relation]
    virtual: list[str]
    stored: list[str]


def generated(at: Source) -> Iterator[Finding]:
    """Generated columns in a replica identity that the publication will not carry."""
    if at.server.major < REFUSING:
        return
    held = _held(at)
    yield from (_virtual(h) for h in held if h.virtual)
    if at.publication is not None:
        yield from _unpublished(at, at.publication, held)


def _held(at: Source) -> list[_Held]:
    found: defaultdict[int, list[_Generated]] = defaultdict(list)
    for column in read(at.conn, _Generated, _GENERATED, ([r.oid for r in at.relations],)):
        found[column.relation].append(column)
    held = []
    for table in at.tables:
        mine = [r for r in at.relations if r.root == table.oid and r.kind != "f"]
        full = [r for r in mine if has_full_identity(table, r)]
        columns = [c for r in mine for c in found[r.oid] if r in full or c.name in r.carried]
        virtual = list(dict.fromkeys(c.name for c in columns if c.virtual))
        stored = list(dict.fromkeys(c.name for c in columns if not c.virtual))
        held.append(_Held(table, full, virtual, stored))
    return held


def _virtual(held: _Held) -> Finding:
    table = held.table
    why = "its replica identity is FULL" if table.key else "it has no usable key"
    return Finding(
        "virtual_generated",
        "error",
        "source",
        f"{table.name} has virtual generated columns ({listing(held.virtual)}), and {why}: once it is published, "
        "PostgreSQL refuses every UPDATE and DELETE of your own on it.",
        "Set its replica identity to its key."
        if table.key
        else "Exclude the table in the spec (excluding the columns is not enough), give it a primary key (a fix "
        "that adds one rewrites the table), or drop the columns and add them again as STORED.",
        _without_full(held),
        str(table.name),
    )


def _without_full(held: _Held) -> str | None:
    table = held.table
    key = [] if table.key else [add_key(table)]
    if None in key or (table.key and table.key != table.primary_key and len(held.full) > 1):
        # Leaves have indexes of other names.
        return None
    by = "DEFAULT"
    if table.key and table.key != table.primary_key:
        by = f"USING INDEX {quoted(table.key_index or '')}"
    now = [r.name for r in held.full if r.identity == "f"]
    return "\n".join([*map(str, key), *(f"ALTER TABLE {qualified(n)} REPLICA IDENTITY {by};" for n in now)])


def _unpublished(at: Source, publication: str, held: list[_Held]) -> Iterator[Finding]:
    rows = values(at.conn, _PUBLISHED, (publication,))
    carried = {TableName(schema, name): set(columns) for schema, name, columns in rows}
    lacking = {
        h.table.name: columns
        for h in held
        if h.table.name in carried and (columns := [c for c in h.stored if c not in carried[h.table.name]])
    }
    if lacking:
        tables = [f"{name} ({', '.join(columns)})" for name, columns in lacking.items()]
        yield Finding(
            "publication_generated",
            "error",
            "source",
            f"Publication {publication} leaves out generated columns that the replica identity holds, of "
            f"{listing(tables)}: PostgreSQL refuses every UPDATE and DELETE of your own on these tables.",
            "Publish stored generated columns, or give the tables a primary key.",
            f"ALTER PUBLICATION {quoted(publication)} SET (publish_generated_columns = stored);",
            publication,
        )


STREAMING: tuple[SourceCheck, ...] = (generated,)
