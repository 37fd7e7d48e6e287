"""The queries of ``catalog``: each for any number of tables at once, each row with the ``root`` it belongs to."""

from __future__ import annotations

TABLES = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'headrace')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

HEADS = """
SELECT c.oid::bigint, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_catalog.pg_get_userbyid(c.relowner) AS owner, c.relreplident::text AS replica_identity,
       c.relpersistence = 'u' AS unlogged,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key
FROM (SELECT DISTINCT * FROM ROWS FROM (
        pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(names)s::text[])) AS w(schema, name)) w
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

# attnotnull is set for a NOT VALID constraint too (PostgreSQL 18), and such a column may hold NULLs.
COLUMNS = """
WITH RECURSIVE chain(domain, type, typmod) AS (
    SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
    SELECT c.domain, t.typbasetype, t.typtypmod
    FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.type AND t.typtype = 'd'
), bottom AS (
    SELECT c.domain, c.type, c.typmod FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.type AND t.typtype <> 'd'
)
SELECT a.attrelid::bigint AS root, a.attname AS name, a.attnum AS number,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN t.typtype = 'd' THEN bottom.typmod ELSE a.atttypmod END AS typmod,
       tn.nspname AS type_schema, b.typname AS base, bn.nspname AS base_schema,
       b.typtype::text || b.typcategory::text AS category,
       pg_catalog.current_setting('server_version_num')::int AS version,
       EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = b.oid
                 AND d.deptype = 'e') AS base_extension,
       NOT a.attnotnull OR EXISTS (
         SELECT FROM pg_catalog.pg_constraint k
         WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
           AND NOT k.convalidated) AS nullable,
       a.attidentity::text AS identity, a.attgenerated::text AS generated,
       pg_catalog.pg_get_expr(f.adbin, f.adrelid) AS expression,
       CASE WHEN a.attcollation <> t.typcollation
            THEN pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) END AS collation,
       coalesce(l.collisdeterministic, true) AS deterministic,
       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN bottom ON bottom.domain = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = coalesce(bottom.type, a.atttypid)
JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

ATTRIBUTES = """
SELECT a.attrelid::bigint AS root, a.attname AS name, a.attnum AS number,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# Foreign keys of a partitioned table show again, as children, for each partition they point to.
CONSTRAINTS = """
SELECT k.conrelid::bigint AS root, k.conname AS name, k.contype::text AS kind,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition, n.nspname AS other_schema, o.relname AS other_name
FROM pg_catalog.pg_constraint k
LEFT JOIN pg_catalog.pg_class o ON o.oid = k.confrelid AND k.contype = 'f'
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.relnamespace
WHERE k.conrelid = ANY(%(oids)s::oid[]) AND k.contype IN ('c', 'f') AND k.conparentid = 0
ORDER BY k.conrelid, k.conname COLLATE "C"
"""

# plain_equality: each key column is compared by its type's own operators under a deterministic collation, so
# that the index and Headrace agree on which two values are the same.
_INDEXES = """
SELECT i.indrelid::bigint AS root, c.relname AS name, i.indisunique AS is_unique, i.indisprimary AS is_primary,
       i.indisexclusion AS is_exclusion, i.indisreplident AS is_replica_identity,
       i.indimmediate AS immediate, i.indpred IS NOT NULL AS partial,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       {nulls_not_distinct} AS nulls_not_distinct,
       k.conname AS constraint_name,
       coalesce(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.pg_get_indexdef(i.indexrelid)) AS definition,
       CASE WHEN 0 = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) THEN '{{}}'
            ELSE p.columns END::text[] AS columns, p.plain_equality
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint k
  ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY s.at) AS columns,
           coalesce(pg_catalog.bool_and(o.opcdefault AND coalesce(l.collisdeterministic, true)), false)
             AS plain_equality
    FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS s(at)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[s.at]
    LEFT JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[s.at]
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = i.indcollation[s.at]
) p
WHERE i.indrelid = ANY(%(oids)s::oid[])
ORDER BY i.indrelid, c.relname COLLATE "C"
"""

# Foreign tables among the partitions are left out: they are neither streamed nor rows of this server.
_TREE = """
WITH RECURSIVE tree(root, oid, parent, level) AS (
    SELECT w.oid, w.oid, 0::oid, 0 FROM pg_catalog.unnest(%(oids)s::oid[]) AS w(oid)
  UNION ALL
    SELECT t.root, i.inhrelid, i.inhparent, t.level + 1
    FROM tree t
    JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid{attached}
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition AND c.relkind IN ('r', 'p')
)
SELECT t.root::bigint, t.oid::bigint, t.level, c.relkind::text AS kind,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::bigint AS file{sized}
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class pc ON pc.oid = t.parent
LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
ORDER BY t.root, t.level, n.nspname COLLATE "C", c.relname COLLATE "C"
"""

_SIZED = """,
       n.nspname AS schema, c.relname AS name, pn.nspname AS parent_schema, pc.relname AS parent_name,
       pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bounds,
       CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key,
       c.reltuples AS rows, c.relpages AS known_pages,
       CASE WHEN c.relkind = 'r' THEN coalesce((pg_catalog.pg_relation_size(c.oid) + 8191) / 8192, 0)
            ELSE 0 END AS pages,
       CASE WHEN c.relkind = 'r' THEN coalesce(pg_catalog.pg_table_size(c.oid), 0) ELSE 0 END AS bytes"""


def indexes(version: int) -> str:
    """Indexes with the constraints they stand for. version: ``server_version_num``."""
    return _INDEXES.format(nulls_not_distinct="i.indnullsnotdistinct" if version >= 150000 else "false")


def tree(version: int, *, sized: bool) -> str:
    """The table itself and its partitions at every level. sized: with sizes and bounds, else only files."""
    attached = " AND NOT i.inhdetachpending" if version >= 140000 else ""
    return _TREE.format(attached=attached, sized=_SIZED if sized else "")
