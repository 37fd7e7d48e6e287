"""Checks of tables that are on the target already: kind, rights, rows, and what would act on rows by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.engines.model import Route, TableName
from headrace.engines.postgres import target_tables
from headrace.engines.postgres.checks_server import Server, listing, read
from headrace.engines.postgres.connection import Connection, Login
from headrace.engines.postgres.names import qualified, quoted
from headrace.errors import Finding, Severity

_EXISTING = """
select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as relation, c.relkind::text as kind,
  c.relpersistence = 'u' as unlogged, c.relispartition as partition, row_security_active(c.oid) as filtered,
  pg_get_userbyid(c.relowner)::text as owner, pg_has_role(c.relowner, 'USAGE') as owned,
  array(select r from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) r
    where not has_table_privilege(c.oid, r)) as denied
from unnest(%s::text[], %s::text[]) w(schema, name)
join pg_namespace n on n.nspname = w.schema join pg_class c on c.relnamespace = n.oid and c.relname = w.name
where c.relkind not in ('i', 'I', 'c', 't')"""

# A table and its leaf partitions, as (root, oid).
_TREE = """
with tree as (select t.root, p.oid from unnest(%s::oid[]) t(root) cross join lateral
  (select t.root as oid union select relid from pg_partition_tree(t.root)) p)"""

_TRIGGERS = (
    _TREE
    + """
select n.nspname::text as schema, c.relname::text as relation, g.tgname::text as name,
  g.tgenabled::text as enabled
from tree join pg_trigger g on g.tgrelid = tree.oid join pg_class c on c.oid = tree.oid
join pg_namespace n on n.oid = c.relnamespace
where not g.tgisinternal and g.tgparentid = 0 and g.tgenabled = any(%s) order by 1, 2, 3"""  # nosec B608  # constants
)

_RULES = (
    _TREE
    + """
select n.nspname::text as schema, c.relname::text as relation, w.rulename::text as name,
  w.ev_enabled::text as enabled
from tree join pg_rewrite w on w.ev_class = tree.oid join pg_class c on c.oid = tree.oid
join pg_namespace n on n.oid = c.relnamespace
where w.ev_type <> '1' and w.ev_enabled = any(%s) order by 1, 2, 3"""  # nosec B608  # constants
)

_FOREIGN = (
    _TREE
    + """
select distinct n.nspname::text as schema, c.relname::text as relation, k.conname::text as name,
  'O' as enabled
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where k.contype = 'f' and k.conparentid = 0 and (k.conrelid in (select oid from tree)
  or k.confrelid in (select oid from tree)) order by 1, 2, 3"""  # nosec B608  # constants
)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of the target as our user may use it."""

    name: str
    usage: bool
    create_right: bool


@dataclass(frozen=True, slots=True)
class Existing:
    """A relation under the name of a target table. denied: the rights we lack."""

    oid: int
    schema: str
    relation: str
    kind: str
    unlogged: bool
    partition: bool
    filtered: bool
    owner: str
    owned: bool
    denied: list[str]

    @property
    def name(self) -> TableName:
        """Schema and name."""
        return TableName(self.schema, self.relation)

    @property
    def is_table(self) -> bool:
        """A plain or partitioned table."""
        return self.kind in {"r", "p"}


@dataclass(frozen=True, slots=True)
class Target:
    """Everything a check of the target looks at. replica_role: session_replication_role can be set."""

    conn: Connection
    login: Login
    server: Server
    routes: Sequence[Route]
    create_target: bool
    fresh: frozenset[TableName]
    schemas: Mapping[str, Schema]
    existing: Mapping[TableName, Existing]
    replica_role: bool

    @property
    def tables(self) -> list[Existing]:
        """What exists and is a table."""
        return [e for e in self.existing.values() if e.is_table]

    @property
    def readable(self) -> list[Existing]:
        """Tables that may be looked into."""
        return [e for e in self.tables if "SELECT" not in e.denied and self.schemas[e.schema].usage]


