"""Table names and patterns, and the choice of tables that a spec makes.

Grammar: ``schema.table``. A part is plain (``*`` and ``?`` are wildcards) or double-quoted as in SQL (taken
literally, ``""`` is a quote). Matching is by the stored name: case and spaces count.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import Invalid
from headrace.spec.models import ConnectionSpec, PipelineSpec, SpecFile, TableSpec
from headrace.spec.names import TableName
from headrace.spec.syntax import Part, split_name, split_parts


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed ``schema.table``; explicit when neither part has a wildcard."""

    schema: Part
    name: Part

    @property
    def explicit(self) -> bool:
        """True when the pattern can match one table only."""
        return not (self.schema.wild or self.name.wild)

    def matches(self, table: TableName) -> bool:
        """Whether that stored name is meant."""
        return _fits(self.schema, table.schema) and _fits(self.name, table.name)

    def table(self) -> TableName:
        """The one table an explicit pattern names."""
        return TableName(self.schema.text, self.name.text)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def parse_name(text: str) -> Pattern:
    """The pattern of a text; Invalid ``bad_name`` when it is none."""
    try:
        return Pattern(*split_name(text))
    except ValueError as error:
        raise Invalid(
            "bad_name",
            f"{text!r} is not a table name: {error}",
            'Write schema.table; * and ? are wildcards; double-quote parts with dots or quotes: "My.Schema".t',
            {"name": text},
        ) from None


def parse_table(text: str) -> TableName:
    """The one table a text names; Invalid ``bad_name`` for wildcards and malformed names."""
    pattern = parse_name(text)
    if not pattern.explicit:
        raise Invalid("bad_name", f"{text!r} has wildcards; one table is wanted", "Name one table.")
    return pattern.table()


def table_named(text: str, schema: str | None, default: str) -> TableName:
    """The one table of a text that may leave its schema to ``schema``, said beside it, or to ``default``.

    Invalid ``bad_name``.
    """
    own = _parts(text)
    if len(own) == 2 and (schema is None or own[0] == _bare(schema)):
        return parse_table(text)
    if schema is None and len(own) != 1:
        return parse_table(text)
    return TableName(default if schema is None else _bare(schema), _bare(text))


def _bare(text: str) -> str:
    """One name without the quotes around it, where there are some."""
    return own[0] if len(own := _parts(text)) == 1 else text


def _parts(text: str) -> list[str]:
    try:
        return [part.text for part in split_parts(text)]
    except ValueError:
        return []


def settled(spec: SpecFile) -> SpecFile:
    """The spec, where a pipeline that names no tables has those of its source's own schema."""
    pipelines = {
        name: wanted
        if "tables" in wanted.model_fields_set
        else wanted.model_copy(update={"tables": every_table(spec.connections[wanted.source])})
        for name, wanted in spec.pipelines.items()
    }
    return spec.model_copy(update={"pipelines": pipelines})


def every_table(source: ConnectionSpec) -> tuple[TableSpec, ...]:
    """The entry for all tables of a source: those of its own schema, where it has one."""
    schema = source.default_schema
    if schema is None:
        return (TableSpec(name="*.*"),)
    quoted = any(char in schema for char in '.*?"')
    return (TableSpec(name=f"{Part(schema, quoted)}.*"),)


def select(spec: PipelineSpec, available: Sequence[TableName]) -> list[tuple[TableName, TableSpec]]:
    """The tables a pipeline takes, in the order of ``available``, each with the entry that decides about it.

    An entry without wildcards refines those with; among equals the later wins; ``exclude`` comes last.
    Raises Invalid ``table_not_found`` (naming near matches) for explicit names that match nothing, and
    ``no_tables`` when nothing is left.
    """
    entries, excluded = _parsed(spec)
    _refuse_missing([p for p, _ in entries if p.explicit], available)
    chosen = [
        (table, entry)
        for table in available
        if (entry := _deciding(entries, table)) and not any(p.matches(table) for p in excluded)
    ]
    if not chosen:
        raise Invalid(
            "no_tables",
            "The patterns of the pipeline match no table of the source",
            "Compare `tables` and `exclude` with `headrace discover`.",
            {"tables": [t.name for t in spec.tables], "exclude": list(spec.exclude)},
        )
    return chosen


def deciding(spec: PipelineSpec, table: TableName) -> TableSpec | None:
    """The entry of a spec that decides about one table, None when the pipeline does not take it."""
    entries, excluded = _parsed(spec)
    return None if any(p.matches(table) for p in excluded) else _deciding(entries, table)


def _parsed(spec: PipelineSpec) -> tuple[list[tuple[Pattern, TableSpec]], list[Pattern]]:
    entries = [(parse_name(entry.name), entry) for entry in spec.tables]
    entries.sort(key=lambda pair: pair[0].explicit)
    return entries, [parse_name(text) for text in spec.exclude]


def _deciding(entries: Sequence[tuple[Pattern, TableSpec]], table: TableName) -> TableSpec | None:
    return next((entry for pattern, entry in reversed(entries) if pattern.matches(table)), None)


def _refuse_missing(explicit: Sequence[Pattern], available: Sequence[TableName]) -> None:
    known = set(available)
    missing = [p.table() for p in explicit if p.table() not in known]
    if not missing:
        return
    near = {str(table): near_names(str(table), [str(t) for t in available]) for table in missing}
    hints = [f"{name}" + (f" (near: {', '.join(found)})" if found else "") for name, found in near.items()]
    raise Invalid(
        "table_not_found",
        "The source has no table " + "; ".join(hints),
        "Compare with `headrace discover`; names match as they are stored, case included.",
        {"tables": near},
    )


def near_names(wanted: str, known: Sequence[str]) -> list[str]:
    """Up to three of ``known`` that look like ``wanted``, case aside."""
    lowered = list(dict.fromkeys(name.lower() for name in known))
    near = difflib.get_close_matches(wanted.lower(), lowered, n=3, cutoff=0.6)
    return [name for hit in near for name in known if name.lower() == hit][:3]


def _fits(part: Part, stored: str) -> bool:
    if not part.wild:
        return part.text == stored
    return _wild(part.text, stored)


def _wild(pattern: str, text: str) -> bool:
    """Whether a pattern of ``*`` and ``?`` fits, in a time that many stars cannot blow up as they do a regex's."""
    at = here = 0
    star, resumed = -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resumed = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            # The last star takes one character more.
            at, resumed = star + 1, resumed + 1
            here = resumed
        else:
            return False
    return not pattern[at:].strip("*")
