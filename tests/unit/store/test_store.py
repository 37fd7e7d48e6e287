from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.fernet import Fernet
from pydantic import SecretStr

from headrace.capture.hiding import unveiled
from headrace.errors import Bug, Conflict, Invalid, NotFound, Precondition, Unavailable
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.database import open_engine, reading
from headrace.store.once import Answer
from headrace.store.records import TableState
from headrace.store.rotating import SEALED
from headrace.store.schema import metadata
from headrace.store.secrets import Cipher, cipher, create_private

USERS = TableName("public", "users")
STATE = TableState(USERS, TableName("crm", "users"))


def test_migrations_bring_about_the_schema(unmigrated: Settings) -> None:
    engine = open_engine(unmigrated.metadata_url)
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_opening_again_and_at_once_is_safe(unmigrated: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        for store in pool.map(lambda _: Store(unmigrated), range(4)):
            store.ping()
            store.close()


def test_passwords_that_were_read_are_known(store: Store, connection: ConnectionSpec) -> None:
    password = SecretStr("read-and-never-told")
    store.put_connection("a", connection.model_copy(update={"password": password}))
    assert unveiled("FATAL: no read-and-never-told here") == f"FATAL: no {MASK} here"


def test_connections_come_back_whole(store: Store, connection: ConnectionSpec) -> None:
    made = store.put_connection("a", connection, references={"password": "${env:PW}"})
    found = store.connection("a")
    assert found == made == store.connection(made.id)
    assert (found.spec, found.references) == (connection, {"password": "${env:PW}"})
    assert found.created_at.tzinfo is UTC
    assert [c.name for c in store.connections()[0]] == ["a"]


def test_changing_a_connection_keeps_its_id(store: Store, connection: ConnectionSpec) -> None:
    made = store.put_connection("a", connection)
    assert store.put_connection("a", connection) == made
    moved = store.put_connection("a", connection.model_copy(update={"host": "other"}))
    assert (moved.id, moved.spec.host) == (made.id, "other")
    assert moved.updated_at > made.updated_at


def test_secrets_are_not_stored_in_clear(tmp_path: Path, connection: ConnectionSpec) -> None:
    store = Store(Settings(tmp_path))
    store.put_connection("a", connection)
    store.close()
    stored = b"".join(f.read_bytes() for f in tmp_path.iterdir() if f.name.startswith("headrace.db"))
    assert b"shop" in stored
    assert b"hunter2" not in stored
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_keys_rotate(settings: Settings, connection: ConnectionSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    channel = {"name": "ops", "kind": "webhook", "config": {}, "enabled": True}
    for keys in (old, f"{new},{old}", new):
        monkeypatch.setenv("HEADRACE_SECRET_KEY", keys)
        store = Store(settings)
        if keys == old:
            for name in ("a", "gone"):
                store.put_connection(name, connection)
            store.delete_connection("gone")
            store.put_alert_channel(None, channel, {"url": "hook"})
            store.begin_once("u", "k", "f")
            store.end_once("u", "k", Answer("f", 201, {}, "body"))
            store.begin_once("u", "unanswered", "f")
        assert store.connection("a").spec == connection
        assert store.alert_channel("ops").secrets == {"url": "hook"}
        assert store.begin_once("u", "k", "f") == Answer("f", 201, {}, "body")
        assert store.rotate_secrets() == 3
        store.close()
    monkeypatch.setenv("HEADRACE_SECRET_KEY", old)
    store = Store(settings)
    for call in (lambda: store.connection("a"), lambda: store.alert_channel("ops"), store.rotate_secrets):
        with pytest.raises(Precondition) as caught:
            call()
        assert caught.value.code == "secret_key"
    store.close()


def test_nothing_sealed_is_left_out_of_a_rotation() -> None:
    sealed = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name in ("secrets", "answer")
    }
    assert sealed == {f"{column.table.name}.{column.name}" for column in SEALED}


def test_a_bad_key_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        Cipher(["not a key"])
    assert caught.value.code == "secret_key"


def test_two_processes_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ciphers = list(pool.map(lambda _: cipher(tmp_path / "key", {}), range(8)))
    sealed = ciphers[0].seal({"a": "b"})
    assert all(c.open(sealed) == {"a": "b"} for c in ciphers)
    assert [f.name for f in tmp_path.iterdir()] == ["key"]


def test_a_private_file_is_never_replaced(tmp_path: Path) -> None:
    create_private(tmp_path / "x", "one")
    create_private(tmp_path / "x", "two")
    assert (tmp_path / "x").read_text() == "one"


def test_used_connections_stay(store: Store, pipeline: PipelineSpec) -> None:
    with pytest.raises(Conflict) as caught:
        store.delete_connection("a")
    assert caught.value.context == {"pipelines": ["p"]}
    store.remove_pipeline("p")
    store.delete_connection("a")
    with pytest.raises(NotFound):
        store.connection("a")
    assert [c.name for c in store.connections()[0]] == ["b"]


def test_names_are_free_again_after_deletion(store: Store, pipeline: PipelineSpec) -> None:
    first = store.pipeline("p")
    store.log("p", "info", "test", "of the first")
    store.put_table("p", STATE)
    store.remove_pipeline("p")
    second = store.put_pipeline("p", pipeline)
    assert second.id != first.id
    assert store.logs("p") == []
    assert store.tables("p") == []


def test_connection_tests_are_kept(store: Store, connection: ConnectionSpec) -> None:
    store.put_connection("a", connection)
    store.add_connection_test("a", "failed", 0.0, "refused")
    store.add_connection_test("a", "ok", 12.5, None)
    assert [t.test_status for t in store.connection_tests("a")[0]] == ["ok", "failed"]
    assert store.connection("a").last_test_status == "ok"


def test_the_version_rises_only_with_the_spec(store: Store, pipeline: PipelineSpec) -> None:
    made = store.pipeline("p")
    assert (made.spec, made.spec_version, made.applied_version) == (pipeline, 1, 0)
    assert (made.desired, made.status, made.phase, made.error) == ("stopped", "draft", None, None)
    assert store.put_pipeline("p", pipeline).spec_version == 1
    changed = store.put_pipeline("p", pipeline.model_copy(update={"create_target": False}))
    assert (changed.spec_version, changed.id) == (2, made.id)
    assert store.set_applied("p", 2).applied_version == 2


def test_a_pipeline_needs_its_connections(store: Store) -> None:
    with pytest.raises(NotFound) as caught:
        store.put_pipeline("p", PipelineSpec(source="x", target="y"))
    assert caught.value.code == "no_such_connection"


def test_wishes_and_facts(store: Store, pipeline: PipelineSpec) -> None:
    store.set_status("p", "error", error={"code": "x"})
    assert store.set_status("p", "error", "seeding").error == {"code": "x"}
    wanted = store.set_desired("p", "running", status="starting")
    assert (wanted.status, wanted.phase, wanted.error) == ("starting", None, None)
    assert store.set_desired("p", "deleted", drop_target=True).flags == {"drop_target": True}
    assert store.set_status("p", "running", "seeding", None).error is None
    assert store.set_generation("p", {"slot": "s"}).generation == {"slot": "s"}
    assert store.set_generation("p", None).generation is None
    store.set_lag("p", {"events": 3})
    assert store.pipeline("p").lag == {"events": 3}


@pytest.mark.parametrize(("wanted", "found"), [(None, 1), ("running", 1), ("seeding", 1), ("paused", 0)])
def test_filters_match_status_or_phase(
    store: Store, pipeline: PipelineSpec, wanted: str | None, found: int
) -> None:
    store.set_status("p", "running", "seeding")
    assert len(store.pipelines(wanted)) == found


def test_tables(store: Store, pipeline: PipelineSpec) -> None:
    odd = TableState(
        TableName("A", 'b.c "d"'), TableName("x", "y"), "live", 5, 10, {"s": "1:2:"}, None, {"k": [1]}
    )
    store.put_table("p", STATE)
    store.put_table("p", odd)
    assert store.tables("p") == [odd, STATE]
    store.put_table("p", replace(odd, rows_loaded=10, cut=None))
    store.update_table("p", USERS, state="loading", rows_total=2**40, target=TableName("t", "u"))
    assert store.tables("p")[0].cut is None
    assert store.tables("p")[1] == TableState(USERS, TableName("t", "u"), "loading", 0, 2**40)
    store.remove_table("p", USERS)
    store.remove_table("p", USERS)
    assert [t.source for t in store.tables("p")] == [odd.source]


def test_tables_that_are_not_there(store: Store, pipeline: PipelineSpec) -> None:
    with pytest.raises(NotFound):
        store.update_table("p", USERS, state="live")
    with pytest.raises(NotFound):
        store.put_certificate("p", USERS, {})
    with pytest.raises(Bug):
        store.update_table("p", USERS, stat="live")
    with pytest.raises(NotFound):
        store.tables("nope")


def test_certificates_outlive_changes_of_state(store: Store, pipeline: PipelineSpec) -> None:
    store.put_table("p", STATE)
    assert store.certificate("p") == []
    store.put_certificate("p", USERS, {"rows": 1})
    store.put_table("p", replace(STATE, state="live"))
    assert store.certificate("p") == [{"rows": 1}]


def test_requests_are_taken_once_and_in_order(store: Store, pipeline: PipelineSpec) -> None:
    asked = [store.ask("p", "verify", {"n": n}) for n in range(20)]
    with ThreadPoolExecutor(5) as pool:
        taken = [t for t in pool.map(lambda _: store.take_request("p"), range(25)) if t]
    assert sorted(t.id for t in taken) == sorted(asked)
    assert {t.status for t in taken} == {"running"}
    assert store.take_request("p") is None
    assert store.requeue_requests("p") == 20
    first = store.take_request("p")
    assert first is not None
    assert (first.id, first.pipeline, first.kind, first.args) == (asked[0], "p", "verify", {"n": 0})


def test_requests_end_with_a_result_or_an_error(store: Store, pipeline: PipelineSpec) -> None:
    good, bad = store.ask("p", "verify"), store.ask("p", "verify")
    store.finish_request(good, {"equal": True})
    store.finish_request(bad, error={"code": "x"})
    assert (store.request(good).status, store.request(good).result) == ("done", {"equal": True})
    assert (store.request(bad).status, store.request(bad).error) == ("failed", {"code": "x"})
    assert store.request(good).finished_at is not None
    with pytest.raises(NotFound):
        store.request("nope")


def test_one_owner_per_lease(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: store.acquire("p", f"w{n}", 60), range(8)))
    assert sum(got) == 1
    owner = f"w{got.index(True)}"
    assert store.acquire("p", owner, 60)
    assert store.renew("p", owner, 60)
    assert not store.renew("p", "other", 60)
    store.release("p", "other")
    assert not store.acquire("p", "other", 60)
    store.release("p", owner)
    assert store.acquire("p", "other", 60)


