"""Indexes and constraints of a target table, rewritten from the definitions that the source printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.engines.model import Constraint, Index, Route, TableName
from headrace.engines.postgres import expressions, shape
from headrace.engines.postgres.names import listed, qualified, quoted, suffixed
from headrace.engines.postgres.shape import Facts
from headrace.errors import Finding


def indexes(route: Route, name: TableName | None = None, *, known: Facts | None = None) -> list[str]:
    """Primary key, then unique constraints and indexes, then the others; on a partitioned table, on its root.

    name: the shadow table to make them on; their own names then get a suffix that ``rename_indexes`` takes away.
    """
    table = name or route.target
    return [
        _statement(route, index, table)
        for index in _ordered(route)
        if not _reason_against(route, index, known) or _is_key(route, index)
    ]


def finishing(route: Route, name: TableName | None = None, *, known: Facts | None = None) -> list[str]:
    """What is made once the rows are in: ``indexes``, then ``checks_constraints``."""
    return [*indexes(route, name, known=known), *checks_constraints(route, name, known=known)]


def rename_indexes(route: Route, name: TableName, *, known: Facts | None = None) -> list[str]:
    """After a swap: give the indexes made for the shadow table ``name`` their final names."""
    suffix = shape.shadow_suffix(route, name)
    return [
        f"ALTER INDEX {qualified(TableName(route.target.schema, _name(route, index, suffix)))}"
        f" RENAME TO {quoted(_name(route, index, ''))}"
        for index in _ordered(route)
        if suffix and (not _reason_against(route, index, known) or _is_key(route, index))
    ]


def index_findings(route: Route, known: Facts | None = None) -> Iterator[Finding]:
    """A finding for each index that is not made."""
    for index in _ordered(route):
        reason = _reason_against(route, index, known)
        if reason and not _is_key(route, index):
            kind = "constraint" if index.constraint else "index"
            yield shape.left_out(route, kind, f"{kind} {index.name!r}", reason)


def checks_constraints(
    route: Route, name: TableName | None = None, *, known: Facts | None = None
) -> list[str]:
    """The check constraints. One that is NOT VALID is left out: rows that break it exist and must arrive."""
    table = qualified(name or route.target)
    return [
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(check.name)}"
        f" {expressions.renamed(check.definition, shape.names(route))}"
        for check in _checks(route)
        if not _check_reason(route, check, known)
    ]


def check_findings(route: Route, known: Facts | None = None) -> Iterator[Finding]:
    """A finding for each check constraint that is not made."""
    for check in _checks(route):
        if reason := _check_reason(route, check, known):
            yield shape.left_out(route, "constraint", f"check {check.name!r}", reason)


def foreign_keys(routes: Sequence[Route], *, known: Facts | None = None) -> list[str]:
    """Foreign keys of which both ends are replicated whole, sorted by table and name; made at ``drain``."""
    ends = {route.source.name: route for route in routes}
    found: list[str] = []
    for route in sorted(routes, key=lambda r: r.source.name):
        for constraint in route.source.constraints:
            other = ends.get(constraint.references) if constraint.references else None
            if known and known.version < 180000 and "PERIOD" in constraint.definition:
                continue
            if other and not other.where and (tail := _foreign(constraint, route, other)):
                found.append(
                    f"ALTER TABLE {qualified(route.target)} ADD CONSTRAINT {quoted(constraint.name)} {tail}"
                )
    return found


def _ordered(route: Route) -> list[Index]:
    rank = {True: 0, False: 1}
    return sorted(
        route.source.indexes,
        key=lambda i: (
            rank[i.primary],
            rank[_is_key(route, i)],
            rank[bool(i.constraint)],
            rank[i.unique],
            i.name,
        ),
    )


def _is_key(route: Route, index: Index) -> bool:
    return index.name == route.source.key_index


def _name(route: Route, index: Index, suffix: str) -> str:
    """The index's name; with a renamed table it is led by the table's, so that two tables in one schema do not
    clash."""
    old, new = route.source.name, route.target
    if old == new:
        return suffixed(index.name, suffix)
    if index.name.startswith(f"{old.name}_"):
        return suffixed(new.name + index.name.removeprefix(old.name), suffix)
    return suffixed(f"{new.name}_{index.name}", suffix)


def _reason_against(route: Route, index: Index, known: Facts | None) -> str:
    if not index.valid:
        return "it is invalid on the source"
    if known and index.nulls_not_distinct and known.version < 150000:
        return "NULLS NOT DISTINCT needs PostgreSQL 15 on the target"
    if known and "WITHOUT OVERLAPS" in index.definition and known.version < 180000:
        return "WITHOUT OVERLAPS needs PostgreSQL 18 on the target"
    return shape.obstacle(route, _body(index), known)


def _body(index: Index) -> str:
    """What follows the names: from USING on, or the whole constraint."""
    if index.constraint:
        return index.definition
    using = next(t for t in expressions.tokens(index.definition) if t.kind == "word" and t.text == "USING")
    return index.definition[using.start :]


def _statement(route: Route, index: Index, table: TableName) -> str:
    mapping = shape.names(route)
    name = quoted(_name(route, index, shape.shadow_suffix(route, table)))
    if _is_key(route, index):
        # The key is plain columns by definition, and what else its index includes may be excluded.
        body = f"({listed([mapping[c] for c in index.columns])})"
        if index.constraint:
            kind = "PRIMARY KEY" if index.primary else "UNIQUE"
            return f"ALTER TABLE {qualified(table)} ADD CONSTRAINT {name} {kind} {body}"
        return f"CREATE UNIQUE INDEX {name} ON {qualified(table)} {body}"
    body = expressions.renamed(_body(index), mapping)
    if index.constraint:
        return f"ALTER TABLE {qualified(table)} ADD CONSTRAINT {name} {body}"
    return f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {name} ON {qualified(table)} {body}"


def _checks(route: Route) -> list[Constraint]:
    return [c for c in route.source.constraints if c.kind == "check"]


def _check_reason(route: Route, check: Constraint, known: Facts | None) -> str:
    for suffix in ("NOT VALID", "NOT ENFORCED"):
        if check.definition.endswith(suffix):
            return f"it is {suffix} on the source, so rows may break it"
    return shape.obstacle(route, check.definition, known)


def _foreign(constraint: Constraint, route: Route, other: Route) -> str:
    """``FOREIGN KEY (..) REFERENCES ..`` between the targets; empty when a column of it is not there."""
    text = constraint.definition
    found = expressions.tokens(text)
    at = next(i for i, t in enumerate(found) if t.kind == "word" and t.text == "REFERENCES")
    opening = next(i for i in range(at, len(found)) if found[i].text == "(")
    closing = next(i for i in range(opening, len(found)) if found[i].text == ")")
    left, right = text[: found[at].start], text[found[opening].start : found[closing].end]
    tail = text[found[closing].end :]
    gone = expressions.columns_in(left, shape.hidden(route)) or expressions.columns_in(
        right, shape.hidden(other)
    )
    if gone or "NOT ENFORCED" in tail:
        return ""
    own, others = shape.names(route), shape.names(other)
    return (
        f"{expressions.renamed(left, own)}REFERENCES {qualified(other.target)}"
        f"{expressions.renamed(right, others)}{expressions.renamed(tail, own)}"
    )
