"""The SQL that compares one side of a table; pure text, nothing is executed here.

Every row is reduced to the MD5 of its ``ROW(...)::text`` (which tells NULL from an empty string) in UTF-8.
Fragments have their percent signs doubled, because psycopg reads the result with parameters. They are quoted where they
are made, the row filter is the user's own SQL, and values travel as parameters: so ``nosec B608`` below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Kind of the relation, its columns with their types, and the operator a lookup by key has to use: outside
# pg_catalog (citext, ltree) a plain ``=`` would fall back to text and miss the index.
CATALOG = """
SELECT c.oid, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', e.equals
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN LATERAL (
  WITH RECURSIVE base AS (
    SELECT a.atttypid AS type
    UNION ALL
    SELECT t.typbasetype FROM base JOIN pg_type t ON t.oid = base.type AND t.typtype = 'd')
  SELECT format('OPERATOR(%%I.%%s)', s.nspname, o.oprname) AS equals
  FROM base
  JOIN pg_opclass k ON k.opcintype = base.type AND k.opcdefault
  JOIN pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree'
  JOIN pg_amop p ON p.amopfamily = k.opcfamily AND p.amopstrategy = 3
    AND p.amoplefttype = base.type AND p.amoprighttype = base.type
  JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace
  LIMIT 1) e ON true
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
ORDER BY a.attnum
"""

# The planner's own estimates; a table that was never analysed counts by its size, 64 bytes a row.
ESTIMATE = """
SELECT coalesce(sum(CASE WHEN reltuples > 0 THEN reltuples::bigint ELSE pg_relation_size(oid) / 64 END), 0)::bigint
FROM pg_class
WHERE relkind = 'r' AND oid IN (SELECT relid FROM pg_partition_tree(%(oid)s::oid) UNION SELECT %(oid)s::oid::regclass)
"""

_EXCERPT = 200  # characters of a value that are shown


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One column of the key.

    text: SQL of its text. typed: ``"id" OPERATOR(..) {}::bigint``, which an index serves; None when the
    text is no value of the column (a mask).
    """

    text: str
    typed: str | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What is compared on one side.

    table: qualified name; only: without children by plain inheritance. values: one SQL expression per column.
    key: () when keyless. where: the row filter. utf8: whether that is the database's encoding.
    """

    table: str
    only: bool
    values: tuple[str, ...]
    key: tuple[KeyPart, ...]
    where: str | None
    utf8: bool

    def _bytes(self, text: str) -> str:
        """Text whose bytes are UTF-8 and compare as such, whatever the database's encoding is."""
        return f'({text}) COLLATE "C"' if self.utf8 else f"convert_to({text}, 'UTF8')"

    def _md5(self, text: str) -> str:
        return f"md5({text})" if self.utf8 else f"md5(convert_to({text}, 'UTF8'))"

    def _row_hash(self) -> str:
        return _doubled(self._md5(f"ROW({', '.join(self.values)})::text"))

    def _source(self) -> str:
        return f"ONLY {_doubled(self.table)}" if self.only else _doubled(self.table)

    def _stamp(self) -> str:
        """Another number whenever the row was written anew (a join hides unqualified system columns)."""
        return f"{_doubled(self.table)}.xmin::text::bigint"

    def _condition(self) -> str:
        return f"({_doubled(self.where)})" if self.where else "true"

    def _keys(self) -> list[str]:
        return [_doubled(part.text) for part in self.key]

    def _bucket(self, texts: Sequence[str], count: int) -> str:
        hashed = "0"
        for text in texts:
            hashed = f'hashtextextended(({text}) COLLATE "C", {hashed})'
        return f"({hashed} & {count - 1})::int"

    def _rows(self, count: int) -> str:
        """Sub-select of bucket ``h`` and row hash ``m``. OFFSET 0 keeps ``m`` from being computed twice."""
        if self.key:
            bucket = self._bucket(self._keys(), count)
            return (
                f"(SELECT {bucket} AS h, {self._row_hash()} AS m"
                f" FROM {self._source()} WHERE {self._condition()} OFFSET 0)"  # nosec B608
            )
        inner = self._hashed("")
        return f"(SELECT {self._bucket(['m'], count)} AS h, m FROM {inner} i OFFSET 0)"  # nosec B608

    def _hashed(self, further: str) -> str:
        return (
            f"(SELECT {self._row_hash()} AS m{further} FROM {self._source()}"  # nosec B608
            f" WHERE {self._condition()} OFFSET 0)"
        )

    def buckets(self, count: int) -> str:
        """Per bucket: number, rows, checksum as text (see ``engines.compare.weight``)."""
        high, low = (f"sum(('x0' || substr(m, {at}, 15))::bit(64)::bigint)" for at in (1, 16))
        return (
            f"SELECT h, count(*), ({high} * {2**60}::numeric + {low})::text"
            f" FROM {self._rows(count)} r GROUP BY h"  # nosec B608
        )

    def stream(self, count: int) -> str:
        """Rows of the buckets set in a bitmap (one parameter), ordered by key: parts of the key, hash, count."""
        if not self.key:
            return (
                f"SELECT m, m, count(*) FROM {self._rows(count)} r"  # nosec B608
                ' WHERE get_bit(%b::bytea, h) = 1 GROUP BY m ORDER BY m COLLATE "C"'
            )
        keys = self._keys()
        order = ", ".join(self._bytes(text) for text in keys)
        return (
            f"SELECT {', '.join(keys)}, {self._row_hash()}, 1 FROM {self._source()}"
            f" WHERE {self._condition()} AND get_bit(%b::bytea, {self._bucket(keys, count)}) = 1"
            f" ORDER BY {order}"  # nosec B608
        )

    def lookup(self) -> str:
        """What stands under keys (one array per part): parts, hash, count, stamp."""
        if self.key:
            return self._by_key(f"{self._row_hash()}, 1, {self._stamp()}")
        return (
            f"SELECT m, m, count(*), sum(x)::bigint FROM {self._hashed(f', {self._stamp()} AS x')} r"  # nosec B608
            " JOIN unnest(%s::text[]) AS k(m) USING (m) GROUP BY m"
        )

    def columns(self) -> str:
        """For keys: parts, then an array of one hash per column. Keyed tables only."""
        hashes = ", ".join(self._md5(f"ROW({value})::text") for value in self.values)
        return self._by_key(f"ARRAY[{_doubled(hashes)}]")

    def excerpt(self) -> str:
        """For keys: parts, then an array of the values, long ones cut."""
        shown = ", ".join(
            f"CASE WHEN {v} IS DISTINCT FROM NULL THEN left(concat({v}), {_EXCERPT}) END" for v in self.values
        )
        array = f"ARRAY[{_doubled(shown)}]::text[]"
        if self.key:
            return self._by_key(array)
        return (
            f"SELECT DISTINCT ON (m) m, v FROM {self._hashed(f', {array} AS v')} r"  # nosec B608
            " JOIN unnest(%s::text[]) AS k(m) USING (m)"
        )

    def _by_key(self, what: str) -> str:
        # The text decides (1.0 is not 1.00, whatever the type's equality says); the typed comparison beside
        # it lets the index find the row.
        asked = [f'hr_keys."hr key {n}"' for n in range(len(self.key))]
        joins = [f'({t}) COLLATE "C" = {a}' for t, a in zip(self._keys(), asked, strict=True)]
        joins += [
            _doubled(part.typed).format(a) for part, a in zip(self.key, asked, strict=True) if part.typed
        ]
        arrays = ", ".join("%s::text[]" for _ in self.key)
        names = ", ".join(f'"hr key {n}"' for n in range(len(self.key)))
        return (
            f"SELECT {', '.join(self._keys())}, {what} FROM {self._source()}"  # nosec B608
            f" JOIN unnest({arrays}) AS hr_keys({names}) ON {' AND '.join(joins)}"
            f" WHERE {self._condition()}"
        )


def _doubled(sql: str) -> str:
    return sql.replace("%", "%%")
