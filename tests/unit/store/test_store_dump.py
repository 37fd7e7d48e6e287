"""Backup and restore of the metadata: within and across SQLite and PostgreSQL, and everything that is refused."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, insert, select, text, update

from headrace.errors import Conflict, HeadraceError, Invalid, NotFound, Precondition
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store, owners, schema
from headrace.store.archive import Manifest, Reader, Writer
from headrace.store.database import connect, reading, writing
from headrace.store.dump import LEFT_OUT, backup, restore
from headrace.store.records import TableState
from headrace.store.shape import revision_of, revisions, upgrade
from support.lab import until

USERS = TableName("public", 'Weird "users" ä')
ODD = 'odd: \\ " \x01 ä 漢 🦆 \u2028'
BIG = 2**80
KINDS = ["sqlite", "postgresql"]
Rows = dict[str, list[dict[str, Any]]]
Place = Callable[[str], Settings]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Settings of a new, empty place of a kind; all have the same key."""
    key = Fernet.generate_key().decode()

    def make(kind: str) -> Settings:
        data = tmp_path / f"place-{len(list(tmp_path.iterdir()))}"
        data.mkdir()
        (data / "secret.key").write_text(key)
        if kind == "sqlite":
            return Settings(data)
        return Settings(data, database_url=request.getfixturevalue("fresh_url")("template0"))

    return make


@pytest.fixture
def filled(place: Place, connection: ConnectionSpec) -> Callable[[str], Settings]:
    """A place with something in every table."""

    def make(kind: str) -> Settings:
        settings = place(kind)
        store = Store(settings)
        fill(store, connection)
        store.close()
        return settings

    return make


def fill(store: Store, connection: ConnectionSpec) -> None:
    store.put_connection("a", connection, references={"password": "${env:PW}"})
    store.put_connection("b", connection.model_copy(update={"database": ODD}))
    store.put_pipeline("p", PipelineSpec(source="a", target="b"))
    store.put_pipeline("gone", PipelineSpec(source="a", target="b"))
    store.remove_pipeline("gone")
    store.put_table("p", TableState(USERS, USERS, "live", 2**40, 3))
    for n in range(3):
        store.log("p", "info", "test", f"{ODD} {n}", number=BIG, nothing=None, deep=[{"a": 1.5}])
    store.add_connection_test("a", "ok", 12.25, None)
    store.audit("pipeline", "x", "updated", old={"a": True}, new={"a": None})
    store.ask("p", "verify", {"table": None})
    user = store.add_user("admin@example.org", ODD, "admin", "$hash$")
    ends = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    store.add_token("0" * 36, user.id, "t", "h" * 64, ["*"], ends)
    store.begin_session("0" * 36, user.id, "r" * 64, 60, "agent", "1.2.3.4")
    store.put_alert_channel(
        None,
        {"name": "c", "kind": "webhook", "config": {}, "enabled": False},
        {"url": "https://hooks.example/s3cret"},
    )
    at = datetime(2026, 3, 29, 2, 30, 0, 1, UTC)
    with store._writing() as transaction:
        pipeline = transaction.execute(
            select(schema.pipelines.c.id).where(schema.pipelines.c.name == "p")
        ).scalar_one()
        transaction.execute(
            insert(schema.pipeline_metrics).values(
                pipeline_id=pipeline,
                timestamp=at,
                throughput_events_per_sec=0.1 + 0.2,
                error_count=0,
                bytes_processed=2**62,
                connector_status={"state": ODD},
            )
        )
        transaction.execute(insert(schema.events).values(id=41, ts=at, kind="status", data={"n": 1}))
    store.acquire("lease", "me", 0.0)


def content(settings: Settings) -> Rows:
    """Everything that a backup carries, by the test's own queries."""
    engine = connect(settings.metadata_url)
    found: Rows = {}
    with reading(engine) as connection:
        for table in schema.metadata.sorted_tables:
            if table.name not in LEFT_OUT:
                query = select(table).order_by(*table.primary_key.columns)
                found[table.name] = [dict(row) for row in connection.execute(query).mappings()]
    engine.dispose()
    return found


