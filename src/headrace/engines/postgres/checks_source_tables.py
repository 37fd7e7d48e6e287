"""Checks of the source's tables: rights, replica identity, keys, what logical decoding cannot carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace.engines.model import Table, TableName
from headrace.engines.postgres.checks_server import Server, listing, read
from headrace.engines.postgres.connection import Connection, Login
from headrace.engines.postgres.names import qualified, quoted
from headrace.engines.postgres.sequences import reading_right, unreadable
from headrace.errors import Finding

_RELATIONS = """
select t.root::int8 as root, c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as relation,
  c.relkind::text as kind, c.relpersistence::text as persistence, c.relreplident::text as identity,
  o.rolname::text as owner, o.rolsuper as owner_super, pg_has_role(c.relowner, 'USAGE') as owned,
  has_schema_privilege(n.oid, 'USAGE') as schema_usage,
  (select bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT')) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname::text = any(
      select unnest(string_to_array(t.columns, chr(1))))) is not false as selectable,
  row_security_active(c.oid) and not (
    exists (select from pg_policy p where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')
      and pg_get_expr(p.polqual, p.polrelid) = 'true' and (0 = any(p.polroles) or exists (
        select from unnest(p.polroles) x where x <> 0 and pg_has_role(x, 'USAGE'))))
    and not exists (select from pg_policy p where p.polrelid = c.oid and not p.polpermissive
      and p.polcmd in ('r', '*') and (0 = any(p.polroles) or exists (
        select from unnest(p.polroles) x where x <> 0 and pg_has_role(x, 'USAGE'))))) as filtered,
  coalesce((select array_agg(a.attname::text) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
    and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]) where i.indrelid = c.oid and case
    c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident end), '{}') as carried
from unnest(%s::oid[], %s::text[]) t(root, columns)
cross join lateral (select t.root as oid union select relid from pg_partition_tree(t.root) where isleaf) p
join pg_class c on c.oid = p.oid join pg_namespace n on n.oid = c.relnamespace
join pg_roles o on o.oid = c.relowner order by n.nspname, c.relname"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or leaf partition, live. root: oid of its table. carried: columns of its replica identity.

    filtered: row level security hides rows from us. selectable: every column of the table may be read.
    """

    root: int
    oid: int
    schema: str
    relation: str
    kind: str
    persistence: str
    identity: str
    owner: str
    owner_super: bool
    owned: bool
    schema_usage: bool
    selectable: bool
    filtered: bool
    carried: list[str]

    @property
    def name(self) -> TableName:
        """Schema and name."""
        return TableName(self.schema, self.relation)


@dataclass(frozen=True, slots=True)
class Source:
    """Everything a check of the source looks at. set_identity: Headrace may set replica identities.

    sequences: columns (oid of the table, name) whose sequences are read.
    """

    conn: Connection
    login: Login
    server: Server
    tables: Sequence[Table]
    relations: Sequence[Relation]
    slot: str
    publication: str | None
    set_identity: bool
    sequences: Collection[tuple[int, str]]

    @property
    def pairs(self) -> Iterator[tuple[Table, Relation]]:
        """Each relation with the table it belongs to."""
        by_oid = {table.oid: table for table in self.tables}
        return ((by_oid[r.root], r) for r in self.relations)


SourceCheck = Callable[[Source], Iterable[Finding]]


def relations(conn: Connection, tables: Sequence[Table]) -> list[Relation]:
    """The tables and their leaf partitions as they stand. Raises HeadraceError."""
    columns = ["\1".join(c.name for c in table.columns) for table in tables]
    return read(conn, Relation, _RELATIONS, ([t.oid for t in tables], columns))


def schema_usage(at: Source) -> Iterator[Finding]:
    """USAGE on every schema."""
    user = quoted(at.server.user)
    for schema in sorted({r.schema for r in at.relations if not r.schema_usage}):
        yield Finding(
            "schema_usage",
            "error",
            "source",
            f"User {at.server.user} may not look into schema {schema}.",
            "Grant USAGE on the schema.",
            f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {user};",
            schema,
        )


def select_right(at: Source) -> Iterator[Finding]:
    """SELECT on every table and, as partitions are loaded one by one, on every leaf."""
    denied: dict[str, list[TableName]] = defaultdict(list)
    for relation in at.relations:
        if not relation.selectable and relation.kind != "f":
            denied[relation.schema].append(relation.name)
    for schema, names in denied.items():
        tables = ", ".join(qualified(n) for n in names)
        yield Finding(
            "select_right",
            "error",
            "source",
            f"User {at.server.user} may not read {listing(names)}.",
            "Grant SELECT; for tables made later also ALTER DEFAULT PRIVILEGES.",
            f"GRANT SELECT ON {tables} TO {quoted(at.server.user)};",
            str(names[0]) if len(names) == 1 else schema,
        )


def sequence_right(at: Source) -> Iterator[Finding]:
    """SELECT on the sequences behind the columns: the target's are brought to where they stand."""
    if denied := unreadable(at.conn, at.sequences):
        yield Finding(
            "sequence_right",
            "error",
            "source",
            f"User {at.server.user} may not read {listing(denied)}: the target's sequences follow the source's.",
            "Grant SELECT; for sequences made later also ALTER DEFAULT PRIVILEGES.",
            reading_right(denied, at.server.user),
            str(denied[0]) if len(denied) == 1 else denied[0].schema,
        )