def test_a_lease_that_ran_out_is_free_and_cannot_be_renewed(store: Store) -> None:
    assert store.acquire("p", "dead", 0)
    assert not store.renew("p", "dead", 60)
    assert store.acquire("p", "next", 60)
    assert not store.acquire("p", "dead", 60)


def test_signs_of_life(store: Store) -> None:
    store.beat("worker", "w1", 1)
    store.beat("worker", "w1", 2, "http://x")
    store.beat("other", "o", 3)
    beat = store.beats("worker")[0]
    assert (len(store.beats("worker")), beat.pid, beat.url) == (1, 2, "http://x")


def test_logs(store: Store, pipeline: PipelineSpec) -> None:
    for level in ("debug", "info", "warning", "error"):
        store.log("p", level, "apply", f"a {level}", table="t")
    assert [line.level for line in store.logs("p")] == ["debug", "info", "warning", "error"]
    assert [line.level for line in store.logs("p", "warning")] == ["warning", "error"]
    assert [line.level for line in store.logs("p", limit=1)] == ["error"]
    assert store.logs("p")[0].context == {"table": "t"}
    assert store.logs("p", since=datetime.now(UTC) + timedelta(seconds=5)) == []
    assert len(store.logs("p", since=datetime.now(UTC) - timedelta(minutes=5))) == 4


