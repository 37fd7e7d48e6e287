"""The documented grants pass without an error; each missing one is found, and its fix mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from headrace.checks.run import at, collect
from headrace.engines.model import Mapped, Route, Table, TableName
from headrace.engines.postgres import (
    capture,
    catalog,
    checks_server,
    checks_source,
    checks_source_slot,
    checks_source_transactions,
    checks_target,
)
from headrace.engines.postgres.connection import Login, connect
from headrace.errors import Finding
from headrace.local.postgres import PostgresServer
from support.documented import documented, statements

TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, tags text[]);
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint, total numeric(10,2));
CREATE TABLE events (id bigint, day date, what text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits (page text, seen timestamptz)
"""


@dataclass
class World:
    """A server with a database of its own, seen by the administrator and by user headrace."""

    server: PostgresServer
    database: str
    options: dict[str, Any] = field(default_factory=dict)

    def admin(self, sql: str, database: str | None = None) -> None:
        """Run statements one by one."""
        with psycopg.connect(self.server.conninfo_of(database or self.database), autocommit=True) as conn:
            for statement in statements(sql):
                conn.execute(statement.encode())

    @property
    def login(self) -> Login:
        return Login("127.0.0.1", self.database, "headrace", "secret", self.server.port)

    def tables(self) -> list[Table]:
        with connect(self.superuser) as conn:
            return catalog.describe(conn)

    @property
    def superuser(self) -> Login:
        return Login("127.0.0.1", self.database, "postgres", self.server.password or "", self.server.port)

    def source(self, **options: Any) -> list[Finding]:
        given = {
            "slot": "headrace_shop",
            "publication": None,
            "replica_identity": "set",
            "mode": "full_load_and_cdc",
        }
        return checks_source.check(self.login, self.tables(), **(given | self.options | options))

    def routes(self) -> list[Route]:
        return [route(table) for table in self.options["source_tables"]]

    def target(
        self,
        routes: list[Route] | None = None,
        create_target: bool = True,
        fresh: set[TableName] | None = None,
    ) -> list[Finding]:
        routes = routes or self.routes()
        new = {r.target for r in routes} if fresh is None else fresh
        return checks_target.check(self.login, routes, create_target=create_target, fresh=new)


def route(table: Table, target: TableName | None = None) -> Route:
    return Route(table, target or table.name, tuple(Mapped(c, c.name) for c in table.columns))


def codes(findings: list[Finding], *severities: str) -> list[str]:
    return [f.code for f in findings if f.severity in (severities or ("error", "warning", "info"))]


def only(findings: list[Finding], code: str) -> Finding:
    found = [f for f in findings if f.code == code]
    assert len(found) == 1, (code, [(f.severity, f.code, f.message) for f in findings])
    return found[0]


def mended(world: World, check: Callable[[], list[Finding]], code: str, severity: str = "error") -> Finding:
    """The finding is there; its fix, run by the administrator, makes it go away."""
    before = check()
    found = [f for f in before if (f.code, f.severity) == (code, severity)]
    assert found, before
    for finding in found:
        assert finding.fix, code
        assert finding.guidance
        world.admin(finding.fix)
    after = check()
    assert code not in codes(after, severity), after
    return found[0]


@pytest.fixture(scope="module", params=["18", pytest.param("15", marks=pytest.mark.full)])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    settings = {"max_prepared_transactions": 5}
    with PostgresServer(version=request.param, fsync=False, settings=settings) as pg:
        yield pg