TargetCheck = Callable[[Target], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class _Actor:
    """Something on a table that acts on rows: a trigger, rule or foreign key."""

    schema: str
    relation: str
    name: str
    enabled: str

    @property
    def table(self) -> TableName:
        return TableName(self.schema, self.relation)


def existing(conn: Connection, names: Sequence[TableName]) -> list[Existing]:
    """What there is under the names of the target tables. Raises HeadraceError."""
    return read(conn, Existing, _EXISTING, ([n.schema for n in names], [n.name for n in names]))


def kinds(at: Target) -> Iterator[Finding]:
    """Views and foreign tables cannot be written to like tables; partitions and unlogged tables can, but."""
    for found in at.existing.values():
        if not found.is_table:
            yield _finding(
                "target_kind",
                found,
                f"{found.name} exists on the target and is not a table.",
                "Map the source table to another name, or drop what is there.",
            )
        if found.partition:
            yield _finding(
                "target_partition",
                found,
                f"{found.name} is a partition: rows outside its bounds are refused.",
                "Map the source table to the partitioned table itself, if that is meant.",
                severity="warning",
            )
        if found.unlogged:
            yield _finding(
                "target_unlogged",
                found,
                f"{found.name} is unlogged: a crash of the target empties it, and it has to be loaded again.",
                "Make it a logged table.",
                f"ALTER TABLE {qualified(found.name)} SET LOGGED;",
                severity="warning",
            )


def rights(at: Target) -> Iterator[Finding]:
    """Reading and writing rights on existing tables and USAGE on their schemas."""
    user = quoted(at.server.user)
    for schema in sorted({e.schema for e in at.tables if not at.schemas[e.schema].usage}):
        yield Finding(
            "schema_usage",
            "error",
            "target",
            f"User {at.server.user} may not look into schema {schema}.",
            "Grant USAGE on the schema.",
            f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {user};",
            schema,
        )
    by_right: dict[tuple[str, ...], list[TableName]] = defaultdict(list)
    for found in at.tables:
        if found.denied:
            by_right[tuple(found.denied)].append(found.name)
    for denied, names in by_right.items():
        yield Finding(
            "target_rights",
            "error",
            "target",
            f"User {at.server.user} lacks {', '.join(denied)} on {listing(names)}.",
            "Grant the rights.",
            f"GRANT {', '.join(denied)} ON {', '.join(map(qualified, names))} TO {user};",
            str(names[0]) if len(names) == 1 else None,
        )


def owners(at: Target) -> Iterator[Finding]:
    """Changing a table as the source's changes, or swapping in a fresh copy, takes its owner."""
    for found in at.tables:
        if not found.owned:
            yield _finding(
                "target_owner",
                found,
                f"{found.name} belongs to {found.owner}: schema changes and resync need its owner.",
                "Make the user a member of the owner, or hand the table over.",
                f"ALTER TABLE {qualified(found.name)} OWNER TO {quoted(at.server.user)};",
                severity="warning",
            )


def row_security(at: Target) -> Iterator[Finding]:
    """Row level security hides rows from updates and deletes, and refuses inserts."""
    for found in at.tables:
        if found.filtered:
            yield _finding(
                "row_security",
                found,
                f"Row level security of {found.name} applies to user {at.server.user}.",
                "Give the user BYPASSRLS, or make it the table's owner.",
                f"ALTER ROLE {quoted(at.server.user)} BYPASSRLS;",
            )


def empty(at: Target) -> Iterator[Finding]:
    """A table that Headrace has not made yet has to be empty."""
    ours = [e.name for e in at.readable if e.name in at.fresh]
    for name, rows in target_tables.existing(at.conn, ours).items():
        if rows > 0:
            yield _finding(
                "target_not_empty",
                at.existing[name],
                f"{name} has rows, and this pipeline does not keep it.",
                "Map the source table to another name, or empty this one: the fix deletes its rows.",
                f"TRUNCATE TABLE {qualified(name)};",
            )


def compatible(at: Target) -> Iterator[Finding]:
    """Existing tables have to be able to take the columns."""
    for route in at.routes:
        if route.target in at.existing:
            yield from target_tables.compare(at.conn, route)


def triggers(at: Target) -> Iterator[Finding]:
    """Triggers that would fire on replicated rows."""
    for actor in _acting(at, _TRIGGERS):
        # With session_replication_role = replica an ordinary trigger rests; only ALWAYS and REPLICA ones fire.
        verb = "ENABLE" if at.replica_role else "DISABLE"
        yield _acts(
            "target_triggers",
            actor,
            f"Trigger {actor.name} on {actor.table} would fire on replicated rows, whose effects come from "
            "the source already.",
            f"ALTER TABLE {qualified(actor.table)} {verb} TRIGGER {quoted(actor.name)};",
        )


def rules(at: Target) -> Iterator[Finding]:
    """Rules that would rewrite what the applier writes."""
    for actor in _acting(at, _RULES):
        verb = "ENABLE" if at.replica_role else "DISABLE"
        yield _acts(
            "target_rules",
            actor,
            f"Rule {actor.name} on {actor.table} would rewrite replicated rows.",
            f"ALTER TABLE {qualified(actor.table)} {verb} RULE {quoted(actor.name)};",
        )


def _acting(at: Target, query: str) -> list[_Actor]:
    enabled = ["A", "R"] if at.replica_role else ["A", "O"]
    return read(at.conn, _Actor, query, ([e.oid for e in at.tables], enabled))


def foreign_keys(at: Target) -> Iterator[Finding]:
    """Foreign keys of and to target tables: tables are applied apart, so a parent may come after its child."""
    if at.replica_role:
        return
    for actor in read(at.conn, _Actor, _FOREIGN, ([e.oid for e in at.tables],)):
        yield _acts(
            "target_foreign_keys",
            actor,
            f"Foreign key {actor.name} of {actor.table} would refuse rows whose parent comes later, or cascade.",
            f"ALTER TABLE {qualified(actor.table)} DROP CONSTRAINT {quoted(actor.name)};",
        )


def _acts(code: str, actor: _Actor, message: str, fix: str) -> Finding:
    guidance = (
        "Let the user set session_replication_role (see finding replication_role), or use the fix; "
        "bring it back when the pipeline has ended."
    )
    if "ENABLE" in fix.split("DISABLE", maxsplit=1)[0]:
        guidance = "It is set to fire even for replication; the fix makes it fire for ordinary sessions only."
    return Finding(code, "error", "target", message, guidance, fix, str(actor.table))


def _finding(
    code: str,
    found: Existing,
    message: str,
    guidance: str,
    fix: str | None = None,
    *,
    severity: Severity = "error",
) -> Finding:
    return Finding(code, severity, "target", message, guidance, fix, str(found.name))


CHECKS: tuple[TargetCheck, ...] = (
    kinds,
    rights,
    owners,
    row_security,
    empty,
    compatible,
    triggers,
    rules,
    foreign_keys,
)
