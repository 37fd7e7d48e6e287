"""Reading SQL that PostgreSQL itself printed (``pg_get_expr``, ``pg_get_indexdef``, ``pg_get_constraintdef``).

Enters: one expression or definition as the server deparses it under ``search_path=pg_catalog``. Leaves: which
columns and which foreign names it mentions, or the same text with columns renamed. This is no SQL parser: it
relies on what the deparser guarantees - keywords in capitals, unquoted identifiers only of ``[a-z0-9_]``,
everything outside ``pg_catalog`` qualified by its schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>E'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")+")
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
  | (?P<cast>::)
  | (?P<arrow>=>)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL. kind: group name of ``_TOKEN``; start, end: offsets; spaced: white space before it."""

    kind: str
    text: str
    start: int
    end: int
    spaced: bool = False

    @property
    def is_name(self) -> bool:
        """Whether it may be an identifier (keywords are printed in capitals)."""
        if self.kind == "quoted":
            return True
        return self.kind == "word" and self.text == self.text.lower() and self.text not in {"true", "false"}

    @property
    def name(self) -> str:
        """The identifier without its quotes."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text


def tokens(sql: str) -> list[Token]:
    """All tokens but white space."""
    found: list[Token] = []
    spaced = False
    for match in _TOKEN.finditer(sql):
        if match.lastgroup == "space":
            spaced = True
            continue
        found.append(Token(match.lastgroup or "other", match.group(), match.start(), match.end(), spaced))
        spaced = False
    return found


def columns_in(sql: str, names: Collection[str]) -> set[str]:
    """Those of ``names`` that the text refers to as columns."""
    return {t.name for t in _references(tokens(sql)) if t.name in names}


def renamed(sql: str, mapping: Mapping[str, str]) -> str:
    """The text with its column references renamed; names that ``mapping`` lacks stay as they are."""
    parts: list[str] = []
    at = 0
    for token in _references(tokens(sql)):
        new = mapping.get(token.name, token.name)
        if new != token.name:
            parts += [sql[at : token.start], '"' + new.replace('"', '""') + '"']
            at = token.end
    return "".join(parts) + sql[at:]


def whole_row(sql: str) -> bool:
    """Whether it uses the row as a whole (``t.*``), which binds it to the name of its table."""
    found = tokens(sql)
    return any(a.text == "." and b.text == "*" for a, b in pairwise(found))


def foreign_names(sql: str) -> set[tuple[str, str]]:
    """Schema and name of the functions, types, operator classes and collations outside ``pg_catalog`` in it."""
    found = tokens(sql)
    return {
        (a.name, c.name)
        for a, b, c in zip(found, found[1:], found[2:], strict=False)
        if b.text == "." and a.is_name and c.is_name and a.name != "pg_catalog"
    }


def foreign_calls(sql: str) -> set[tuple[str, str]]:
    """Schema and name of every function outside ``pg_catalog`` that it calls."""
    found = tokens(sql)
    return {
        (a.name, c.name)
        for a, b, c, d in zip(found, found[1:], found[2:], found[3:], strict=False)
        if b.text == "." and a.is_name and c.is_name and d.text == "(" and not d.spaced
        if a.name != "pg_catalog"
    }


def constant(sql: str) -> bool:
    """Whether a default is a plain constant: the same value whenever and wherever it is evaluated.

    A chain of casts is not: ``('now'::text)::date`` looks like one and is none.
    """
    found = tokens(sql)
    casts = sum(t.kind == "cast" for t in found)
    # In an array every element has its cast; a cast of a parenthesis is one that follows another.
    single = casts <= 1 or ("ARRAY" in sql and ")::" not in sql)
    return single and all(_constant_token(a, b) for a, b in zip([None, *found], found, strict=False))


def _constant_token(before: Token | None, token: Token) -> bool:
    if before is not None and before.kind == "cast":
        return True
    match token.kind:
        case "word":
            return _constant_word(before, token)
        case "quoted":
            return before is not None and before.text == "."
        case "other":
            return token.text in "().-,[]"
        case kind:
            return kind != "arrow"


def _constant_word(before: Token | None, token: Token) -> bool:
    if token.text in {"true", "false", "NULL", "ARRAY", "B", "X"}:
        return True
    # Further words of a type name: ``character varying``, ``timestamp(3) without time zone``, ``public.mood``.
    return before is not None and (before.is_name or before.text in {")", "."})


def sequence_of(default: str | None) -> tuple[str, str] | None:
    """Schema and name of the sequence of a ``nextval('...'::regclass)`` default, else None."""
    match = re.fullmatch(r"nextval\('((?:[^']|'')*)'::regclass\)", default or "")
    if not match:
        return None
    parts = [t.name for t in tokens(match[1].replace("''", "'")) if t.is_name]
    return (parts[0], parts[1]) if len(parts) == 2 else ("pg_catalog", parts[0])


def _references(found: list[Token]) -> Iterator[Token]:
    """The tokens that stand for columns."""
    skip_until = -1
    for at, token in enumerate(found):
        if at <= skip_until:
            continue
        after = found[at + 1] if at + 1 < len(found) else None
        if after is not None and after.text == "(" and _opens_options(found, at):
            skip_until = _closing(found, at + 1)
        elif token.is_name and _stands_alone(found, at) and not _qualifies(after):
            yield token


def _opens_options(found: list[Token], at: int) -> bool:
    """Whether the parenthesis holds no expressions: storage parameters, an operator, or, set off by a blank, the
    options of an operator class."""
    method = at > 0 and found[at - 1].text == "USING"
    options = found[at].is_name and found[at + 1].spaced and not method
    return options or found[at].text in {"WITH", "OPERATOR"}


def _stands_alone(found: list[Token], at: int) -> bool:
    """Whether nothing before the name makes it a type, operator class, collation, field or method."""
    if at == 0:
        return True
    before = found[at - 1]
    if before.kind == "cast" or before.is_name or before.text in {".", ")", "COLLATE", "USING", "AS"}:
        return False
    return not (before.text == "(" and at > 1 and found[at - 2].text == "EXTRACT")


def _qualifies(after: Token | None) -> bool:
    """Whether what follows makes the name a function, a schema or a named argument."""
    return after is not None and (after.text in {".", "=>"} or (after.text == "(" and not after.spaced))


def _closing(found: list[Token], opening: int) -> int:
    depth = 0
    for at in range(opening, len(found)):
        depth += {"(": 1, ")": -1}.get(found[at].text, 0)
        if depth == 0:
            return at
    return len(found) - 1
