"""What a target database must have before the tables can be made: schemas, extensions, collations and types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headrace.engines.model import Route, TableName
from headrace.engines.postgres import expressions, shape
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.names import literal, qualified, quoted
from headrace.engines.postgres.rows import Row, rows
from headrace.engines.postgres.user_types import UserType, oids_of, user_types
from headrace.errors import Finding, Precondition


@dataclass(slots=True)
class _Needs:
    """What was found out. statements: by kind, in the order to run them."""

    schemas: set[str] = field(default_factory=set)
    extensions: list[str] = field(default_factory=list)
    collations: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def prerequisites(source: Connection, target: Connection, routes: Sequence[Route]) -> list[str]:
    """Statements that make on the target what the routes' tables need and it lacks; [] when it lacks nothing.

    An enum that lost behind its source gets the missing labels. Raises Precondition (``type_differs``,
    ``type_missing``, ``extension_missing``, ``extension_elsewhere``) naming everything that stands in the way.
    """
    needs = _needs(source, target, routes)
    if needs.findings:
        raise Precondition(
            needs.findings[0].code,
            "; ".join(f.message for f in needs.findings),
            needs.findings[0].guidance,
            {"findings": [f.as_dict() for f in needs.findings]},
        )
    present = {r["nspname"] for r in rows(target, "SELECT nspname FROM pg_catalog.pg_namespace")}
    schemas = [f"CREATE SCHEMA {quoted(s)}" for s in sorted(needs.schemas - present)]
    return [*schemas, *needs.extensions, *needs.collations, *needs.types]


def prerequisite_findings(source: Connection, target: Connection, routes: Sequence[Route]) -> list[Finding]:
    """What ``prerequisites`` would refuse, all of it, for the preflight."""
    return _needs(source, target, routes).findings


def _needs(source: Connection, target: Connection, routes: Sequence[Route]) -> _Needs:
    needs = _Needs()
    needs.schemas |= {r.target.schema for r in routes}
    needs.schemas |= {shape.moved(r, name).schema for r in routes for name, _, _, _ in r.source.partitions}
    needs.schemas |= {s.schema for r in routes for s in _sequences(r)}
    wanted = user_types(source, _type_oids(source, routes))
    _extensions(needs, source, target, wanted, routes)
    _collations(needs, source, target, routes)
    _types(needs, source, target, wanted)
    needs.findings += _missing_builtin(target, routes)
    return needs


def _sequences(route: Route) -> Iterator[TableName]:
    for mapped in route.columns:
        if not mapped.mask and (found := expressions.sequence_of(mapped.source.default)):
            yield shape.moved(route, TableName(*found))


_TYPE_OIDS = """
SELECT DISTINCT a.atttypid::bigint AS oid
FROM ROWS FROM (pg_catalog.unnest(%(tables)s::oid[]), pg_catalog.unnest(%(numbers)s::int2[])) AS w(oid, number)
JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum = w.number
"""


def _type_oids(source: Connection, routes: Sequence[Route]) -> list[int]:
    wanted = [(r.source.oid, m.source.number) for r in routes for m in r.columns if not _retyped(m.mask)]
    params = {"tables": [t for t, _ in wanted], "numbers": [n for _, n in wanted]}
    return [row["oid"] for row in rows(source, _TYPE_OIDS, params)]


def _retyped(mask: str | None) -> bool:
    return mask in shape.MASK_TYPES


# Extensions behind operator classes and functions of indexes, defaults and checks.
_USED_EXTENSIONS = """
SELECT DISTINCT e.extname AS name, n.nspname AS schema
FROM (
    SELECT 'pg_catalog.pg_class'::regclass AS class, indexrelid AS oid
    FROM pg_catalog.pg_index WHERE indrelid = ANY(%(oids)s::oid[])
  UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, oid
    FROM pg_catalog.pg_attrdef WHERE adrelid = ANY(%(oids)s::oid[])
  UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid
    FROM pg_catalog.pg_constraint WHERE conrelid = ANY(%(oids)s::oid[])
) o
JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.oid
JOIN pg_catalog.pg_depend x ON x.classid = d.refclassid AND x.objid = d.refobjid AND x.deptype = 'e'
JOIN pg_catalog.pg_extension e ON e.oid = x.refobjid
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
"""

_TARGET_EXTENSIONS = """
SELECT a.name, n.nspname AS schema,
       EXISTS (SELECT FROM pg_catalog.pg_available_extension_versions() AS v
               WHERE v.name = a.name AND v.version = a.default_version
                 AND (NOT v.superuser OR v.trusted OR r.rolsuper)) AS allowed
