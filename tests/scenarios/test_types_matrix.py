"""Every type, NULL and extreme values included, comes out the same through load and through stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from type_values import ARRAYS, GROUP, PREPARE, VALUES

from support.lab import Pair

STREAMED = 1000


@dataclass(frozen=True)
class Group:
    """A table with a column per type; row n holds the n-th value of each (they start again when they run out)."""

    table: str
    types: Sequence[str]

    @property
    def columns(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.types))]


def groups(types: Sequence[str], prefix: str) -> list[Group]:
    """A few neighbours to a table."""
    return [Group(f"{prefix}{i}", types[i : i + GROUP]) for i in range(0, len(types), GROUP)]


def make(pair: Pair, group: Group, values: Mapping[str, Sequence[str]]) -> None:
    """The table with its values in rows 1, 2, ..., the first of them all NULL."""
    listed = ", ".join(f"{c} {t}" for c, t in zip(group.columns, group.types, strict=True))
    pair.src.execute(
        f"CREATE TABLE {group.table} (id int PRIMARY KEY, {listed}, w int NOT NULL DEFAULT 0)".encode()
    )
    pair.src.execute(f"INSERT INTO {group.table} (id) VALUES (1)".encode())
    for number in range(max(len(values[t]) for t in group.types)):
        row = ", ".join(f"({values[t][number % len(values[t])]})::{t}" for t in group.types)
        pair.src.execute(f"INSERT INTO {group.table} VALUES ({number + 2}, {row})".encode())


def equal(pair: Pair, tables: Sequence[Group]) -> None:
    """All tables are equal; every type that is not is named."""
    wrong, patience = [], 40.0
    for group in tables:
        try:
            pair.equal(group.table, seconds=patience)
        except AssertionError:
            patience = 2.0
            for column, name in zip(group.columns, group.types, strict=True):
                one = f"id, {column}"
                if pair.rows(pair.src, group.table, one) != pair.rows(pair.tgt, group.table, one):
                    wrong.append(f"{name}: {pair.difference(group.table, one)}")
            wrong.append(f"{group.table} differs")
    assert not wrong, "\n".join(wrong) + pair.log()[-3000:]


def change(pair: Pair, tables: Sequence[Group], step: str) -> None:
    """Run one statement on every table: ``{t}`` its name, ``{c}`` its columns, ``{next}`` sets them from ``b``."""
    for group in tables:
        names = ", ".join(group.columns)
        given = ", ".join(f"{c} = b.{c}" for c in group.columns)
        pair.src.execute(step.format(t=group.table, c=names, next=given).encode())


ROTATE = (
    "UPDATE {t} a SET {next} FROM {t} b"
    f" WHERE a.id < {STREAMED} AND b.id = a.id % (SELECT max(id) FROM {{t}} WHERE id < {STREAMED}) + 1"
)


def prove(pair: Pair, values: Mapping[str, Sequence[str]], prefix: str) -> None:
    tables = groups(list(values), prefix)
    for group in tables:
        make(pair, group, values)
    pair.apply()
    equal(pair, tables)
    change(pair, tables, f"INSERT INTO {{t}} (id, {{c}}) SELECT id + {STREAMED}, {{c}} FROM {{t}}")
    change(pair, tables, f"UPDATE {{t}} SET w = 1 WHERE id < {STREAMED}")
    equal(pair, tables)
    change(pair, tables, ROTATE)
    equal(pair, tables)
    change(pair, tables, ROTATE)
    change(pair, tables, f"UPDATE {{t}} SET id = id + {STREAMED} WHERE id > {STREAMED}")
    change(pair, tables, "DELETE FROM {t} WHERE id % 3 = 0")
    equal(pair, tables)


def test_every_type_is_the_same_loaded_and_streamed(pair: Pair) -> None:
    pair.src.execute(PREPARE.encode())
    prove(pair, VALUES, "t")


def test_arrays_of_every_type_are_the_same_loaded_and_streamed(pair: Pair) -> None:
    pair.src.execute(PREPARE.encode())
    prove(pair, ARRAYS, "a")
