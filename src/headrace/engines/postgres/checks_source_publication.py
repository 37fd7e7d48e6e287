"""Checks of the right to publish, or of the publication that the user named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace.engines.model import TableName
from headrace.engines.postgres.checks_server import listing, read, values
from headrace.engines.postgres.checks_source_tables import Source, SourceCheck, has_full_identity
from headrace.engines.postgres.names import qualified, quoted
from headrace.errors import Finding

_PUBLICATION = """
select pg_has_role(pubowner, 'USAGE') as owned, pubviaroot as via_root,
  pubinsert and pubupdate and pubdelete and pubtruncate as every
from pg_publication where pubname = %s"""

# The same table as in capture, which makes it where Headrace owns the publication.
MARKER = TableName("headrace", "marker")

# attnames and rowfilter came with 15.
_PUBLISHED = """
select schemaname::text as schema, tablename::text as relation, {filter} as filtered, {columns} as columns,
  {listed} as listed
from pg_publication_tables t where pubname = %s"""

_LISTED = """exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
    where p.pubname = t.pubname and r.prattrs is not null
      and r.prrelid = format('%%I.%%I', t.schemaname, t.tablename)::regclass)"""


@dataclass(frozen=True, slots=True)
class _Publication:
    owned: bool
    via_root: bool
    every: bool


@dataclass(frozen=True, slots=True)
class _Published:
    schema: str
    relation: str
    filtered: bool
    columns: list[str] | None
    listed: bool

    @property
    def name(self) -> TableName:
        return TableName(self.schema, self.relation)


def create_right(at: Source) -> Iterator[Finding]:
    """CREATE on the database, for a publication of our own (and on PostgreSQL 13 for the marker's schema)."""
    if at.publication is None and not at.server.create_right:
        yield Finding(
            "publication_create",
            "error",
            "source",
            f"User {at.server.user} may not create a publication in database {at.server.database}.",
            "Grant CREATE on the database, or make the publication yourself and name it in the spec.",
            f"GRANT CREATE ON DATABASE {quoted(at.server.database)} TO {quoted(at.server.user)};",
            at.server.database,
        )


def publication(at: Source) -> Iterator[Finding]:
    """The named publication: there, of every kind of change, whole tables, by their root."""
    if at.publication is None:
        return
    found = read(at.conn, _Publication, _PUBLICATION, (at.publication,))
    if not found:
        yield _missing(at, at.publication)
        return
    yield from _options(at.publication, found[0])
    yield from _owner(at, at.publication, found[0])
    yield from _contents(at, at.publication, found[0])


def _missing(at: Source, name: str) -> Finding:
    tables = ", ".join(qualified(t.name) for t in at.tables)
    return Finding(
        "publication_missing",
        "error",
        "source",
        f"There is no publication {name} in database {at.server.database}.",
        "Make it, or take `names: {publication: ...}` out of the spec to let Headrace make one.",
        f"CREATE PUBLICATION {quoted(name)} FOR TABLE {tables} WITH (publish_via_partition_root = true);",
        name,
    )


def _options(name: str, is_: _Publication) -> Iterator[Finding]:
    if not is_.every:
        yield Finding(
            "publication_publish",
            "error",
            "source",
            f"Publication {name} does not publish every kind of change.",
            "Publish inserts, updates, deletes and truncates.",
            f"ALTER PUBLICATION {quoted(name)} SET (publish = 'insert, update, delete, truncate');",
            name,
        )
    if not is_.via_root:
        yield Finding(
            "publication_via_root",
            "error",
            "source",
            f"Publication {name} publishes partitions under their own names.",
            "Publish them through the root, so that one table stays one table.",
            f"ALTER PUBLICATION {quoted(name)} SET (publish_via_partition_root = true);",
            name,
        )


def _owner(at: Source, name: str, is_: _Publication) -> Iterator[Finding]:
    if not is_.owned:
        yield Finding(
            "publication_owner",
            "warning",
            "source",
            f"User {at.server.user} does not own publication {name}: tables added to the pipeline later have "
            "to be added to it by hand.",
            "Hand the publication over, or add tables to it yourself before you add them to the pipeline.",
            f"GRANT CREATE ON DATABASE {quoted(at.server.database)} TO {quoted(at.server.user)};\n"
            f"ALTER PUBLICATION {quoted(name)} OWNER TO {quoted(at.server.user)};",
            name,
        )


def _contents(at: Source, name: str, is_: _Publication) -> Iterator[Finding]:
    query = (
        _PUBLISHED.format(filter="rowfilter is not null", columns="attnames::text[]", listed=_LISTED)
        if at.server.major >= 15
        else _PUBLISHED.format(filter="false", columns="null::text[]", listed="false")
    )
    published = {p.name: p for p in read(at.conn, _Published, query, (name,))}
    missing = [t.name for t in at.tables if not _covers(set(published), at, t.oid, is_.via_root)]
    if missing:
        yield Finding(
            "publication_tables",
            "error",
            "source",
            f"Publication {name} lacks {listing(missing)}.",
            "Add the tables.",
            f"ALTER PUBLICATION {quoted(name)} ADD TABLE {', '.join(map(qualified, missing))};",
            name,
        )
    yield from _partial(at, name, published)
    yield from _extra(at, name, list(published), is_)


def _covers(published: set[TableName], at: Source, root: int, via_root: bool) -> bool:
    mine = [r for r in at.relations if r.root == root]
    if any(r.name in published for r in mine if r.oid == root):
        return True
    # Without via_root, which is a finding of its own, the root shows as its leaves; with it, leaves that show are
    # published by their own names: only they are in the publication.
    leaves = [r.name for r in mine if r.oid != root]
    return not via_root and bool(leaves) and published.issuperset(leaves)


def _partial(at: Source, name: str, published: dict[TableName, _Published]) -> Iterator[Finding]:
    for table in at.tables:
        entry = published.get(table.name)
        if entry is None:
            continue
        wanted = {c.name for c in table.columns if c.generated is None}
        lacking = sorted(wanted - set(entry.columns)) if entry.columns is not None else []
        # With a list, be it of every column, PostgreSQL refuses the user's own changes of such a table.
        full = entry.listed and any(has_full_identity(t, r) for t, r in at.pairs if t is table)
        if entry.filtered or lacking or full:
            what = "has a row filter on" if entry.filtered else f"leaves out {listing(lacking)} of"
            why = "changes would be lost without a word"
            if not (entry.filtered or lacking):
                what, why = "has a column list for", "with replica identity FULL your own changes are refused"
            quoted_name = qualified(table.name)
            yield Finding(
                "publication_partial",
                "error",
                "source",
                f"Publication {name} {what} {table.name}: {why}.",
                "Publish the whole table; filter and choose columns in the spec instead.",
                f"ALTER PUBLICATION {quoted(name)} DROP TABLE {quoted_name};\n"
                f"ALTER PUBLICATION {quoted(name)} ADD TABLE {quoted_name};",
                str(table.name),
            )


def _extra(at: Source, name: str, published: Sequence[TableName], is_: _Publication) -> Iterator[Finding]:
    ours = {r.name for r in at.relations} | {MARKER}
    extra = sorted(set(published) - ours)
    if extra and is_.via_root:
        yield Finding(
            "publication_extra",
            "warning",
            "source",
            f"Publication {name} also publishes {listing(extra)}: their changes travel to Kafka for nothing.",
            "Use a publication of the pipeline's tables only.",
            subject=name,
        )


def marker(at: Source) -> Iterator[Finding]:
    """PostgreSQL 13 has no logical messages for pgoutput: markers are rows of a published table."""
    if at.server.major < 14:
        yield from _marker_schema(at) if at.publication is None else _marker_table(at, at.publication)


def _marker_schema(at: Source) -> Iterator[Finding]:
    user = quoted(at.server.user)
    found = values(
        at.conn,
        "select has_schema_privilege(oid, 'USAGE') and has_schema_privilege(oid, 'CREATE') "
        "from pg_namespace where nspname = 'headrace'",
    )
    if found and not found[0][0]:
        fix = f"GRANT USAGE, CREATE ON SCHEMA headrace TO {user};"
    elif not found and not at.server.create_right:
        fix = f"CREATE SCHEMA headrace AUTHORIZATION {user};"
    else:
        return
    yield Finding(
        "marker_schema",
        "error",
        "source",
        f"PostgreSQL {at.server.release} needs schema headrace for markers, and user {at.server.user} may not "
        "use or create it.",
        "Make the schema for the user.",
        fix,
        "headrace",
    )


def _marker_table(at: Source, name: str) -> Iterator[Finding]:
    ready = values(
        at.conn,
        "select has_table_privilege(c.oid, 'SELECT, INSERT') and has_table_privilege(c.oid, 'UPDATE') "
        "and has_table_privilege(c.oid, 'DELETE') and has_schema_privilege(n.oid, 'USAGE') "
        "from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname "
        "join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename "
        "where p.pubname = %s and (n.nspname, c.relname) = (%s, %s)",
        (name, MARKER.schema, MARKER.name),
    )
    if ready and ready[0][0]:
        return
    every = values(at.conn, "select from pg_publication where pubname = %s and puballtables", (name,))
    user, table = quoted(at.server.user), qualified(MARKER)
    lines = [
        "CREATE SCHEMA IF NOT EXISTS headrace;",
        f"CREATE TABLE IF NOT EXISTS {table} (pipeline text PRIMARY KEY, marker text NOT NULL);",
        f"GRANT USAGE ON SCHEMA headrace TO {user};",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user};",
        *([] if ready or every else [f"ALTER PUBLICATION {quoted(name)} ADD TABLE {table};"]),
    ]
    yield Finding(
        "marker_table",
        "error",
        "source",
        f"PostgreSQL {at.server.release} needs table {MARKER} in publication {name}, writable for user "
        f"{at.server.user}: markers are its rows.",
        "Make and publish the table.",
        "\n".join(lines),
        str(MARKER),
    )


STREAMING: tuple[SourceCheck, ...] = (create_right, publication, marker)
