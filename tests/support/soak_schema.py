"""Random tables for the soak: every shape and type that preflight accepts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.engines.postgres.types import LOSSLESS
from scenarios.type_values import ARRAYS, VALUES

SCHEMAS = ("public", '"Soak Two"', "sünk")

# A key's value follows from a number, so that writers meet each other's rows.
KEYS = {
    "int4": "({n})::int4",
    "int8": "({n})::int8 * 1000000007",
    "text": "'k''\\é ' || ({n})",
    "varchar(40)": "'v' || ({n})",
    "uuid": "md5(({n})::text)::uuid",
    "numeric": "({n}) * 1.10",
    "numeric(12,2)": "({n}) / 100.0",
    "date": "date '0001-01-01 BC' + ({n})",
    "timestamptz": "timestamptz 'epoch' + ({n}) * interval '1.000001 s'",
    "timestamp": "timestamp '1582-10-10' + ({n}) * interval '13 h'",
    "bytea": "decode(md5(({n})::text), 'hex')",
    "inet": "inet '10.0.0.0' + ({n})",
    "char(12)": "'c' || ({n})",
    "bit(32)": "({n})::int4::bit(32)",
    "citext": "('Ci' || ({n}))::citext",
    "jsonb": "jsonb_build_object('k', ({n}), 'l', '[1.0]'::jsonb)",
    "int8range": "int8range(({n}), ({n}) + 2)",
    '"My Types"."Mood"': '(enum_range(NULL::"My Types"."Mood"))[1 + ({n}) % 5]',
    "bool": "({n}) % 2 = 0",
    "name": "('n' || ({n}))::name",
    "varchar": "(SELECT string_agg(md5(q::text || ({n})), '') FROM generate_series(1, 20) q)",
    "macaddr": "(lpad(to_hex(({n})), 12, '0'))::macaddr",
}
UNIQUE_KEYS = tuple(k for k in KEYS if k not in ('"My Types"."Mood"', "bool"))

# Values that are stored out of line, by type: unchanged, their update carries only a placeholder.
_RANDOM = "(SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, {n}) g)"
BIG = {
    "text": _RANDOM.format(n=300),
    "varchar": _RANDOM.format(n=90),
    "bytea": "decode(" + _RANDOM.format(n=200) + ", 'hex')",
    "json": "json_build_object('a', " + _RANDOM.format(n=100) + ")",
    "jsonb": "jsonb_build_object('a', " + _RANDOM.format(n=100) + ")",
    "numeric": "(" + "SELECT string_agg((random() * 1e15)::bigint::text, '') FROM generate_series(1, 400))::numeric",
    "int4[]": "ARRAY(SELECT (random() * 1e9)::int FROM generate_series(1, 900))",
    "text[]": "ARRAY(SELECT md5(random()::text) FROM generate_series(1, 90))",
    "float8[]": "ARRAY(SELECT random() FROM generate_series(1, 400))",
    "uuid[]": "ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 200))",
    "hstore": "hstore('k', " + _RANDOM.format(n=100) + ")",
    "numrange": "numrange(1, " + "(SELECT string_agg('7', '') || (random() * 1e15)::bigint FROM generate_series(1, 5000))::numeric)",
    "varbit": "((" + "SELECT string_agg(((random() * 1e6)::int)::bit(20)::text, '') FROM generate_series(1, 1200))::varbit)",
    "tsvector": "to_tsvector('simple', (SELECT string_agg(md5(random()::text), ' ') FROM generate_series(1, 150)))",
    "citext": _RANDOM.format(n=200),
    "path": "(SELECT string_agg('(' || random() || ',' || random() || ')', ',') FROM generate_series(1, 300))::path",
    "pair": "ROW(1, " + _RANDOM.format(n=150) + ")",
    "xid8": "'7'",
}  # fmt: skip

# regrole and aclitem name what servers may lack; the rest is for every target.
_LEFT_OUT = {"regrole", "aclitem", "regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator"}
_LEFT_OUT |= {f"{t}[]" for t in _LEFT_OUT}
TYPES = {t: v for t, v in {**VALUES, **ARRAYS}.items() if v and t not in _LEFT_OUT}
_CARRIED = (LOSSLESS - {"interval", "bit"}) | {"citext", "ltree", "shy", '"My Types"."Mood"'}
_CARRIED |= {"d_text", "d_numeric", "d_time", "d_float", "d_chars", "d_bytea", "d_enum"}
KEYLESS_TYPES = tuple(t for t in VALUES if t.split("(")[0] in _CARRIED)

NAMES = (
    "plain", "MixedCase", "select", "Ünï çødé", "漢字", 'qu"ote', "it's", "dot.ted", "100%", "back\\slash", "new\nline",
    "{braces}", "$1", "%s", "ctid_", "op", "before", "after", "source", "t", "s", "k", "n", "headrace_group_", "w" * 63,
    "  spaces  ", "-- no", "/* no", "tab\there", "headrace_o0_", "key", "excluded", "user", "l", "c", "o",
)  # fmt: skip


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Col:
    """A column that writers write. values: SQL expressions of its type."""

    name: str
    type: str
    values: Sequence[str]
    nullable: bool = True

    @property
    def sql(self) -> str:
        return quoted(self.name)

    def pick(self, rng: random.Random) -> str:
        """An expression for a new value."""
        if self.nullable and rng.random() < 0.1:
            return "NULL"
        big = BIG.get(self.type)
        value = big if big and rng.random() < 0.3 else rng.choice(self.values)
        return f"({value})::{self.type}"


@dataclass
class Table:
    """A table of the soak. keys: the columns of its key, each with an expression of ``{n}``. unique: columns
    with a unique index of their own (an int each)."""

    schema: str
    name: str
    keys: list[tuple[Col, str]]
    cols: list[Col]
    unique: list[Col] = field(default_factory=list)
    partition: str = ""
    ddl: list[str] = field(default_factory=list)
    truncates: bool = True
    serial: int = 0

    @property
    def sql(self) -> str:
        return f"{self.schema}.{quoted(self.name)}"

    @property
    def pattern(self) -> str:
        """As a user names it."""
        schema = self.schema.strip('"')
        return ".".join(quoted(p) for p in (schema, self.name))

    @property
    def title(self) -> str:
        """As Headrace shows it."""
        return f"{self.schema.strip(chr(34))}.{self.name}"

    @property
    def written(self) -> list[Col]:
        return [k for k, _ in self.keys] + self.unique + self.cols

    def where(self, n: str) -> str:
        """The condition for the row of a number."""
        return " AND ".join(f"{c.sql} = {e.format(n=n)}" for c, e in self.keys)

    def values(self, rng: random.Random, n: str) -> str:
        """One row's expressions; ``n`` may be any SQL."""
        keys = [e.format(n=n) for _, e in self.keys]
        unique = [f"({n})" for _ in self.unique]
        return ", ".join([*keys, *unique, *(c.pick(rng) for c in self.cols)])