def row_security(at: Source) -> Iterator[Finding]:
    """Row level security would hide rows from the load without a word."""
    for relation in at.relations:
        if relation.filtered:
            table, user = qualified(relation.name), quoted(at.server.user)
            yield Finding(
                "row_security",
                "error",
                "source",
                f"Row level security of {relation.name} hides rows from user {at.server.user}.",
                f"Give the user BYPASSRLS, or where that is not possible a policy that shows every row: "
                f"CREATE POLICY headrace ON {table} FOR SELECT TO {user} USING (true);",
                f"ALTER ROLE {user} BYPASSRLS;",
                str(relation.name),
            )


def table_owner(at: Source) -> Iterator[Finding]:
    """Publishing a table takes its owner or a member of the owner; an existing publication does not."""
    if at.publication is not None:
        return
    owners: dict[tuple[str, bool], list[TableName]] = defaultdict(list)
    for relation in at.relations:
        # A partition is published through its root; its owner matters for the replica identity only.
        if not relation.owned and relation.oid == relation.root:
            owners[relation.owner, relation.owner_super].append(relation.name)
    for (owner, superuser), names in owners.items():
        yield Finding(
            "table_owner",
            "error",
            "source",
            f"User {at.server.user} is neither owner of {listing(names)} nor a member of the owner, {owner}: "
            f"it cannot publish them.",
            "Make the user a member of a role that owns the tables, or make the publication yourself and "
            "name it in the spec: names: {publication: ...}.",
            _owner_fix(owner, superuser, names, at.server.user),
            str(names[0]) if len(names) == 1 else owner,
        )


def _owner_fix(owner: str, superuser: bool, names: list[TableName], user: str) -> str:
    if not superuser:
        return f"GRANT {quoted(owner)} TO {quoted(user)};"
    # Membership in a superuser's role would give away far more than these tables.
    lines = [
        "DO $$BEGIN CREATE ROLE headrace_owner; EXCEPTION WHEN duplicate_object THEN NULL; END$$;",
        f"GRANT headrace_owner TO {quoted(user)};",
        *(f"ALTER TABLE {qualified(name)} OWNER TO headrace_owner;" for name in names),
    ]
    return "\n".join(lines)


def identity(at: Source) -> Iterator[Finding]:
    """Replica identities that do not carry what an update or delete is applied by."""
    wrong = [(t, r) for t, r in at.pairs if r.kind != "f" and not _identifies(t, r)]
    # Capture sets the identities of a table and its leaves where it publishes the table itself, and looks at
    # the root to see whether it has to.
    roots = {r.root for _, r in wrong if r.oid == r.root}
    for table, relation in wrong:
        will_set = at.set_identity and at.publication is None and relation.owned and relation.root in roots
        yield _identity(table, relation, will_set)


