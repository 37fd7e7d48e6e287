"""Reading PostgreSQL's catalogue: which tables there are, and each as a ``model.Table``.

Works on PostgreSQL 13 to 18 as an ordinary user: only the catalogue is read, never a table. The number of
queries is fixed, however many tables are asked for. The connection must run under ``search_path=pg_catalog``
(``connection.connect`` sees to it), because the spelling of types and definitions depends on it.

A parent of plain inheritance stands for itself only (``ONLY``); its children are tables of their own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql as psql

from headrace.engines.model import Column, Constraint, Index, Leaf, Table, TableName
from headrace.engines.postgres import catalog_sql as sql
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.rows import Row, rows
from headrace.engines.postgres.types import carriage, may_be_key

Signature = tuple[str, tuple[tuple[int, int], ...]]

_IDENTITY: dict[str, Any] = {"a": "always", "d": "by default"}
_REPLICA_IDENTITY = {"d": "default", "f": "full", "n": "nothing"}
# No type has this name, so whatever is called so is neither lossless nor fit for a key.
_UNKNOWN = ""


def tables(conn: Connection) -> list[TableName]:
    """The user's tables, sorted: plain ones and roots of partitioned ones.

    Left out: partitions, system and temporary schemas, tables that belong to an extension, foreign tables,
    and Headrace's own schema.
    """
    return [TableName(r["schema"], r["name"]) for r in rows(conn, sql.TABLES, {})]


def describe(conn: Connection, names: Sequence[TableName] | None = None) -> list[Table]:
    """Everything the catalogue knows of the named tables (None: of all), sorted by name.

    A name that is no table, or is a partition's, is left out of the answer.
    """
    heads = _heads(conn, names)
    oids = [h["oid"] for h in heads]
    columns = _grouped(rows(conn, sql.COLUMNS, {"oids": oids}))
    indexes = _grouped(rows(conn, sql.indexes(conn.info.server_version), {"oids": oids}))
    constraints = _grouped(rows(conn, sql.CONSTRAINTS, {"oids": oids}))
    tree = _grouped(rows(conn, sql.tree(conn.info.server_version, sized=True), {"oids": oids}))
    return [
        _table(h, columns[h["oid"]], indexes[h["oid"]], constraints[h["oid"]], tree[h["oid"]]) for h in heads
    ]


def signatures(conn: Connection, names: Sequence[TableName]) -> dict[TableName, Signature]:
    """Signature and (oid, file) of every leaf, for each of the tables that exists; three light queries.

    Takes no lock and reads no file, so it never waits for a table that is being rewritten.
    """
    heads = _heads(conn, names)
    oids = [h["oid"] for h in heads]
    attributes = _grouped(rows(conn, sql.ATTRIBUTES, {"oids": oids}))
    tree = _grouped(rows(conn, sql.tree(conn.info.server_version, sized=False), {"oids": oids}))
    found: dict[TableName, Signature] = {}
    for head in heads:
        files = tuple((n["oid"], n["file"]) for n in tree[head["oid"]] if n["kind"] == "r")
        signature = _signature(attributes[head["oid"]], [oid for oid, _ in files])
        found[TableName(head["schema"], head["name"])] = signature, files
    return found


def _heads(conn: Connection, names: Sequence[TableName] | None) -> list[Row]:
    wanted = tables(conn) if names is None else names
    given = {"schemas": [n.schema for n in wanted], "names": [n.name for n in wanted]}
    return rows(conn, sql.HEADS, given)


def filled_alike(conn: Connection, before: Table, after: Table, column: Column) -> bool:
    """Whether it is certain that the rows from before a column came hold what its default of now would give them.

    A default may be set for the existing rows and then be dropped or changed, in one transaction; what the rows got
    then only the catalogue's missing value tells, and nothing once the table was rewritten.
    """
    if column.generated is not None:
        return True
    leaves = [leaf.oid for leaf in after.leaves]
    if {(x.oid, x.file) for x in before.leaves} != {(x.oid, x.file) for x in after.leaves} or not leaves:
        return False
    query = psql.SQL(
        "SELECT bool_and(CASE WHEN {} THEN NOT a.atthasmissing"
        " ELSE a.atthasmissing AND a.attmissingval::text = (ARRAY[({})::text])::text END)"
        " FROM pg_attribute a WHERE a.attrelid = ANY(%(leaves)s) AND a.attname = %(name)s AND NOT a.attisdropped"
    )
    none = column.default is None
    if none and not column.nullable:
        return False
    default: Any = "NULL" if none else f"({column.default})::{column.type}"
    try:
        found = conn.execute(
            query.format(psql.Literal(none), psql.SQL(default.replace("%", "%%"))),
            {"leaves": leaves, "name": column.name},
        ).fetchone()
    except psycopg.Error:
        return False
    return bool(found and found[0])


def _grouped(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["root"]].append(row)
    return groups


def _table(
    head: Row, columns: list[Row], indexes: list[Row], constraints: list[Row], tree: list[Row]
) -> Table:
    name = TableName(head["schema"], head["name"])
    leaves = tuple(_leaf(node) for node in tree if node["kind"] == "r")
    key, key_index = _key(columns, indexes)
    primary = next((tuple(i["columns"]) for i in indexes if i["is_primary"]), ())
    return Table(
        name=name,
        oid=head["oid"],
        columns=tuple(_column(c) for c in columns),
        key=key,
        key_index=key_index,
        primary_key=primary,
        indexes=tuple(_index(i) for i in indexes),
        constraints=tuple(_constraint(c) for c in constraints),
        partitioned=head["kind"] == "p",
        partition_key=head["partition_key"],
        leaves=leaves,
        replica_identity=_replica_identity(head, indexes),
        owner=head["owner"],
        rows=_estimated_rows(tree),
        bytes=sum(node["bytes"] for node in tree),
        unlogged=head["unlogged"],
        comment=head["comment"],
        signature=_signature(columns, [leaf.oid for leaf in leaves]),
        partitions=tuple(_partition(n, name) for n in tree if n["level"] > 0),
    )


def _column(row: Row) -> Column:
    generated = row["expression"] if row["generated"] else None
    return Column(
        name=row["name"],
        type=row["type"],
        base=row["base"],
        category=row["category"],
        number=row["number"],
        nullable=row["nullable"],
        default=None if row["generated"] else row["expression"],
        identity=_IDENTITY.get(row["identity"]),
        generated=generated,
        virtual=row["generated"] == "v",
        collation=row["collation"],
        carriage=carriage(_trusted(row), row["category"], row["version"], row["typmod"]),
        comment=row["comment"],
        typmod=row["typmod"],
        type_schema=row["type_schema"],
    )


def _trusted(row: Row) -> str:
    """The base type's name, unless the user merely named a type of his own like a known one."""
    known: bool = row["base_schema"] == "pg_catalog" or row["base_extension"]
    return str(row["base"]) if known else _UNKNOWN


