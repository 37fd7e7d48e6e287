"""Names of tables: the one word that every room shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """Schema and table, as stored (no quoting)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{_part(self.schema)}.{_part(self.name)}"


def _part(name: str) -> str:
    plain = name and "." not in name and '"' not in name
    return name if plain else '"' + name.replace('"', '""') + '"'