def _identifies(table: Table, relation: Relation) -> bool:
    if relation.identity == "f":
        return True
    return bool(table.key) and set(table.key) <= set(relation.carried)


def _needed(table: Table, relation: Relation) -> str:
    if table.key and set(table.key) == set(table.primary_key):
        return "DEFAULT"
    if table.key and table.key_index and relation.oid == table.oid:
        return f"USING INDEX {quoted(table.key_index)}"
    return "FULL"


def has_full_identity(table: Table, relation: Relation) -> bool:
    """Whether its replica identity is FULL once the table is captured: as it stands, or because it has to be."""
    return relation.identity == "f" or (
        not _identifies(table, relation) and _needed(table, relation) == "FULL"
    )


def _identity(table: Table, relation: Relation, will_set: bool) -> Finding:
    need = _needed(table, relation)
    why = f"its key is ({', '.join(table.key)})" if table.key else "it has no usable key"
    return Finding(
        "replica_identity",
        "info" if will_set else "error",
        "source",
        f"Replica identity of {relation.name} {'becomes' if will_set else 'has to be'} {need}: {why}.",
        "Headrace sets it before the table is published; FULL writes whole old rows to the WAL."
        if will_set
        else "Set it as the table's owner before the table is published.",
        None if will_set else f"ALTER TABLE {qualified(relation.name)} REPLICA IDENTITY {need};",
        str(relation.name),
    )


def carriage(at: Source) -> Iterator[Finding]:
    """Columns whose values no event carries without loss."""
    for table in at.tables:
        columns = [c for c in table.columns if c.generated is None]
        named = [f"{c.name} ({c.type})" for c in columns if c.carriage == "reread"]
        refused = [f"{c.name} ({c.type})" for c in columns if c.carriage == "refused"]
        if not table.key and (named or refused):
            yield _keyless_type(table, named + refused)
            continue
        if refused:
            yield Finding(
                "refused_type",
                "error",
                "source",
                f"{table.name}: {listing(refused)} cannot be carried.",
                "Exclude these columns in the spec: columns: {exclude: [...]}.",
                subject=str(table.name),
            )
        if named:
            yield Finding(
                "reread_columns",
                "info",
                "source",
                f"{table.name}: {listing(named, 20)} are fetched from the source by key as changes are applied.",
                "Their event form is not lossless. Costs the source one indexed read per changed row.",
                subject=str(table.name),
            )


def _keyless_type(table: Table, named: list[str]) -> Finding:
    return Finding(
        "keyless_type",
        "error",
        "source",
        f"{table.name} has no usable key, and {listing(named)} can only be carried by key.",
        "Give the table a primary key (a fix that adds one rewrites the table; a UNIQUE index over NOT NULL "
        "columns does as well), or exclude these columns in the spec.",
        add_key(table),
        str(table.name),
    )


def add_key(table: Table) -> str | None:
    """SQL that gives a keyless table a key; None for a partitioned one, whose keys hold the partition key."""
    if table.partitioned:
        return None
    return (
        f"ALTER TABLE {qualified(table.name)} ADD COLUMN headrace_id bigint "
        "GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY;"
    )


def decodable(at: Source) -> Iterator[Finding]:
    """Tables and partitions whose changes are not in the WAL."""
    for relation in at.relations:
        if relation.persistence == "u":
            yield Finding(
                "unlogged",
                "error",
                "source",
                f"{relation.name} is unlogged: its changes are never replicated.",
                "Make it a logged table, or leave it out of the pipeline.",
                f"ALTER TABLE {qualified(relation.name)} SET LOGGED;",
                str(relation.name),
            )
        if relation.kind == "f":
            yield Finding(
                "foreign_partition",
                "error",
                "source",
                f"Partition {relation.name} is a foreign table: its changes happen on another server.",
                "Leave the table out of the pipeline, or replicate its other partitions by name.",
                subject=str(relation.name),
            )


READING: tuple[SourceCheck, ...] = (schema_usage, select_right, sequence_right, row_security)
STREAMING: tuple[SourceCheck, ...] = (table_owner, identity, carriage, decodable)