def schema(rng: random.Random, tables: int) -> list[Table]:
    """Random tables; their ``ddl`` makes them."""
    kinds = ["keyless", "partitioned", "only_key", "index", "wide", "plain", "empty", "parts_keyless"]
    kinds += [rng.choice(["plain", "plain", "index", "keyless", "partitioned"]) for _ in range(tables)]
    return [_table(rng, i, kind) for i, kind in enumerate(kinds[:tables])]


def _table(rng: random.Random, number: int, kind: str) -> Table:
    names = [f"{n}" for n in rng.sample(NAMES, len(NAMES))]
    keyed = kind not in ("keyless", "parts_keyless")
    keys = _keys(rng, names, kind) if keyed else []
    cols = [] if kind == "only_key" else _cols(rng, names, kind, keyed)
    unique = _unique(rng, names) if keyed and kind not in ("only_key", "partitioned") else []
    title = f"{names.pop()[:50]}{number}"
    table = Table(rng.choice(SCHEMAS), title, keys, cols, unique)
    _ddl(rng, table, kind, names)
    return table


def _keys(rng: random.Random, names: list[str], kind: str) -> list[tuple[Col, str]]:
    first = rng.choice(UNIQUE_KEYS)
    types = [first, *rng.sample([k for k in KEYS if k != first], rng.choice([0, 0, 1, 2]))]
    rng.shuffle(types)
    if kind == "partitioned":
        types = ["int8", *[t for t in types if t != "int8"]]
    return [(Col(names.pop(), t, (), False), f"({KEYS[t]})::{t}") for t in types]


