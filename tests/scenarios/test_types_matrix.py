"""Every type, NULL and extreme values included, comes out the same through load and through stream."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.lab import Pair
from type_values import ARRAYS, PREPARE, VALUES

STREAMED = 1000


def make(pair: Pair, types: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """A table per type, its values in rows 1, 2, ...; table -> type."""
    tables = {f"t{number}": name for number, name in enumerate(types, 1)}
    for table, name in tables.items():
        values = ", ".join(f"(({v})::{name})" for v in ("NULL", *types[name]))
        pair.src.execute(
            f"CREATE TABLE {table} (id int PRIMARY KEY, v {name}, w int NOT NULL DEFAULT 0);"
            f"INSERT INTO {table} SELECT row_number() OVER (), v FROM (VALUES {values}) x(v)".encode()
        )
    return tables


def equal(pair: Pair, tables: Mapping[str, str]) -> None:
    """All tables are equal; every one that is not is named with its type."""
    wrong, patience = [], 90.0
    for table, name in tables.items():
        try:
            pair.equal(table, seconds=patience)
        except AssertionError as error:
            patience = 1.0
            wrong.append(f"{name}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong) + pair.log()


def change(pair: Pair, tables: Mapping[str, str], step: str) -> None:
    """Run one statement on every table, ``{t}`` being its name."""
    for table in tables:
        pair.src.execute(step.format(t=table).encode())


ROTATE = (
    "UPDATE {t} a SET v = b.v FROM {t} b"
    f" WHERE a.id < {STREAMED} AND b.id = a.id % (SELECT max(id) FROM {{t}} WHERE id < {STREAMED}) + 1"
)


def prove(pair: Pair, types: Mapping[str, tuple[str, ...]]) -> None:
    pair.src.execute(PREPARE.encode())
    tables = make(pair, types)
    pair.apply()
    equal(pair, tables)
    change(pair, tables, f"INSERT INTO {{t}} SELECT id + {STREAMED}, v FROM {{t}}")
    change(pair, tables, f"UPDATE {{t}} SET w = 1 WHERE id < {STREAMED}")
    equal(pair, tables)
    change(pair, tables, ROTATE)
    equal(pair, tables)
    change(pair, tables, ROTATE)
    change(pair, tables, f"UPDATE {{t}} SET id = id + {STREAMED} WHERE id > {STREAMED}")
    change(pair, tables, "DELETE FROM {t} WHERE id % 3 = 0")
    equal(pair, tables)


def test_every_type_is_the_same_loaded_and_streamed(pair: Pair) -> None:
    prove(pair, VALUES)


def test_arrays_of_every_type_are_the_same_loaded_and_streamed(pair: Pair) -> None:
    prove(pair, ARRAYS)
