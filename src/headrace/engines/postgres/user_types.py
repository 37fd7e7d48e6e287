"""User-defined types: what they are made of, in an order in which they can be made, as DDL.

Enters: a connection and the oids (or names) of types. Leaves: a ``UserType`` for each and for all they are built
on, those first. Nothing is compared or decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from headrace.engines.model import TableName
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.names import literal, qualified, quoted
from headrace.engines.postgres.rows import Row, rows

# The deparser's ``typtype`` in words.
KINDS = {
    "e": "enum",
    "d": "domain",
    "c": "composite",
    "r": "range",
    "m": "multirange",
    "b": "base",
    "p": "pseudo",
}


@dataclass(frozen=True, slots=True)
class UserType:
    """A type outside ``pg_catalog``.

    kind: a word of ``KINDS``, or ``array``, or ``row`` for the row type of a table. ddl: the statement that makes
    it; empty where none can (arrays and multiranges come with their element, base types and rows do not come at
    all). labels: of an enum, in order. extension: name and schema of the extension it belongs to.
    """

    oid: int
    name: TableName
    kind: str
    ddl: str = ""
    labels: tuple[str, ...] = ()
    extension: tuple[str, str] | None = None
    needs: tuple[int, ...] = ()


_CLOSURE = """
WITH RECURSIVE need(oid) AS (
    SELECT pg_catalog.unnest(%(oids)s::oid[])
  UNION
    SELECT d.oid
    FROM need n
    JOIN pg_catalog.pg_type t ON t.oid = n.oid
    CROSS JOIN LATERAL ({edges}) d(oid)
)
SELECT t.oid::bigint, s.nspname AS schema, t.typname AS name,
       CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN 'array'
            WHEN t.typtype = 'c' AND r.relkind <> 'c' THEN 'row' ELSE t.typtype::text END AS kind,
       e.extname AS extension, es.nspname AS extension_schema,
       ARRAY(SELECT d.oid::bigint FROM ({edges}) d(oid)) AS needs
FROM need n
JOIN pg_catalog.pg_type t ON t.oid = n.oid
JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
LEFT JOIN pg_catalog.pg_depend x ON x.classid = 'pg_catalog.pg_type'::regclass AND x.deptype = 'e'
  AND x.objid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
LEFT JOIN pg_catalog.pg_extension e ON e.oid = x.refobjid
LEFT JOIN pg_catalog.pg_namespace es ON es.oid = e.extnamespace
WHERE s.nspname <> 'pg_catalog'
ORDER BY s.nspname COLLATE "C", t.typname COLLATE "C"
"""

_EDGES = """
  SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
  UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
  UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid
"""
_MULTIRANGE_EDGE = "UNION ALL SELECT g.rngtypid FROM pg_catalog.pg_range g WHERE g.rngmultitypid = t.oid"

_ENUMS = """
SELECT enumtypid::bigint AS oid, pg_catalog.array_agg(enumlabel::text ORDER BY enumsortorder) AS labels
FROM pg_catalog.pg_enum WHERE enumtypid = ANY(%(oids)s::oid[]) GROUP BY enumtypid
"""

_COLLATION = """
CASE WHEN {collation} <> 0 AND {collation} <> {own} THEN (
  SELECT ' COLLATE ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(l.collname)
  FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
  WHERE l.oid = {collation}) ELSE '' END"""

_DOMAINS = f"""
SELECT t.oid::bigint, pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base, t.typnotnull AS not_null,
       coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), t.typdefault) AS default,
       {_COLLATION.format(collation="t.typcollation", own="b.typcollation")} AS collation,
       ARRAY(SELECT ARRAY[k.conname::text, pg_catalog.pg_get_constraintdef(k.oid)] FROM pg_catalog.pg_constraint k
             WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY k.conname COLLATE "C") AS checks
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE t.oid = ANY(%(oids)s::oid[]) AND t.typtype = 'd'
"""  # nosec B608  # constants

_COMPOSITES = f"""
SELECT t.oid::bigint, a.attname AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod)
       || {_COLLATION.format(collation="a.attcollation", own="b.typcollation")} AS type
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type b ON b.oid = a.atttypid
WHERE t.oid = ANY(%(oids)s::oid[])
ORDER BY t.oid, a.attnum
"""  # nosec B608  # constants

_RANGES = """
SELECT g.rngtypid::bigint AS oid, pg_catalog.format_type(g.rngsubtype, NULL) AS subtype,
       pg_catalog.quote_ident(pn.nspname) || '.' || pg_catalog.quote_ident(p.opcname) AS opclass,
       pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) AS collation,
       g.rngsubdiff::oid <> 0 AS has_diff, pg_catalog.quote_ident(fn.nspname) || '.'
         || pg_catalog.quote_ident(f.proname) AS diff, fn.nspname = 'pg_catalog' AS diff_known,
       g.rngcanonical::oid <> 0 AS canonical
