"""SQL of the documentation that tests run."""

from __future__ import annotations

import re
from pathlib import Path

GRANTS = Path(__file__).parents[2] / "docs/how-to/postgres-source.md"


def statements(sql: str) -> list[str]:
    """Single statements, as pasted into psql: one a line, or up to a semicolon."""
    text = re.sub(r"^\s*--.*$", "", sql, flags=re.M)
    return [s for s in re.split(r";\s*(?:\n|$)", text) if s.strip()]


def documented(block: str) -> str:
    """The SQL block of the how-to about grants that is marked as tested under this name."""
    found = re.search(rf"<!-- tested: {block} -->\n```sql\n(.*?)```", GRANTS.read_text(), re.S)
    assert found, block
    return found[1]