@pytest.fixture
def empty(server: PostgresServer) -> Iterator[Callable[[str], World]]:
    """Makes a database with nothing in it; dropped afterwards, with every role."""
    made: list[str] = []

    def make(database: str, options: str = "") -> World:
        world = World(server, database)
        world.admin(f"CREATE DATABASE {database} {options}", "postgres")
        made.append(database)
        return world

    yield make
    cleanup = World(server, "postgres")
    cleanup.admin("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
    for database in made:
        for _ in range(2):
            with suppress(psycopg.errors.ObjectInUse):
                cleanup.admin(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    if int(server.version) >= 15:
        with suppress(psycopg.errors.UndefinedObject):
            cleanup.admin("REVOKE SET ON PARAMETER session_replication_role FROM headrace")
    cleanup.admin(
        "DROP ROLE IF EXISTS headrace;\nDROP ROLE IF EXISTS shop_owner;\nDROP ROLE IF EXISTS headrace_owner"
    )


def shop_of(empty: Callable[[str], World], block: str) -> World:
    world = empty("shop")
    owner = "CREATE ROLE shop_owner;\nGRANT USAGE, CREATE ON SCHEMA public TO shop_owner"
    world.admin(owner)
    world.admin("\n".join(["SET ROLE shop_owner;", TABLES]))
    world.admin(documented(block))
    return world


@pytest.fixture
def shop(empty: Callable[[str], World]) -> World:
    """The source, with the documented grants."""
    return shop_of(empty, "source")


@pytest.fixture
def published(empty: Callable[[str], World]) -> World:
    """The source with a publication made by its administrator."""
    world = shop_of(empty, "source-publication")
    world.options["publication"] = "headrace"
    return world


@pytest.fixture
def warehouse(empty: Callable[[str], World]) -> World:
    """The target, with the documented grants."""
    made = empty("shop")
    made.admin(TABLES)
    world = empty("warehouse")
    block = documented("target")
    if int(world.server.version) < 15:
        block = block[: block.index("-- PostgreSQL 15")]
    world.admin(block)
    world.options["source_tables"] = made.tables()
    return world


def test_documented_source(shop: World) -> None:
    found = shop.source()
    assert codes(found, "error", "warning") == []
    assert sorted(codes(found)) == ["replica_identity", "reread_columns"]
    assert only(found, "replica_identity").subject == "public.visits"
    assert "tags (text[])" in only(found, "reread_columns").message


def test_the_check_leaves_nothing_behind(shop: World) -> None:
    shop.source()
    with psycopg.connect(shop.server.conninfo_of("shop")) as conn:
        assert conn.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)


def test_documented_source_with_a_named_publication(published: World) -> None:
    found = published.source()
    assert codes(found, "error") == []
    assert codes(found, "warning") == ["publication_owner"]
    mended(published, published.source, "publication_owner", "warning")


@pytest.mark.parametrize("table", ["visits", "orders"])
def test_capture_can_do_what_the_check_promised(shop: World, table: str) -> None:
    """With the documented grants: publish, set identities, make the slot."""
    shop.admin(f"ALTER TABLE {table} REPLICA IDENTITY NOTHING")
    assert codes(shop.source(), "error") == []
    names = capture.Names("headrace_shop", "headrace_shop", "shop")
    with connect(shop.login) as conn:
        capture.publish(conn, names, shop.tables())
        capture.create_slot(conn, names)
        assert codes(shop.source()) == ["reread_columns"]
        capture.drop(conn, names, "shop")


SOURCE = {
    "replication": "ALTER ROLE headrace NOREPLICATION",
    "publication_create": "REVOKE CREATE ON DATABASE shop FROM headrace",
    "table_owner": "REVOKE shop_owner FROM headrace",
    "table_owner of a superuser": "ALTER TABLE orders OWNER TO postgres",
    "select_right": "REVOKE shop_owner FROM headrace;\nREVOKE SELECT ON customers, visits FROM headrace",
    "select_right on a leaf": "REVOKE shop_owner FROM headrace;\nREVOKE SELECT ON events_2025 FROM headrace",
    "sequence_right": "REVOKE shop_owner FROM headrace;\nALTER TABLE orders ALTER id ADD GENERATED ALWAYS AS IDENTITY",
    "sequence_right elsewhere": "CREATE SCHEMA back;\nCREATE SEQUENCE back.s;\nGRANT SELECT ON back.s TO headrace;\n"
    "ALTER TABLE orders ALTER id SET DEFAULT nextval('back.s')",
    "schema_usage": "CREATE SCHEMA back;\nCREATE TABLE back.t (id int PRIMARY KEY)",
    "row_security": "ALTER TABLE customers OWNER TO postgres;\nALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    "row_security forced": "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;\n"
    "ALTER TABLE orders FORCE ROW LEVEL SECURITY",
    "replica_identity of a leaf": "ALTER TABLE events_2025 REPLICA IDENTITY NOTHING",
    "keyless_type": "ALTER TABLE visits ADD COLUMN tags text[]",
    "unlogged": "ALTER TABLE orders SET UNLOGGED",
}


@pytest.mark.parametrize("case", SOURCE)
def test_source_finding_and_its_fix(shop: World, case: str) -> None:
    shop.admin(SOURCE[case])
    mended(shop, shop.source, case.split(maxsplit=1)[0])


def test_sequences_that_nothing_follows_need_no_right(shop: World) -> None:
    shop.admin(SOURCE["sequence_right"])
    assert "sequence_right" not in codes(shop.source(sequences=()))


SOURCE_WARNINGS = {
    "slot_wal_limit": "ALTER SYSTEM SET max_slot_wal_keep_size = '4GB';\nSELECT pg_reload_conf()",
    "slot_idle_limit": "ALTER SYSTEM SET idle_replication_slot_timeout = '1d';\nSELECT pg_reload_conf()",
}


@pytest.mark.parametrize("case", SOURCE_WARNINGS)
def test_source_warning_and_its_fix(shop: World, case: str) -> None:
    if case == "slot_idle_limit" and shop.server.version != "18":
        pytest.skip("came with 18")
    shop.admin(SOURCE_WARNINGS[case])
    mended(shop, shop.source, case, "warning")


def test_statistics_hidden(shop: World) -> None:
    shop.admin("REVOKE pg_read_all_stats FROM headrace")
    mended(shop, shop.source, "statistics_hidden", "info")


def test_replica_identity_is_kept_on_request(shop: World) -> None:
    mended(shop, lambda: shop.source(replica_identity="keep"), "replica_identity")


@pytest.mark.parametrize("table", ["orders", "visits"])
def test_replica_identity_nothing(shop: World, table: str) -> None:
    shop.admin(f"ALTER TABLE {table} REPLICA IDENTITY NOTHING")
    found = [f for f in shop.source() if f.code == "replica_identity" and f.subject == f"public.{table}"]
    assert [f.severity for f in found] == ["info"]
    mended(shop, lambda: shop.source(replica_identity="keep"), "replica_identity")


def test_key_by_unique_index(shop: World) -> None:
    shop.admin("ALTER TABLE visits ALTER page SET NOT NULL;\nCREATE UNIQUE INDEX page_key ON visits (page)")
    fix = mended(shop, lambda: shop.source(replica_identity="keep"), "replica_identity").fix
    assert fix == 'ALTER TABLE "public"."visits" REPLICA IDENTITY USING INDEX "page_key";'


def test_a_policy_that_shows_all_is_no_loss(shop: World) -> None:
    shop.admin(SOURCE["row_security"])
    shop.admin("CREATE POLICY headrace ON customers FOR SELECT TO headrace USING (true)")
    assert "row_security" not in codes(shop.source())
    shop.admin("CREATE POLICY less ON customers AS RESTRICTIVE USING (id < 5)")
    assert "row_security" in codes(shop.source())


def test_full_load_only_needs_no_replication(shop: World) -> None:
    for case in ("replication", "publication_create", "unlogged", "table_owner"):
        shop.admin(SOURCE[case])
    assert codes(shop.source(mode="full_load_only")) == []


def test_every_finding_at_once(shop: World) -> None:
    for case in ("replication", "publication_create", "select_right", "unlogged", "keyless_type"):
        shop.admin(SOURCE[case])
    expected = {
        "replication", "publication_create", "select_right", "unlogged", "keyless_type", "table_owner",
        "replica_identity",
    }  # fmt: skip
    assert set(codes(shop.source(), "error")) == expected


PUBLICATION = {
    "publication_missing": "DROP PUBLICATION headrace",
    "publication_tables": "ALTER PUBLICATION headrace DROP TABLE orders",
    "publication_publish": "ALTER PUBLICATION headrace SET (publish = 'insert, update')",
    "publication_via_root": "ALTER PUBLICATION headrace SET (publish_via_partition_root = false)",
    "publication_partial by rows": "ALTER PUBLICATION headrace DROP TABLE orders;\n"
    "ALTER PUBLICATION headrace ADD TABLE orders WHERE (id > 5)",
    "publication_partial by columns": "ALTER PUBLICATION headrace DROP TABLE orders;\n"
    "ALTER PUBLICATION headrace ADD TABLE orders (id, total)",
    "replica_identity": "ALTER TABLE visits REPLICA IDENTITY DEFAULT",
}


@pytest.mark.parametrize("case", PUBLICATION)
def test_named_publication(published: World, case: str) -> None:
    published.admin(PUBLICATION[case])
    mended(published, published.source, case.split(maxsplit=1)[0])


def test_publication_of_more_tables(published: World) -> None:
    published.admin("DROP PUBLICATION headrace")
    published.admin("CREATE PUBLICATION headrace FOR ALL TABLES WITH (publish_via_partition_root = true)")
    assert codes(published.source(), "error") == []
    fewer = [t for t in published.tables() if t.name.name != "orders"]
    given = {"slot": "s", "publication": "headrace", "mode": "cdc_only", "replica_identity": "set"}
    found = checks_source.check(published.login, fewer, **given)  # type: ignore[arg-type]
    assert "public.orders" in only(found, "publication_extra").message


def test_slot_of_something_else(shop: World) -> None:
    shop.admin("SELECT pg_create_physical_replication_slot('headrace_shop')")
    mended(shop, shop.source, "slot_taken")


def test_slot_in_use(shop: World) -> None:
    shop.admin(
        "SELECT pg_create_logical_replication_slot('headrace_shop', 'pgoutput');\nCREATE PUBLICATION p"
    )
    info = psycopg.conninfo.conninfo_to_dict(shop.server.conninfo_of("shop"))
    # Not as a context manager of its own: leaving it would send COMMIT into the stream.
    with closing(psycopg.connect(**info, replication="database", autocommit=True)) as reader:  # type: ignore[arg-type]
        start = b"START_REPLICATION SLOT headrace_shop LOGICAL 0/0 (proto_version '1', publication_names 'p')"
        assert reader.pgconn.exec_(start).status == psycopg.pq.ExecStatus.COPY_BOTH
        assert only(shop.source(), "slot_active").severity == "warning"
    assert codes(shop.source(slot="Not A Slot"), "error") == ["slot_name"]


def test_lost_slot(shop: World) -> None:
    shop.admin("SELECT pg_create_logical_replication_slot('headrace_shop', 'pgoutput')")
    shop.admin("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB';\nSELECT pg_reload_conf()")
    shop.admin("CREATE TABLE t (a int);\nSELECT pg_switch_wal();\nDROP TABLE t;\nSELECT pg_switch_wal()")
    shop.admin("CHECKPOINT;\nALTER SYSTEM RESET max_slot_wal_keep_size;\nSELECT pg_reload_conf()")
    mended(shop, shop.source, "slot_lost")


def test_last_slot(shop: World) -> None:
    make = "SELECT pg_create_physical_replication_slot('s' || n) FROM generate_series(1, {}) n"
    shop.admin(make.format(19))
    assert only(shop.source(), "replication_slots_last").severity == "warning"
    shop.admin("SELECT pg_create_physical_replication_slot('last')")
    assert "s1, " in only(shop.source(), "replication_slots").message


def test_long_transaction(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_source_transactions, "LONG_TRANSACTION_S", 0)
    monkeypatch.setattr(checks_source_slot, "PROOF_TIMEOUT", "300ms")
    with psycopg.connect(shop.server.conninfo_of("shop")) as writer:
        writer.execute("INSERT INTO orders VALUES (1, 1, 1)")
        finding = mended(shop, shop.source, "long_transaction", "warning")
        assert finding.subject == str(writer.info.backend_pid)
        writer.close()


def test_hidden_long_transaction(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_source_slot, "PROOF_TIMEOUT", "300ms")
    shop.admin("REVOKE pg_read_all_stats FROM headrace")
    with psycopg.connect(shop.server.conninfo_of("shop")) as writer:
        writer.execute("INSERT INTO orders VALUES (1, 1, 1)")
        finding = only(shop.source(), "long_transaction")
        assert finding.subject == str(writer.info.backend_pid)


def test_prepared_transaction(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_source_slot, "PROOF_TIMEOUT", "300ms")
    with psycopg.connect(shop.server.conninfo_of("shop"), autocommit=True) as conn:
        conn.execute("BEGIN")
        conn.execute("INSERT INTO orders VALUES (1, 1, 1)")
        conn.execute("PREPARE TRANSACTION 'it''s mine'")
    mended(shop, shop.source, "prepared_transactions", "info")


def test_managed_services_have_their_own_ways(shop: World) -> None:
    shop.admin("CREATE ROLE rds_superuser;\nCREATE ROLE rds_replication;\nALTER ROLE headrace NOREPLICATION")
    shop.admin(SOURCE_WARNINGS["slot_wal_limit"])
    try:
        found = shop.source()
        assert only(found, "replication").fix == 'GRANT rds_replication TO "headrace";'
        limit = only(found, "slot_wal_limit")
        assert limit.fix is None
        assert "parameter group" in limit.guidance
    finally:
        shop.admin("DROP ROLE rds_superuser;\nDROP ROLE rds_replication")
        shop.admin("ALTER SYSTEM RESET max_slot_wal_keep_size;\nSELECT pg_reload_conf()")


def test_old_minor(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "old_minor" not in codes(shop.source())
    monkeypatch.setitem(checks_server.MENDED, int(shop.server.version), 99)
    assert only(shop.source(), "old_minor").severity == "warning"
    monkeypatch.setattr(checks_server, "OLDEST", 19)
    assert only(shop.source(), "version").severity == "error"


def test_server_settings() -> None:
    with PostgresServer(version="18", fsync=False) as pg:
        for name in ("wal_level", "max_replication_slots", "max_wal_senders"):
            del pg.settings[name]
        world = World(pg, "postgres")
        world.admin(
            "CREATE TABLE t (id int PRIMARY KEY);\n"
            + "CREATE ROLE headrace SUPERUSER LOGIN PASSWORD 'secret'"
        )
        for name in ("max_replication_slots", "max_wal_senders"):
            world.admin(f"ALTER SYSTEM SET {name} = 0")
        pg.restart()
        found = world.source()
        assert sorted(codes(found, "error")) == ["replication_slots", "wal_level", "wal_senders"]
        for finding in found:
            world.admin(finding.fix or "")
        pg.restart()
        assert world.source() == []
        (pg.data / "standby.signal").touch()
        pg.restart()
        assert codes(world.source(), "error") == ["standby"]
        assert "standby" in codes(world.target(routes=[route(world.tables()[0])]), "error")


def test_postgres_13_needs_a_marker_table() -> None:
    with PostgresServer(version="13", fsync=False) as pg:
        world = World(pg, "shop")
        world.admin("CREATE DATABASE shop", "postgres")
        world.admin("CREATE ROLE shop_owner")
        world.admin(TABLES)
        tables = ("customers", "orders", "events", "events_2024", "events_2025", "visits")
        world.admin("\n".join(f"ALTER TABLE {t} OWNER TO shop_owner;" for t in tables))
        world.admin(documented("source"))
        assert codes(world.source(), "error") == []
        world.admin("REVOKE CREATE ON DATABASE shop FROM headrace")
        mended(world, world.source, "marker_schema")
        world.admin("DROP SCHEMA headrace;\nCREATE SCHEMA headrace")
        mended(world, world.source, "marker_schema")
        world.admin("ALTER TABLE visits REPLICA IDENTITY FULL")
        world.admin("CREATE PUBLICATION p FOR TABLE customers, orders, events, visits "
                    "WITH (publish_via_partition_root = true)")  # fmt: skip
        mended(world, lambda: world.source(publication="p"), "marker_table")
        assert codes(world.source(publication="p"), "error") == []
        world.options["source_tables"] = world.tables()
        assert only(world.target(fresh=set()), "replication_role").fix is None


def test_documented_target(warehouse: World) -> None:
    assert warehouse.target() == []


def test_documented_target_with_schemas(empty: Callable[[str], World]) -> None:
    source = empty("shop")
    source.admin(TABLES)
    world = empty("warehouse")
    world.options["source_tables"] = source.tables()
    world.admin(documented("target-schemas"))
    assert codes(world.target(), "error", "warning") == []
    mended(world, world.target, "replication_role", "info")


TARGET = {
    "progress_schema": "REVOKE CREATE ON DATABASE warehouse FROM headrace",
    "progress_schema of another": "CREATE SCHEMA headrace",
    "temp_right": "REVOKE TEMPORARY ON DATABASE warehouse FROM headrace, public",
    "target_create": "REVOKE CREATE ON SCHEMA public FROM headrace, public",
    "target_create a schema": "DROP SCHEMA public;\nREVOKE CREATE ON DATABASE warehouse FROM headrace",
    "target_rights": "CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint, total numeric(10,2))",
    "schema_usage": "CREATE TABLE visits (page text, seen timestamptz);\n"
    "REVOKE USAGE ON SCHEMA public FROM headrace, public",
    "target_not_empty": "CREATE TABLE visits AS SELECT ''::text AS page, now() AS seen;\n"
    "ALTER TABLE visits OWNER TO headrace",
    "row_security": "CREATE TABLE visits (page text, seen timestamptz);\n"
    "ALTER TABLE visits ENABLE ROW LEVEL SECURITY",
    "target_triggers": "{visits};\nALTER TABLE visits ENABLE ALWAYS TRIGGER t",
    "target_rules": "CREATE TABLE visits (page text, seen timestamptz);\n"
    "CREATE RULE r AS ON INSERT TO visits DO ALSO NOTIFY x;\nALTER TABLE visits ENABLE ALWAYS RULE r",
}
TRIGGER = (
    "CREATE TABLE visits (page text, seen timestamptz);\nALTER TABLE visits OWNER TO headrace;\n"
    "CREATE TRIGGER t BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
)


@pytest.mark.parametrize("case", TARGET)
def test_target_finding_and_its_fix(warehouse: World, case: str) -> None:
    warehouse.admin(TARGET[case].replace("{visits}", TRIGGER))
    mended(warehouse, warehouse.target, case.split(maxsplit=1)[0])


TARGET_WARNINGS = {
    "target_owner": "CREATE TABLE visits (page text, seen timestamptz)",
    "target_unlogged": "CREATE UNLOGGED TABLE visits (page text, seen timestamptz)",
}


@pytest.mark.parametrize("case", TARGET_WARNINGS)
def test_target_warning_and_its_fix(warehouse: World, case: str) -> None:
    warehouse.admin(TARGET_WARNINGS[case])
    mended(warehouse, warehouse.target, case, "warning")


WITHOUT_ROLE = {
    "target_triggers": TRIGGER,
    "target_rules": "CREATE TABLE visits (page text, seen timestamptz);\n"
    "CREATE RULE r AS ON INSERT TO visits DO ALSO NOTIFY x",
    "target_foreign_keys": "CREATE TABLE customers (id bigint PRIMARY KEY, name text, tags text[]);\n"
    "CREATE TABLE theirs (customer bigint REFERENCES customers ON DELETE CASCADE)",
}


@pytest.mark.parametrize("case", WITHOUT_ROLE)
def test_what_acts_on_rows_without_replica_role(warehouse: World, case: str) -> None:
    warehouse.admin(WITHOUT_ROLE[case])
    assert case not in codes(warehouse.target())
    warehouse.admin("REVOKE SET ON PARAMETER session_replication_role FROM headrace")
    mended(warehouse, warehouse.target, case)


def test_the_right_mends_triggers_too(warehouse: World) -> None:
    warehouse.admin(TRIGGER + ";\nREVOKE SET ON PARAMETER session_replication_role FROM headrace")
    assert "target_triggers" in codes(warehouse.target())
    mended(warehouse, warehouse.target, "replication_role", "info")
    assert "target_triggers" not in codes(warehouse.target())


def test_target_kinds(warehouse: World) -> None:
    warehouse.admin("CREATE VIEW visits AS SELECT 1")
    assert only(warehouse.target(), "target_kind").subject == "public.visits"
    warehouse.admin(
        "DROP VIEW visits;\nCREATE TABLE p (page text, seen timestamptz) PARTITION BY LIST (page)"
    )
    warehouse.admin("CREATE TABLE visits PARTITION OF p DEFAULT")
    assert only(warehouse.target(), "target_partition").severity == "warning"


def test_target_missing_and_collision(warehouse: World) -> None:
    one, two, *_ = warehouse.options["source_tables"]
    found = warehouse.target(routes=[route(one), route(two, one.name)], create_target=False)
    assert codes(found, "error") == ["target_collision", "target_missing", "target_missing"]


def test_extension(warehouse: World) -> None:
    shop = World(warehouse.server, "shop")
    try:
        shop.admin("CREATE SCHEMA ext;\nCREATE EXTENSION citext SCHEMA ext")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("no citext on this server")
    shop.admin("CREATE TABLE mails (id int PRIMARY KEY, mail ext.citext, more ext.citext[])")
    routes = [route(t) for t in shop.tables()]

    def check() -> list[Finding]:
        return checks_target.prerequisites(shop.superuser, warehouse.login, routes)

    assert check() == []
    with psycopg.connect(warehouse.server.conninfo_of("warehouse")) as conn:
        assert conn.execute("SELECT FROM pg_extension WHERE extname = 'citext'").fetchone() is None
    warehouse.admin(
        "REVOKE CREATE ON DATABASE warehouse FROM headrace;\nCREATE SCHEMA ext AUTHORIZATION headrace"
    )
    mended(warehouse, check, "extension")


def test_type_in_a_schema_of_another(warehouse: World) -> None:
    shop = World(warehouse.server, "shop")
    shop.admin(
        "CREATE TYPE mood AS ENUM ('glad', 'sad');\nCREATE TABLE people (id int PRIMARY KEY, mood mood)"
    )
    routes = [route(t) for t in shop.tables()]
    warehouse.admin(TARGET["target_create"])
    mended(
        warehouse, lambda: checks_target.prerequisites(shop.superuser, warehouse.login, routes), "type_right"
    )


def test_encoding(empty: Callable[..., World]) -> None:
    world = empty("latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    world.admin(
        "CREATE ROLE headrace SUPERUSER LOGIN PASSWORD 'secret';\nCREATE TABLE t (id int PRIMARY KEY)"
    )
    assert codes(world.source()) == ["encoding"]
    assert codes(world.target(routes=[route(world.tables()[0], TableName("a", "b"))])) == ["encoding"]


def test_same_database(shop: World) -> None:
    login, tables = shop.login, shop.tables()
    by_name = Login("localhost", "shop", "postgres", shop.server.password or "", shop.server.port)
    finding = checks_target.same_database(login, by_name, [route(t) for t in tables])
    assert finding is not None
    assert finding.severity == "error"
    other = [route(t, TableName("copy", t.name.name)) for t in tables]
    finding = checks_target.same_database(login, by_name, other)
    assert finding is not None
    assert finding.severity == "warning"
    elsewhere = Login("127.0.0.1", "postgres", "postgres", shop.server.password or "", shop.server.port)
    assert checks_target.same_database(login, elsewhere, [route(t) for t in tables]) is None


def test_unreachable_source_still_checks_the_target(warehouse: World) -> None:
    gone = Login("127.0.0.1", "shop", "headrace", "secret", 1)
    given: Any = {"slot": "s", "publication": None, "replica_identity": "set", "mode": "cdc_only"}
    warehouse.admin("CREATE SCHEMA headrace")
    found = collect(
        at("source", lambda: checks_source.check(gone, [], **given)),
        at("target", warehouse.target),
        at("target", lambda: checks_target.same_database(gone, warehouse.login)),
    )
    assert [(f.side, f.code) for f in found] == [
        ("source", "refused"),
        ("target", "progress_schema"),
        ("target", "refused"),
    ]