def _index(row: Row) -> Index:
    return Index(
        name=row["name"],
        definition=row["definition"],
        unique=row["is_unique"],
        primary=row["is_primary"],
        constraint=row["constraint_name"],
        columns=tuple(row["columns"]),
        partial=row["partial"],
        deferrable=not row["immediate"],
        valid=row["valid"],
        nulls_not_distinct=row["nulls_not_distinct"],
    )


def _constraint(row: Row) -> Constraint:
    other = TableName(row["other_schema"], row["other_name"]) if row["kind"] == "f" else None
    return Constraint(row["name"], "foreign" if other else "check", row["definition"], other)


def _leaf(node: Row) -> Leaf:
    return Leaf(TableName(node["schema"], node["name"]), node["oid"], node["pages"], node["file"])


def _partition(node: Row, root: TableName) -> tuple[TableName, TableName, str, str | None]:
    parent = TableName(node["parent_schema"], node["parent_name"]) if node["level"] > 1 else root
    return TableName(node["schema"], node["name"]), parent, node["bounds"], node["partition_key"]


def _estimated_rows(tree: list[Row]) -> int:
    """Sum over the leaves, -1 when one that holds pages was never analysed (its own estimate is -1, or 0 on 13)."""
    leaves = [n for n in tree if n["kind"] == "r"]
    if any(n["pages"] and (n["rows"] < 0 or not n["known_pages"]) for n in leaves):
        return -1
    return sum(max(int(n["rows"]), 0) for n in leaves)


def _replica_identity(head: Row, indexes: list[Row]) -> str:
    if head["replica_identity"] != "i":
        return _REPLICA_IDENTITY[head["replica_identity"]]
    # An index that was dropped since leaves the table with an identity of nothing.
    return next((f"index:{i['name']}" for i in indexes if i["is_replica_identity"]), "nothing")


def _key(columns: list[Row], indexes: list[Row]) -> tuple[tuple[str, ...], str | None]:
    """Headrace's key and the index behind it: the primary key, else the first unique index (by name) that is fit."""
    by_name = {c["name"]: c for c in columns}
    ordered = sorted(indexes, key=lambda i: (not i["is_primary"], i["name"].encode()))
    for index in ordered:
        if _fit(index) and all(_fit_column(by_name[name]) for name in index["columns"]):
            return tuple(index["columns"]), index["name"]
    return (), None


def _fit(index: Row) -> bool:
    return bool(
        index["is_unique"]
        and index["valid"]
        and index["immediate"]
        and not index["partial"]
        and not index["is_exclusion"]
        and index["columns"]
        and index["plain_equality"]
    )


def _fit_column(column: Row) -> bool:
    return bool(
        not column["nullable"]
        and not column["generated"]
        and column["deterministic"]
        and may_be_key(_trusted(column), column["category"], column["version"], column["typmod"])
    )


def _signature(columns: Iterable[Row], leaves: Iterable[int]) -> str:
    """Hash of number, name and type of every column, and of the leaves.

    Names are in it although the numbers identify the columns: two columns that swap their names during a load
    would otherwise be read crossed, for names are looked up anew by every query.
    """
    text = "\n".join(f"{c['number']} {c['name']!r} {c['type']}" for c in columns)
    text += "\n" + ",".join(str(oid) for oid in sorted(leaves))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