def _cols(rng: random.Random, names: list[str], kind: str, keyed: bool) -> list[Col]:
    pool = list(TYPES if keyed else KEYLESS_TYPES)
    size = {"wide": 24, "empty": 3}.get(kind, rng.randint(2, 8))
    cols = []
    for i in range(size):
        many = [t for t in pool if t in BIG]
        type_ = rng.choice(many) if rng.random() < 0.35 else rng.choice(pool)
        name = names.pop() if len(names) > 6 else f"c{i}"
        cols.append(Col(name, type_, TYPES[type_], rng.random() > 0.2))
    cols.append(Col("w", "int4", ("1", "2", "3", "4"), True))
    return cols


def _unique(rng: random.Random, names: list[str]) -> list[Col]:
    return [Col(names.pop(), "int8", (), True) for _ in range(rng.choice([0, 0, 1, 2]))]


def _ddl(rng: random.Random, table: Table, kind: str, names: list[str]) -> None:
    listed = [f"{c.sql} {c.type}{'' if c.nullable else ' NOT NULL'}" for c in table.written]
    extra = []
    if kind not in ("keyless", "parts_keyless", "only_key") and rng.random() < 0.7:
        extra.append(f"{quoted(names.pop())} bigint GENERATED BY DEFAULT AS IDENTITY")
    if kind == "plain" and rng.random() < 0.5:
        extra.append(f"{quoted(names.pop())} int GENERATED ALWAYS AS (w * 2) STORED")
        extra.append(f"{quoted(names.pop())} int DEFAULT 7")
        extra.append(f"{quoted(names.pop())} serial")
    spot = rng.randint(0, len(listed))
    listed[spot:spot] = extra
    key = ", ".join(c.sql for c, _ in table.keys)
    if table.keys and kind != "index":
        listed.append(f"PRIMARY KEY ({key})")
    by = ""
    if kind == "partitioned":
        by = f" PARTITION BY RANGE ({table.keys[0][0].sql})"
    elif kind == "parts_keyless":
        by = " PARTITION BY LIST (w)"
        table.truncates = False
    table.ddl.append(f"CREATE TABLE {table.sql} ({', '.join(listed)}){by}")
    if kind == "index":
        table.ddl.append(f"CREATE UNIQUE INDEX ON {table.sql} ({key})")
    _leaves(table, kind)
    if not by and rng.random() < 0.5:
        table.ddl.append(f"ALTER TABLE {table.sql} SET (toast_tuple_target = 128)")
    if kind == "plain" and rng.random() < 0.3:
        table.ddl.append(f"ALTER TABLE {table.sql} REPLICA IDENTITY FULL")
    for column in table.unique:
        deferred = " DEFERRABLE INITIALLY DEFERRED" if rng.random() < 0.3 else ""
        table.ddl.append(f"ALTER TABLE {table.sql} ADD UNIQUE ({column.sql}){deferred}")
    if kind != "empty":
        n = rng.choice([3, 100, 500])
        table.serial = n
        table.ddl.append(_fill(rng, table, n))


def _leaves(table: Table, kind: str) -> None:
    def leaf(name: str, bounds: str) -> None:
        made = f"{table.schema}.{quoted(f'{table.name[:40]}_{name}')}"
        table.ddl.append(f"CREATE TABLE {made} PARTITION OF {table.sql} {bounds}")

    if kind == "partitioned":
        leaf("a", f"FOR VALUES FROM (MINVALUE) TO ({200 * 1000000007})")
        leaf("b", f"FOR VALUES FROM ({200 * 1000000007}) TO ({100500 * 1000000007})")
        leaf("rest", "DEFAULT")
    elif kind == "parts_keyless":
        leaf("one", "FOR VALUES IN (1)")
        leaf("other", "DEFAULT")


def _fill(rng: random.Random, table: Table, count: int) -> str:
    return (
        f"INSERT INTO {table.sql} ({', '.join(c.sql for c in table.written)})"
        f" SELECT {table.values(rng, 'g')} FROM generate_series(1, {count}) g"
    )
