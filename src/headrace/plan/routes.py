"""From patterns to routes: which table goes where, with which columns. Pure; every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.engines.model import Column, Mapped, Route, Table
from headrace.errors import Invalid
from headrace.spec.models import PipelineSpec, TableSpec
from headrace.spec.names import TableName
from headrace.spec.patterns import near_names, parse_name, select
from headrace.spec.syntax import Part


def routes(spec: PipelineSpec, tables: Sequence[Table]) -> list[Route]:
    """One route per chosen table, in the order of ``tables``.

    Raises Invalid: ``table_not_found``, ``no_tables``, ``unknown_column``, ``key_column_excluded``,
    ``mask_not_nullable``, ``mask_generated``, ``no_columns``, ``target_collision``. With several problems the
    code is the first one's and the context's ``problems`` lists them all.
    """
    by_name = {table.name: table for table in tables}
    chosen = [(by_name[name], entry) for name, entry in select(spec, list(by_name))]
    problems = [problem for table, entry in chosen for problem in _problems(table, entry)]
    made = [_route(table, entry) for table, entry in chosen]
    problems += _collisions(made)
    if problems:
        raise _invalid(problems)
    return made


def _route(table: Table, entry: TableSpec) -> Route:
    columns = tuple(
        Mapped(column, column.name, entry.mask.get(column.name))
        for column in table.columns
        if _travels(column, entry)
    )
    return Route(table, _target(table.name, entry), columns, entry.where)


def _target(source: TableName, entry: TableSpec) -> TableName:
    if entry.target is None:
        return source
    pattern = parse_name(entry.target)
    return TableName(_part(pattern.schema, source.schema), _part(pattern.name, source.name))


def _part(wanted: Part, source: str) -> str:
    return source if wanted.wild else wanted.text


def _travels(column: Column, entry: TableSpec) -> bool:
    if entry.columns is None:
        return True
    if entry.columns.include is not None:
        return column.name in entry.columns.include
    return column.name not in (entry.columns.exclude or ())


def _problems(table: Table, entry: TableSpec) -> Iterator[dict[str, Any]]:
    known = {column.name: column for column in table.columns}
    listed = (entry.columns.include or entry.columns.exclude or ()) if entry.columns else ()
    for name in dict.fromkeys((*listed, *entry.mask)):
        if name not in known:
            near = near_names(name, list(known))
            hint = f" (near: {', '.join(near)})" if near else ""
            yield _problem("unknown_column", table, name, f"{table.name} has no column {name}{hint}", near)
    for name in table.key:
        if not _travels(known[name], entry):
            said = f"{table.name}: {name} belongs to the key and cannot be left out"
            yield _problem("key_column_excluded", table, name, said)
        elif name in entry.mask:
            said = f"{table.name}: {name} belongs to the key and cannot be masked"
            yield _problem("key_column_excluded", table, name, said)
    for name, mask in entry.mask.items():
        if name in known and name not in table.key:
            yield from _mask_problems(table, known[name], mask)
    if not any(_travels(column, entry) and column.generated is None for column in table.columns):
        yield _problem("no_columns", table, None, f"{table.name}: no column is left to write")


def _mask_problems(table: Table, column: Column, mask: str) -> Iterator[dict[str, Any]]:
    if column.generated is not None:
        said = f"{table.name}: {column.name} is generated; mask what it is made of, or exclude it"
        yield _problem("mask_generated", table, column.name, said)
    elif mask == "null" and not column.nullable:
        said = f"{table.name}: {column.name} is NOT NULL and cannot be masked as null"
        yield _problem("mask_not_nullable", table, column.name, said)


def _collisions(made: Sequence[Route]) -> Iterator[dict[str, Any]]:
    taken: dict[TableName, Route] = {}
    for route in made:
        first = taken.setdefault(route.target, route)
        if first is not route:
            said = f"{first.source.name} and {route.source.name} both go to {route.target}"
            yield _problem("target_collision", route.source, None, said)


def _problem(
    code: str, table: Table, column: str | None, message: str, near: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "code": code,
        "table": str(table.name),
        "column": column,
        "message": message,
        "accepted": list(near),
    }


def _invalid(problems: Sequence[dict[str, Any]]) -> Invalid:
    message = "; ".join(problem["message"] for problem in problems)
    guidance = "Change `tables` of the pipeline; `headrace discover` lists tables and columns."
    return Invalid(problems[0]["code"], message, guidance, {"problems": list(problems)})