FROM pg_catalog.pg_available_extensions() AS a
CROSS JOIN (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) r
LEFT JOIN pg_catalog.pg_extension e ON e.extname = a.name
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
"""


def _extensions(
    needs: _Needs, source: Connection, target: Connection, wanted: Sequence[UserType], routes: Sequence[Route]
) -> None:
    required = {t.extension for t in wanted if t.extension}
    used = rows(source, _USED_EXTENSIONS, {"oids": [r.source.oid for r in routes]})
    optional = {(r["name"], r["schema"]) for r in used} - required
    there = {r["name"]: r for r in rows(target, _TARGET_EXTENSIONS)}
    for name, schema in sorted(required):
        if name not in there:
            needs.findings.append(_extension_missing(name, wanted))
        elif there[name]["schema"] not in {None, schema}:
            needs.findings.append(_extension_elsewhere(name, schema, there[name]["schema"]))
    for name, schema in sorted(required | optional):
        row = there.get(name)
        if row and row["schema"] is None and (row["allowed"] or (name, schema) in required):
            needs.schemas.add(schema)
            needs.extensions.append(f"CREATE EXTENSION {quoted(name)} SCHEMA {quoted(schema)} CASCADE")


def _extension_missing(name: str, wanted: Sequence[UserType]) -> Finding:
    types = ", ".join(str(t.name) for t in wanted if t.extension and t.extension[0] == name)
    return _finding(
        "extension_missing",
        f"the target has no extension {name}, which the source uses for {types}",
        "Install the extension's package on the target server, or exclude the columns.",
        name,
    )


def _extension_elsewhere(name: str, schema: str, there: str) -> Finding:
    return _finding(
        "extension_elsewhere",
        f"extension {name} is in schema {schema} on the source and in {there} on the target",
        "Move it, so that its types have the same names on both sides.",
        name,
        f"ALTER EXTENSION {quoted(name)} SET SCHEMA {quoted(schema)};",
    )


_USER_COLLATIONS = """
SELECT DISTINCT n.nspname AS schema, l.collname AS name, l.collprovider::text AS provider,
       l.collisdeterministic AS deterministic, pg_catalog.to_jsonb(l) AS raw
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname <> 'pg_catalog'
ORDER BY n.nspname, l.collname
"""

_TARGET_COLLATIONS = """
SELECT n.nspname AS schema, l.collname AS name, l.collprovider::text AS provider, l.collcollate AS locale
FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
"""


def _collations(needs: _Needs, source: Connection, target: Connection, routes: Sequence[Route]) -> None:
    """Make the user's collations where the target's provider can; where not, the table is made without them."""
    there = rows(target, _TARGET_COLLATIONS)
    names = {(r["schema"], r["name"]) for r in there}
    icu = any(r["name"] == shape.ICU_ROOT for r in there)
    locales = {r["locale"] for r in there if r["provider"] == "c"}
    for row in rows(source, _USER_COLLATIONS, {"oids": [r.source.oid for r in routes]}):
        raw: Row = row["raw"]
        possible = icu if row["provider"] == "i" else row["provider"] == "c" and raw["collcollate"] in locales
        if possible and (row["schema"], row["name"]) not in names:
            needs.schemas.add(row["schema"])
            needs.collations.append(_create_collation(row, raw))


def _create_collation(row: Row, raw: Row) -> str:
    name = qualified(TableName(row["schema"], row["name"]))
    if row["provider"] == "c":
        settings = f"LC_COLLATE = {literal(raw['collcollate'])}, LC_CTYPE = {literal(raw['collctype'])}"
        return f"CREATE COLLATION {name} (PROVIDER = libc, {settings})"
    # PostgreSQL 17, 15 and earlier ones keep an ICU locale in different columns.
    locale = raw.get("colllocale") or raw.get("colliculocale") or raw.get("collcollate") or "und"
    deterministic = "true" if row["deterministic"] else "false"
    return f"CREATE COLLATION {name} (PROVIDER = icu, LOCALE = {literal(locale)}, DETERMINISTIC = {deterministic})"


def _types(needs: _Needs, source: Connection, target: Connection, wanted: Sequence[UserType]) -> None:
    mine = [t for t in wanted if not t.extension and t.kind not in {"array", "multirange"}]
    names = {t.name for t in mine}
    there = {t.name: t for t in user_types(target, oids_of(target, names)) if t.name in names}
    multirange = source.info.server_version >= 140000 <= target.info.server_version
    for found in mine:
        other = there.get(found.name)
        if other is None:
            _make(needs, found, multirange)
        elif other.kind == found.kind == "enum":
            _widen(needs, found, other)
        elif other.kind != found.kind or _content(found) != _content(other):
            needs.findings.append(_type_differs(found, other))


def _make(needs: _Needs, found: UserType, multirange: bool) -> None:
    if not found.ddl:
        needs.findings.append(
            _finding(
                "type_missing",
                f"the target lacks type {found.name} ({found.kind}), which cannot be made from the catalogue",
                "Create the type on the target, or exclude the columns that use it.",
                str(found.name),
            )
        )
        return
    needs.schemas.add(found.name.schema)
    needs.types.append(found.ddl if multirange else _without_multirange(found))


def _without_multirange(found: UserType) -> str:
    return re.sub(r", MULTIRANGE_TYPE_NAME = .*\)$", ")", found.ddl) if found.kind == "range" else found.ddl


def _widen(needs: _Needs, found: UserType, other: UserType) -> None:
    """Add the labels an enum on the target lacks, if its own keep their order."""
    if other.labels != tuple(label for label in found.labels if label in other.labels):
        needs.findings.append(_type_differs(found, other))
        return
    before: str | None = None
    for label in found.labels:
        if label not in other.labels:
            first = f" BEFORE {literal(other.labels[0])}" if other.labels else ""
            place = f" AFTER {literal(before)}" if before is not None else first
            needs.types.append(f"ALTER TYPE {qualified(found.name)} ADD VALUE {literal(label)}{place}")
        before = label


def _content(found: UserType) -> str:
    """The definition for comparison: versions of PostgreSQL differ in blanks and parentheses."""
    return re.sub(r"[\s()]", "", _without_multirange(found))


def _type_differs(found: UserType, other: UserType) -> Finding:
    here = found.ddl or f"{found.name}: {found.kind}"
    there = other.ddl or f"{other.name}: {other.kind}"
    return _finding(
        "type_differs",
        f"type {found.name} differs: the source has {here}, the target has {there}",
        "Change or drop the type on the target, or exclude the columns that use it.",
        str(found.name),
    )


_MISSING_TYPES = """
SELECT t.type FROM pg_catalog.unnest(%(types)s::text[]) AS t(type) WHERE pg_catalog.to_regtype(t.type) IS NULL
"""


def _missing_builtin(target: Connection, routes: Sequence[Route]) -> Iterator[Finding]:
    """Types of PostgreSQL itself that an older target does not know."""
    columns = [(r, m) for r in routes for m in r.columns if m.source.type_schema == "pg_catalog"]
    types = sorted({shape.target_type(m) for _, m in columns})
    absent = {row["type"] for row in rows(target, _MISSING_TYPES, {"types": types})}
    for route, mapped in columns:
        if shape.target_type(mapped) in absent:
            yield _finding(
                "type_missing",
                f"{route.source.name}: the target's version has no type {mapped.source.type}"
                f" (column {mapped.source.name})",
                "Exclude the column, or use a newer target.",
                str(route.source.name),
            )


def _finding(code: str, message: str, guidance: str, subject: str, fix: str | None = None) -> Finding:
    return Finding(code, "error", "target", message, guidance, fix, subject)
