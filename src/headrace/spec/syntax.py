"""Reading ``schema.table`` with SQL's double quotes; knows nothing of what the parts mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a name: its text without quoting, and whether it stood in quotes."""

    text: str
    quoted: bool = False

    @property
    def wild(self) -> bool:
        """Whether it holds a wildcard (never when quoted)."""
        return not self.quoted and any(char in self.text for char in "*?")

    def __str__(self) -> str:
        return '"' + self.text.replace('"', '""') + '"' if self.quoted else self.text


def split_name(text: str) -> tuple[Part, Part]:
    """Schema and table of a text; ValueError says what is wrong with it."""
    parts = split_parts(text)
    if len(parts) != 2:
        raise ValueError(f"it has {len(parts)} part(s), not schema and table")
    return parts[0], parts[1]


def split_parts(text: str) -> list[Part]:
    """What stands between the dots of a text, at least one part; ValueError says what is wrong with it."""
    parts: list[Part] = []
    at = 0
    while True:
        part, at = _quoted(text, at) if text[at : at + 1] == '"' else _plain(text, at)
        parts.append(part)
        if at == len(text):
            return parts
        if text[at] != ".":
            raise ValueError(f"a dot is wanted at character {at + 1}")
        at += 1


def _plain(text: str, start: int) -> tuple[Part, int]:
    end = start
    while end < len(text) and text[end] != ".":
        if text[end] == '"':
            raise ValueError(f"a quote inside an unquoted part at character {end + 1}")
        end += 1
    if end == start:
        raise ValueError("a part is empty")
    return Part(text[start:end]), end


def _quoted(text: str, start: int) -> tuple[Part, int]:
    out: list[str] = []
    at = start + 1
    while at < len(text):
        if text[at] != '"':
            out.append(text[at])
            at += 1
        elif text[at : at + 2] == '""':
            out.append('"')
            at += 2
        elif out:
            return Part("".join(out), quoted=True), at + 1
        else:
            raise ValueError("a part is empty")
    raise ValueError("a quote is not closed")