FROM pg_catalog.pg_range g
JOIN pg_catalog.pg_type t ON t.oid = g.rngtypid
JOIN pg_catalog.pg_opclass p ON p.oid = g.rngsubopc
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.opcnamespace
LEFT JOIN pg_catalog.pg_collation l ON l.oid = g.rngcollation
LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_catalog.pg_proc f ON f.oid = g.rngsubdiff
LEFT JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
WHERE g.rngtypid = ANY(%(oids)s::oid[])
"""

_MULTIRANGES = """
SELECT g.rngtypid::bigint AS oid, n.nspname AS schema, m.typname AS name
FROM pg_catalog.pg_range g
JOIN pg_catalog.pg_type m ON m.oid = g.rngmultitypid
JOIN pg_catalog.pg_namespace n ON n.oid = m.typnamespace
WHERE g.rngtypid = ANY(%(oids)s::oid[])
"""

_BY_NAME = """
SELECT t.oid::bigint FROM ROWS FROM (
  pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(names)s::text[])) AS w(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid AND t.typname = w.name
"""


def oids_of(conn: Connection, names: Collection[TableName]) -> list[int]:
    """Oids of those of the named types that exist."""
    given = {"schemas": [n.schema for n in names], "names": [n.name for n in names]}
    return [row["oid"] for row in rows(conn, _BY_NAME, given)]


def user_types(conn: Connection, oids: Sequence[int]) -> list[UserType]:
    """The user-defined ones among these types and all that they are built on, in the order to make them."""
    edges = _EDGES + (_MULTIRANGE_EDGE if conn.info.server_version >= 140000 else "")
    heads = rows(conn, _CLOSURE.format(edges=edges), {"oids": list(oids)})
    own = {"oids": [h["oid"] for h in heads if not h["extension"]]}
    ddl = {**_domains(conn, own), **_composites(conn, own), **_ranges(conn, own)}
    labels = {r["oid"]: tuple(r["labels"]) for r in rows(conn, _ENUMS, own)}
    return _in_order([_user_type(h, ddl.get(h["oid"], ""), labels.get(h["oid"], ())) for h in heads])


def _user_type(head: Row, body: str, labels: tuple[str, ...]) -> UserType:
    name = TableName(head["schema"], head["name"])
    kind = KINDS.get(str(head["kind"]), str(head["kind"]))
    if kind == "enum":
        body = f"AS ENUM ({', '.join(literal(label) for label in labels)})"
    elif kind == "composite" and not body:
        body = "AS ()"
    verb = "DOMAIN" if kind == "domain" else "TYPE"
    extension = (head["extension"], head["extension_schema"]) if head["extension"] else None
    ddl = f"CREATE {verb} {qualified(name)} {body}" if body and not extension else ""
    return UserType(head["oid"], name, kind, ddl, labels, extension, tuple(head["needs"]))


def _domains(conn: Connection, own: dict[str, list[int]]) -> dict[int, str]:
    bodies = {}
    for row in rows(conn, _DOMAINS, own):
        parts = [f"AS {row['base']}{row['collation']}"]
        if row["default"] is not None:
            parts.append(f"DEFAULT {row['default']}")
        if row["not_null"]:
            parts.append("NOT NULL")
        parts += [f"CONSTRAINT {quoted(name)} {definition}" for name, definition in row["checks"]]
        bodies[row["oid"]] = " ".join(parts)
    return bodies


def _composites(conn: Connection, own: dict[str, list[int]]) -> dict[int, str]:
    attributes: dict[int, list[str]] = {}
    for row in rows(conn, _COMPOSITES, own):
        attributes.setdefault(row["oid"], []).append(f"{quoted(row['name'])} {row['type']}")
    return {oid: f"AS ({', '.join(found)})" for oid, found in attributes.items()}


def _ranges(conn: Connection, own: dict[str, list[int]]) -> dict[int, str]:
    """Bodies of range types; none for one with a canonical function, which only its own code can supply."""
    multiranges: dict[int, str] = {}
    if conn.info.server_version >= 140000:
        for row in rows(conn, _MULTIRANGES, own):
            multiranges[row["oid"]] = qualified(TableName(row["schema"], row["name"]))
    bodies = {}
    for row in rows(conn, _RANGES, own):
        parts = [f"SUBTYPE = {row['subtype']}", f"SUBTYPE_OPCLASS = {row['opclass']}"]
        if row["collation"]:
            parts.append(f"COLLATION = {row['collation']}")
        # Only an optimisation for GiST; a user's own function for it is not brought along.
        if row["has_diff"] and row["diff_known"]:
            parts.append(f"SUBTYPE_DIFF = {row['diff']}")
        if name := multiranges.get(row["oid"]):
            parts.append(f"MULTIRANGE_TYPE_NAME = {name}")
        if not row["canonical"]:
            bodies[row["oid"]] = f"AS RANGE ({', '.join(parts)})"
    return bodies


def _in_order(types: Iterable[UserType]) -> list[UserType]:
    by_oid = {t.oid: t for t in types}
    done: dict[int, UserType] = {}

    def visit(found: UserType) -> None:
        for oid in found.needs:
            if oid in by_oid and oid not in done:
                visit(by_oid[oid])
        done[found.oid] = found

    for found in by_oid.values():
        if found.oid not in done:
            visit(found)
    return list(done.values())
