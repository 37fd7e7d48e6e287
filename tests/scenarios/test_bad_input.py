"""What users get wrong, through the command line: code, message, guidance, exit code, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace.local.postgres import PostgresServer
from support.lab import Lab, Pair, leftovers, until

INVALID, MISSING, PRECONDITION, UNAVAILABLE, FAILED = 2, 3, 4, 5, 1
ROLES = """
DO $$ BEGIN CREATE ROLE weak LOGIN PASSWORD 'weak'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA public TO weak;
GRANT ALL ON ALL TABLES IN SCHEMA public TO weak;
"""
WEAK = {"user": "weak", "password": "weak"}


@dataclass
class Case:
    """One mistake, and how it is answered."""

    exit: int
    code: str
    words: str
    source: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    pipeline: dict[str, Any] = field(default_factory=dict)
    source_sql: str = ""
    target_sql: str = ""


CASES = {
    "unknown key": Case(INVALID, "invalid_spec", "tabels", pipeline={"tabels": ["public.t"]}),
    "wrong type": Case(INVALID, "invalid_spec", "load.workers", pipeline={"load": {"workers": "many"}}),
    "missing connection": Case(INVALID, "invalid_spec", "nowhere", pipeline={"source": "nowhere"}),
    "wrong password": Case(PRECONDITION, "wrong_password", "password", source={"password": "wrong"}),
    "unknown host": Case(UNAVAILABLE, "unknown_host", "nohost.invalid", source={"host": "nohost.invalid"}),
    "closed port": Case(UNAVAILABLE, "refused", "refused", source={"port": 1}),
    "closed port of the target": Case(PRECONDITION, "refused", "refused", target={"port": 1}),
    "tls refused": Case(PRECONDITION, "tls", "SSL", source={"tls": "require"}),
    "unknown database": Case(MISSING, "no_such_database", "nothere", source={"database": "nothere"}),
    "no replication privilege": Case(
        PRECONDITION, "replication", "replication", source=WEAK, source_sql=ROLES
    ),
    "missing table": Case(
        INVALID, "table_not_found", "public.nothing", pipeline={"tables": ["public.nothing"]}
    ),
    "target table with other columns": Case(
        PRECONDITION,
        "target_table_differs",
        "is missing",
        target_sql="CREATE TABLE t (id int PRIMARY KEY, other text)",
    ),
    "target without the right to create": Case(
        PRECONDITION, "target_create", "weak", target=WEAK, target_sql=ROLES
    ),
    "target triggers that cannot be switched off": Case(
        PRECONDITION,
        "replication_role",
        "session_replication_role",
        target=WEAK,
        target_sql="""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            CREATE FUNCTION noise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER loud BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION noise();
            CREATE SCHEMA headrace;
            """
        + ROLES
        + "ALTER TABLE t OWNER TO weak; ALTER SCHEMA headrace OWNER TO weak; GRANT ALL ON SCHEMA public TO weak;",
    ),
    "target foreign keys that cannot be switched off": Case(
        PRECONDITION,
        "replication_role",
        "session_replication_role",
        target=WEAK,
        target_sql="""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE);
            CREATE SCHEMA headrace;
            """
        + ROLES
        + "ALTER TABLE t OWNER TO weak; ALTER SCHEMA headrace OWNER TO weak; GRANT ALL ON SCHEMA public TO weak;",
    ),
}


@pytest.fixture(scope="module")
def wrong(lab: Lab) -> Iterator[Pair]:
    """One pair of databases for all mistakes: none of them may change it."""
    with lab.pair("CREATE TABLE t (id int PRIMARY KEY, v text)") as pair:
        yield pair


@pytest.fixture
def clean(wrong: Pair) -> Iterator[Pair]:
    """The pair with an empty target, and a proof afterwards that nothing was made."""
    yield wrong
    wrong.tgt.execute("DROP SCHEMA IF EXISTS headrace CASCADE; DROP TABLE IF EXISTS child, t CASCADE")
    wrong.tgt.execute("DROP FUNCTION IF EXISTS noise")
    for conn in (wrong.src, wrong.tgt):
        if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'weak'").fetchone():
            conn.execute("DROP OWNED BY weak")


def state_of(pair: Pair) -> Any:
    """Everything on both sides that a pipeline could have made."""
    names = "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind IN ('r', 'p', 'S') ORDER BY 1, 2"
    sides = [conn.execute(names).fetchall() for conn in (pair.src, pair.tgt)]
    left = leftovers(pair.lab, pair)
    pipelines = [p["name"] for p in pair.lab.api("GET", "/status").json()["pipelines"]]
    return sides, left, pair.name in pipelines


def refused(pair: Pair, path: Path, case: Case) -> dict[str, Any]:
    """Apply a bad spec; the error that carries the code (the whole, or one of its findings)."""
    done = pair.lab.run("apply", "-f", str(path), "--json")
    assert done.returncode == case.exit, (done.returncode, done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    for found in (error, *error["context"].get("findings", []), *error["context"].get("problems", [])):
        if found.get("code") == case.code:
            assert case.words.lower() in json.dumps(found).lower(), found
            assert found.get("guidance") or found.get("fix") or error["guidance"], found
            return dict(found)
    raise AssertionError(f"no {case.code} in {done.stdout}")


@pytest.mark.parametrize("name", CASES)
def test_refused_and_nothing_changed(clean: Pair, name: str) -> None:
    case = CASES[name]
    if case.source_sql:
        clean.src.execute(case.source_sql.encode())
    if case.target_sql:
        clean.tgt.execute(case.target_sql.encode())
    before = state_of(clean)
    path = clean.spec(source=case.source, target=case.target)
    body = json.loads(path.read_text())
    body["pipelines"][clean.name].update(case.pipeline)
    path.write_text(json.dumps(body))
    refused(clean, path, case)
    assert state_of(clean) == before


def test_same_database(clean: Pair) -> None:
    before = state_of(clean)
    here = {"port": clean.lab.source.port}
    path = clean.spec(target=here)
    done = clean.lab.run("apply", "-f", str(path), "--json")
    assert done.returncode in (INVALID, PRECONDITION)
    assert "same_database" in done.stdout
    assert state_of(clean) == before


def test_two_pipelines_into_one_table(lab: Lab, pair: Pair) -> None:
    pair.src.execute("CREATE TABLE t (id int PRIMARY KEY)")
    pair.apply()
    body = json.loads(pair.spec().read_text())
    body["pipelines"] = {f"{pair.name}x": {**body["pipelines"][pair.name]}}
    path = lab.stack.settings.data / f"{pair.name}x.yaml"
    path.write_text(json.dumps(body))
    # The first heartbeat makes a topic of its own, some time after the pipeline is there.
    until(lambda: any("heartbeat" in t for t in leftovers(lab, pair)["topics"]), 30)
    before = state_of(pair)
    done = lab.run("apply", "-f", str(path), "--json")
    assert done.returncode == PRECONDITION
    assert "target_taken" in done.stdout
    assert state_of(pair) == before


@pytest.fixture(scope="module")
def odd() -> Iterator[PostgresServer]:
    """A source server that is set up badly."""
    server = PostgresServer(fsync=False, settings={"max_replication_slots": 1})
    server.start()
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        conn.execute("SELECT pg_create_physical_replication_slot('somebody')")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("settings", "standby", "code", "words"),
    [
        ({}, False, "replication_slots", "max_replication_slots"),
        ({"max_replication_slots": 5, "wal_level": "replica"}, False, "wal_level", "replica"),
        ({"wal_level": "logical"}, True, "standby", "standby"),
    ],
    ids=["no free slot", "wal_level", "standby"],
)
def test_source_servers_that_cannot_be_captured(
    clean: Pair, odd: PostgresServer, settings: dict[str, object], standby: bool, code: str, words: str
) -> None:
    odd.settings.update(settings)
    if standby:
        odd.service.stop()
        (odd.data / "standby.signal").touch()
    odd.restart()
    before = state_of(clean)
    there = {"port": odd.port, "database": "postgres", "password": odd.password}
    refused(clean, clean.spec(source=there), Case(PRECONDITION, code, words))
    assert state_of(clean) == before


def test_kafka_unreachable_at_start_and_lost_later(lab: Lab, pair: Pair) -> None:
    pair.src.execute("CREATE TABLE t (id int PRIMARY KEY)")
    before = state_of(pair)
    lab.kill("kafka")
    try:
        refused(pair, pair.spec(), Case(PRECONDITION, "kafka_unreachable", "kafka"))
    finally:
        lab.restart("kafka")
    until(lambda: lab.api("GET", "/status").json()["ready"], 60, "all components")
    assert state_of(pair) == before
    pair.apply()
    lab.kill("kafka")
    pair.src.execute("INSERT INTO t SELECT generate_series(1, 100)")
    until(lambda: pair.status()["error"], 60, "the trouble to be said")
    assert "kafka" in json.dumps(pair.status()["error"]).lower()
    assert pair.status()["status"] == "running"
    lab.restart("kafka")
    pair.settle("t")
    until(lambda: pair.status()["error"] is None, 30, "the trouble to be over")