def test_runs_metrics_and_audit(store: Store, pipeline: PipelineSpec) -> None:
    run = store.run_started("p", "load", tables=3)
    assert store.runs("p")[0][0].status == "running"
    store.run_finished(run, "failed", rows=5, errors=1, message="x")
    done = store.runs("p")[0][0]
    assert (done.status, done.rows_processed, done.error_message, done.metadata) == (
        "failed",
        5,
        "x",
        {"tables": 3},
    )
    store.add_metrics("p", lag_seconds=0.25, bytes_processed=2**40)
    assert [m.lag_seconds for m in store.metrics("p")] == [0.25]
    assert store.metrics("p", end=datetime.now(UTC) - timedelta(minutes=1)) == []
    store.audit("pipeline", "p", "created", new={"a": 1})
    assert [(a.action, a.new, a.old) for a in store.audits()[0]] == [("created", {"a": 1}, None)]


def test_dead_letters(store: Store, pipeline: PipelineSpec) -> None:
    def add(offset: int) -> str:
        return store.add_dead_letter(
            "p",
            USERS,
            topic="t",
            offset=offset,
            key=[offset],
            cause="constraint",
            message="m",
            event={"op": "c"},
        )

    second, first = add(2), add(1)
    assert add(2) == second
    assert [d.id for d in store.dead_letters("p")[0]] == [first, second]
    with pytest.raises(NotFound):
        store.discard_dead_letters("p", [first, "nope"])
    store.discard_dead_letters("p", [first])
    found, total = store.dead_letters("p", status="waiting")
    assert ([d.id for d in found], total) == ([second], 1)
    assert store.dead_letters("p", source=TableName("x", "y")) == ([], 0)
    assert [d.id for d in store.dead_letters("p", limit=1, offset=1)[0]] == [second]
    with pytest.raises(NotFound):
        store.discard_dead_letters("p", [first])


def test_threads_share_a_store(store: Store, pipeline: PipelineSpec) -> None:
    store.put_table("p", STATE)

    def work(n: int) -> None:
        for i in range(10):
            store.update_table("p", USERS, rows_loaded=n * 10 + i)
            store.log("p", "info", "t", str(i))
            store.tables("p")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(store.logs("p")) == 60


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Store(Settings(tmp_path, database_url="postgresql://u:hunter2@127.0.0.1:1/x?connect_timeout=2"))
    assert caught.value.code == "metadata_unavailable"
    assert "hunter2" not in caught.value.message


def test_together_is_all_or_nothing(store: Store, settings: Settings, connection: ConnectionSpec) -> None:
    other = Store(settings)

    def fail() -> None:
        with store.together():
            store.put_connection("a", connection)
            with store.together():
                store.put_connection("b", connection)
            assert [c.name for c in store.connections()[0]] == ["a", "b"]
            assert other.connections()[0] == []
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.connections()[0] == []
    with store.together():
        store.put_connection("a", connection)
    assert [c.name for c in other.connections()[0]] == ["a"]
    other.close()