def without_note(rows: Rows) -> Rows:
    audits = [r for r in rows["audit_logs"] if (r["entity_type"], r["action"]) != ("metadata", "restored")]
    assert len(rows["audit_logs"]) - len(audits) <= 1
    return {**rows, "audit_logs": audits}


def taken(settings: Settings) -> io.BytesIO:
    out = io.BytesIO()
    backup(settings, out)
    return out


def code_of(error: pytest.ExceptionInfo[HeadraceError]) -> str:
    return error.value.code


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_everything_comes_back(filled: Place, place: Place, here: str, there: str) -> None:
    before, after = filled(here), place(there)
    manifest = restore(after, taken(before))
    assert without_note(content(after)) == content(before)
    store = Store(after)
    spec = store.connection("a").spec
    assert spec.password is not None
    assert spec.password.get_secret_value() == "hunter2"
    assert store.alert_channels()[0].secrets == {"url": "https://hooks.example/s3cret"}
    assert store.logs("p")[0].context["number"] == BIG
    note = store.audits()[0][0]
    assert (note.entity_type, note.action) == ("metadata", "restored")
    assert note.new is not None
    assert note.new["rows"] == manifest.rows
    store.close()


@pytest.mark.parametrize("there", KINDS)
def test_new_rows_get_fresh_numbers(filled: Place, place: Place, there: str) -> None:
    before, after = filled("sqlite"), place(there)
    restore(after, taken(before))
    numbered = ("pipeline_logs", "audit_logs", "connection_tests", "events")
    highest = {name: max(r["id"] for r in content(after)[name]) for name in numbered}
    store = Store(after)
    with store._writing() as transaction:
        happened = {"ts": datetime.now(UTC), "kind": "status", "data": {}}
        transaction.execute(insert(schema.events).values(**happened))
        now = transaction.execute(select(func.max(schema.events.c.id))).scalar_one()
    assert now == highest["events"] + 1
    store.log("p", "info", "test", "new")
    store.audit("pipeline", "x", "new")
    store.add_connection_test("a", "ok", 1.0, None)
    store.ask("p", "verify")
    store.close()
    found = content(after)
    assert all(max(r["id"] for r in found[name]) == highest[name] + 1 for name in numbered[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_events_are_not_given_again(filled: Place, kind: str) -> None:
    settings = filled(kind)
    old = taken(settings)
    store = Store(settings)
    happened = {"ts": datetime.now(UTC), "kind": "status", "data": {}}
    with store._writing() as transaction:
        transaction.execute(insert(schema.events), [happened] * 8)
        last = transaction.execute(select(func.max(schema.events.c.id))).scalar_one()
        transaction.execute(text("DELETE FROM events"))
    store.close()
    restore(settings, old, replace=True)
    store = Store(settings)
    with store._writing() as transaction:
        transaction.execute(insert(schema.events).values(**happened))
        number = transaction.execute(select(func.max(schema.events.c.id))).scalar_one()
    store.close()
    assert number == last + 1


@pytest.mark.parametrize("kind", KINDS)
def test_who_was_logged_in_has_to_log_in_again(filled: Place, kind: str) -> None:
    settings = filled(kind)
    file = taken(settings)
    restore(settings, file, replace=True)
    engine = connect(settings.metadata_url)
    with reading(engine) as connection:
        for name in LEFT_OUT:
            assert not connection.execute(select(schema.metadata.tables[name])).all()
    engine.dispose()
    assert not LEFT_OUT & Reader(file, [key_of(settings)]).manifest.tables.keys()


def key_of(settings: Settings) -> str:
    return settings.key_file.read_text().strip()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_kept_unless_it_is_to_be_replaced(filled: Place, kind: str) -> None:
    settings = filled(kind)
    file = taken(settings)
    store = Store(settings)
    store.put_pipeline("later", PipelineSpec(source="a", target="b"))
    store.close()
    before = content(settings)
    with pytest.raises(Conflict) as error:
        restore(settings, file)
    assert (code_of(error), content(settings)) == ("not_empty", before)
    restore(settings, file, replace=True)
    assert {r["name"] for r in content(settings)["pipelines"]} == {"p", "gone"}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_restored_under_a_running_worker(filled: Place, place: Place, kind: str) -> None:
    file, settings = taken(filled(kind)), place(kind)
    store = Store(settings)
    store.beat("worker", "me", 4711)
    with pytest.raises(Precondition, match="process 4711") as error:
        restore(settings, file)
    assert code_of(error) == "still_running"
    with store._writing() as transaction:
        transaction.execute(update(schema.beats).values(seen_at=datetime.now(UTC) - timedelta(minutes=1)))
    store.acquire("pipeline p", "me", 60)
    with pytest.raises(Precondition, match="the holder of pipeline p"):
        restore(settings, file)
    restore(settings, file, force=True)
    assert store.pipeline("p").name == "p"
    assert store.holder("pipeline p") is None
    store.close()


def test_a_worker_that_ended_here_is_no_sign_of_life(filled: Place, place: Place) -> None:
    file, settings = taken(filled("sqlite")), place("sqlite")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    store = Store(settings)
    store.beat("worker", f"{owners.place()}-{process.pid}-abcd", process.pid)
    store.acquire("pipeline p", f"{owners.place()}-{process.pid}-abcd", 60)
    store.close()
    restore(settings, file)


def test_a_key_that_does_not_fit_is_told(filled: Place, place: Place) -> None:
    file = taken(filled("sqlite"))
    other = place("sqlite")
    other.key_file.write_text(Fernet.generate_key().decode())
    with pytest.raises(Precondition) as error:
        restore(other, file)
    assert code_of(error) == "secret_key"
    assert error.value.context["wanted"] != error.value.context["here"]
    other.key_file.unlink()
    with pytest.raises(Precondition) as error:
        restore(other, file)
    assert code_of(error) == "secret_key"
    assert list(other.data.iterdir()) == []


def test_secrets_of_a_key_that_is_gone_stop_a_restore(
    filled: Place, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = filled("sqlite")
    old, new = key_of(settings), Fernet.generate_key().decode()
    monkeypatch.setenv("HEADRACE_SECRET_KEY", f"{new},{old}")
    file = taken(settings)
    after = place("sqlite")
    monkeypatch.setenv("HEADRACE_SECRET_KEY", new)
    with pytest.raises(Precondition) as error:
        restore(after, file)
    assert code_of(error) == "secret_key"
    monkeypatch.setenv("HEADRACE_SECRET_KEY", f"{new},{old}")
    restore(after, file)


def test_no_secret_is_in_a_backup_in_clear(filled: Place) -> None:
    settings = filled("sqlite")
    file = taken(settings)
    with zipfile.ZipFile(file) as archive:
        inside = b"".join(archive.read(name) for name in archive.namelist())
    assert b"hooks.example" not in inside
    assert b"hunter2" not in inside
    assert key_of(settings).encode() not in inside
    assert b"admin@example.org" in inside


def test_a_backup_that_ends_early_is_none() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": 1}
        raise RuntimeError("the database went away")

    out = io.BytesIO()
    with pytest.raises(RuntimeError), Writer(out) as writer:
        writer.table("users", rows())
    assert not zipfile.is_zipfile(out)


def test_there_has_to_be_something_to_back_up(place: Place, tmp_path: Path) -> None:
    for kind in KINDS:
        settings = place(kind)
        with pytest.raises(NotFound) as error:
            taken(settings)
        assert code_of(error) == "no_metadata"
        assert [f.name for f in settings.data.iterdir()] == ["secret.key"]
    with pytest.raises(Precondition):
        taken(Settings(tmp_path))


# --- files that are no backup


def repacked(file: io.BytesIO, change: Callable[[dict[str, bytes]], None]) -> io.BytesIO:
    """The same archive with other content, as somebody would make it who knows the format."""
    with zipfile.ZipFile(file) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    change(inside)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, held in inside.items():
            archive.writestr(name, held)
    return out


def with_row(inside: dict[str, bytes]) -> None:
    inside["tables/users.jsonl"] = inside["tables/users.jsonl"].replace(b"admin@", b"enemy@")


def with_digest(inside: dict[str, bytes]) -> None:
    import hashlib

    with_row(inside)
    manifest = json.loads(inside["manifest.json"])
    manifest["tables"]["users"]["sha256"] = hashlib.sha256(inside["tables/users.jsonl"]).hexdigest()
    inside["manifest.json"] = json.dumps(manifest).encode()


def with_more(inside: dict[str, bytes]) -> None:
    inside["tables/sessions.jsonl"] = b"{}\n"


def with_less(inside: dict[str, bytes]) -> None:
    del inside["tables/users.jsonl"]


def without_manifest(inside: dict[str, bytes]) -> None:
    del inside["manifest.json"]


def with_another_manifest(inside: dict[str, bytes]) -> None:
    inside["manifest.json"] = b'{"format": 1}'


def with_no_json(inside: dict[str, bytes]) -> None:
    inside["manifest.json"] = b"\xff"


@pytest.mark.parametrize(
    "change",
    [with_row, with_digest, with_more, with_less, without_manifest, with_another_manifest, with_no_json],
)
def test_a_changed_backup_is_refused(
    filled: Place, place: Place, change: Callable[[dict[str, bytes]], None]
) -> None:
    file, after = repacked(taken(filled("sqlite")), change), place("sqlite")
    with pytest.raises(Invalid) as error:
        restore(after, file)
    assert code_of(error) == "bad_backup"
    assert [f.name for f in after.data.iterdir()] == ["secret.key"]


def test_a_damaged_backup_is_refused_wherever_the_damage_is(filled: Place, place: Place) -> None:
    before, after = filled("sqlite"), place("sqlite")
    whole, held_there = taken(before).getvalue(), content(before)
    cut = [whole[:n] for n in range(0, len(whole), 211)]
    assert {outcome(after, held) for held in cut} == {"bad_backup"}
    for n in range(0, len(whole), 97):
        said = outcome(after, whole[:n] + bytes([whole[n] ^ 0x55]) + whole[n + 1 :])
        # Some bytes mean nothing: times of files, their rights.
        assert said in ("bad_backup", "newer_backup", "secret_key", "restored")
        assert said != "restored" or without_note(content(after)) == held_there
    for held in (b"", b"no backup at all", b"PK\x05\x06" + bytes(18)):
        with pytest.raises(Invalid) as refused:
            restore(after, io.BytesIO(held))
        assert code_of(refused) == "bad_backup"


def outcome(settings: Settings, held: bytes) -> str:
    try:
        restore(settings, io.BytesIO(held), replace=True)
    except (Invalid, Precondition) as error:
        return error.code
    return "restored"


@pytest.mark.parametrize("change", [{"format": 2, "more": []}, {"revision": "9999"}])
def test_a_backup_of_a_later_program_is_refused(
    filled: Place, place: Place, change: Mapping[str, Any]
) -> None:
    before, after = filled("sqlite"), place("sqlite")
    out = taken(before)

    def later(inside: dict[str, bytes]) -> None:
        raw = {**json.loads(inside["manifest.json"]), "headrace": "99.1", **change}
        if raw["format"] == 1:
            raw = Manifest.model_validate(raw).sealed([key_of(before)]).model_dump(mode="json")
        inside["manifest.json"] = json.dumps(raw).encode()

    with pytest.raises(Precondition, match=r"99\.1") as error:
        restore(after, repacked(out, later))
    assert code_of(error) == "newer_backup"


def test_rows_that_do_not_fit_the_shape_are_refused(filled: Place, place: Place) -> None:
    after, key = place("sqlite"), key_of(filled("sqlite"))
    for table, row in (("users", {"id": "x"}), ("nothing", {"id": "x"}), ("users", ["no row"])):
        out = io.BytesIO()
        with Writer(out) as writer:
            writer.table(table, [row])  # type: ignore[list-item]
            writer.finish("1", revisions()[-1], datetime.now(UTC), [key])
        with pytest.raises(Invalid) as error:
            restore(after, out)
        assert code_of(error) == "bad_backup"


def test_texts_that_postgresql_cannot_hold(filled: Place, place: Place) -> None:
    before = filled("sqlite")
    store = Store(before)
    store.log("p", "info", "test", "nul \0 inside")
    store.close()
    after = place("postgresql")
    restore(after, taken(before))
    assert content(after)["pipeline_logs"][-1]["message"] == "nul \ufffd inside"
    store = Store(before)
    with store._writing() as transaction:
        transaction.execute(update(schema.pipeline_logs).values(component="x" * 100))
    store.close()
    kept = content(after)
    with pytest.raises(Invalid) as error:
        restore(after, taken(before), replace=True)
    assert (code_of(error), content(after)) == ("does_not_fit", kept)


# --- older shapes


AT = "'2026-01-01 12:00:00.000005'"
OLD_ROWS = (
    (
        "connections",
        "id, name, database_type, secrets, secret_references, additional_config, is_active, created_at, updated_at",
        f"'c', 'a', 'postgres', '', '{{}}', '{{}}', true, {AT}, {AT}",
    ),
    (
        "pipelines",
        "id, name, source_connection_id, target_connection_id, mode, spec, spec_version, applied_version, desired,"
        " flags, status, created_at, updated_at",
        f"'p', 'p', 'c', 'c', 'cdc_only', '{{}}', 1, 1, 'stopped', '{{}}', 'stopped', {AT}, {AT}",
    ),
    (
        "pipeline_metrics",
        "id, pipeline_id, timestamp, error_count, bytes_processed",
        f"3, 'p', {AT}, 0, 1",
    ),
    (
        "audit_logs",
        "id, entity_type, entity_id, action, new_values, timestamp",
        f"7, 'pipeline', 'x', 'created', '{{\"a\": 1}}', {AT}",
    ),
)


@pytest.mark.parametrize("revision", revisions()[:-1])
@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_an_older_backup_is_carried_along(
    place: Place, filled: Place, revision: str, here: str, there: str
) -> None:
    old = place(here)
    engine = connect(old.metadata_url)
    at = datetime(2026, 1, 1, 12, 0, 0, 5, UTC)
    with writing(engine) as connection:
        upgrade(connection, revision)
        for table, columns, values in OLD_ROWS:
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"))
    engine.dispose()
    file = taken(old)
    for after, replacing in ((place(there), False), (filled(there), True)):
        restore(after, file, replace=replacing)
        engine = connect(after.metadata_url)
        with reading(engine) as connection:
            assert revision_of(connection) == revisions()[-1]
        engine.dispose()
        found = content(after)
        assert found["users"] == []
        assert [(r["name"], r["version"]) for r in found["connections"]] == [("a", 1)]
        assert [(r["id"], r["resolution"]) for r in found["pipeline_metrics"]] == [(3, 10)]
        first = found["audit_logs"][0]
        assert (first["id"], first["new_values"], first["timestamp"]) == (7, {"a": 1}, at)
        store = Store(after)
        store.audit("pipeline", "x", "new")
        store.close()
        assert [r["id"] for r in content(after)["audit_logs"]] == [7, 8, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_a_later_program_is_left_alone(filled: Place, kind: str) -> None:
    settings = filled(kind)
    file = taken(settings)
    engine = connect(settings.metadata_url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Precondition) as error:
        restore(settings, file, replace=True, force=True)
    assert code_of(error) == "newer_metadata"
    engine.dispose()


# --- while others work


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_sees_one_state_while_four_write(
    place: Place, connection: ConnectionSpec, kind: str
) -> None:
    """Each transaction writes a line and their number: a backup that sees half of one is found out."""
    settings = place(kind)
    store = Store(settings)
    store.put_connection("a", connection)
    store.put_connection("b", connection.model_copy(update={"database": "b"}))
    names = [f"p{n}" for n in range(4)]
    ids = {n: store.put_pipeline(n, PipelineSpec(source="a", target="b")).id for n in names}
    end, written = threading.Event(), dict.fromkeys(names, 0)

    def write(name: str) -> None:
        while not end.is_set():
            with store._writing() as transaction:
                line = {"ts": datetime.now(UTC), "level": "info", "component": "test", "context": {}}
                rows = [{**line, "pipeline_id": ids[name], "message": ODD * 5} for _ in range(20)]
                written[name] += 20
                transaction.execute(insert(schema.pipeline_logs), rows)
                counted = update(schema.pipelines).where(schema.pipelines.c.id == ids[name])
                transaction.execute(counted.values(flags={"lines": written[name]}))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(write, name) for name in names]
        try:
            until(lambda: min(written.values()) > 100, 60, "lines of all")
            files = [taken(settings) for _ in range(5)]
        finally:
            end.set()
        for each in running:
            each.result()
    store.close()
    seen = []
    for file in files:
        reader = Reader(file, [key_of(settings)])
        reader.check()
        lines = [row["pipeline_id"] for row in reader.rows("pipeline_logs")]
        counts = {row["id"]: row["flags"]["lines"] for row in reader.rows("pipelines")}
        assert counts == {id_: lines.count(id_) for id_ in ids.values()}
        seen.append(len(lines))
    assert seen == sorted(set(seen))


RESTORE = """
import sys
from pathlib import Path
from headrace.settings import Settings
from headrace.store.dump import restore
with open(sys.argv[1], "rb") as file:
    restore(Settings(Path(sys.argv[2]), database_url=sys.argv[3]), file, replace=True)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_that_is_killed_leaves_what_was_there(
    filled: Place, place: Place, connection: ConnectionSpec, tmp_path: Path, kind: str
) -> None:
    file, settings = tmp_path / "backup", filled(kind)
    file.write_bytes(large(place(kind), connection).getvalue())
    before = content(settings)
    words = [sys.executable, "-c", RESTORE, str(file), str(settings.data), settings.database_url]
    for _ in range(2):
        with subprocess.Popen(words) as process:
            until(lambda: in_the_middle(settings), 60, "the middle of the restore")
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        until(lambda: not in_the_middle(settings), 30, "the end of the transaction")
        assert content(settings) == before
    with file.open("rb") as whole:
        restore(settings, whole, replace=True)
    assert len(content(settings)["pipeline_logs"]) == 40_000


def large(settings: Settings, connection: ConnectionSpec) -> io.BytesIO:
    store = Store(settings)
    store.put_connection("a", connection)
    store.put_connection("b", connection.model_copy(update={"database": "b"}))
    id_ = store.put_pipeline("p", PipelineSpec(source="a", target="b")).id
    line = {"ts": datetime.now(UTC), "level": "info", "component": "test", "message": ODD, "context": {}}
    with store._writing() as transaction:
        transaction.execute(insert(schema.pipeline_logs), [{**line, "pipeline_id": id_}] * 40_000)
    store.close()
    return taken(settings)


def in_the_middle(settings: Settings) -> bool:
    """Whether a transaction has written a good deal and not ended."""
    if not settings.database_url:
        wal = settings.data / "headrace.db-wal"
        return wal.exists() and wal.stat().st_size > 1 << 20 and locked(settings)
    engine = connect(settings.metadata_url)
    with reading(engine) as connection:
        mine = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND query LIKE 'INSERT INTO pipeline_logs%'"
        )
        found = connection.execute(mine).scalar_one()
    engine.dispose()
    return bool(found)


def locked(settings: Settings) -> bool:
    import sqlite3

    connection = sqlite3.connect(settings.data / "headrace.db", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False
