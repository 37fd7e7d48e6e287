"""Row filters: an SQL expression that stays one wherever it is put between parentheses."""

from __future__ import annotations

import re

# What may stand between quotes is skipped as a whole; an E'' string alone knows backslashes.
_TOKEN = re.compile(
    r"""
      (?<![A-Za-z0-9_$\x80-\U0010ffff])[eE]'(?:[^'\\]|\\.|'')*+'
    | '(?:[^']|'')*+'
    | "(?:[^"]|"")*+"
    | (?<![A-Za-z0-9_$\x80-\U0010ffff])\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<bad>[0-9][eE](?=')|;|--|/\*|\*/|'|"|\x00)
    """,
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {")": "(", "]": "["}


def require_whole(text: str) -> str:
    """The text; ValueError when it ends the parentheses around it, holds a comment or an open quote."""
    opened: list[str] = []
    for token in _TOKEN.finditer(text):
        if found := token["bad"]:
            what = {"'": "an open quote", '"': "an open quote", "--": "a comment", "/*": "a comment"}
            raise ValueError(f"{what.get(found, repr(found))} in it")
        if found := token["open"]:
            opened.append(found)
        elif (found := token["close"]) and (not opened or opened.pop() != _PAIRS[found]):
            raise ValueError(f"a `{found}` that closes nothing")
    if opened:
        raise ValueError(f"a `{opened[-1]}` that is not closed")
    return text
