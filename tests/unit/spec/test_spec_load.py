from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.secrecy import MASK
from headrace.spec.durations import format_duration, parse_duration
from headrace.spec.load import connection_from, load_spec, pipeline_from, spec_from
from headrace.spec.secrets import masked, plain, references, resolve_secrets

CONNECTIONS = """\
connections:
  a: {engine: postgres, host: one, database: d, user: u, password: p}
  b: {engine: postgres, host: two, database: d, user: u, password: p}
"""
CONTRACT = (
    CONNECTIONS
    + """\
pipelines:
  shop-to-warehouse:
    source: a
    target: b
    mode: full_load_and_cdc
    tables:
      - public.*
      - name: public.users
        target: crm.users
        columns: {exclude: [ssn]}
        mask: {email: sha256, phone: null}
        where: "country = 'DE'"
    exclude: [public.audit_*]
    schema_changes: evolve
    deletes: hard
    history: false
    apply: {every: 0s}
    schedule: null
    load: {workers: 4, rows_per_second: null}
    create_target: true
    constraints: keys
    names: {slot: null, publication: null, topic_prefix: null}
    connector: {max.batch.size: 4096, provide.transaction.metadata: true}
    delivery: apply
"""
)


def problems(text: str) -> list[dict[str, Any]]:
    with pytest.raises(Invalid) as caught:
        load_spec(text, "s.yaml")
    assert caught.value.code == "invalid_spec"
    found: list[dict[str, Any]] = caught.value.context["problems"]
    assert all(p["file"] == "s.yaml" for p in found)
    assert all(p["message"] in caught.value.message for p in found)
    return found


def with_pipeline(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"{CONNECTIONS}pipelines:\n  p:\n    source: a\n    target: b\n{body}"


def only(text: str) -> dict[str, Any]:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def test_the_contract_is_accepted_in_full() -> None:
    pipeline = load_spec(CONTRACT, "s.yaml").pipelines["shop-to-warehouse"]
    assert pipeline.load.workers == 4
    assert pipeline.tables[1].mask == {"email": "sha256", "phone": "null"}
    assert pipeline.connector == {"max.batch.size": "4096", "provide.transaction.metadata": "true"}
    assert pipeline.apply.every == 0.0


def test_specs_survive_a_round_trip_through_json() -> None:
    spec = load_spec(CONTRACT, "s.yaml")
    data = {
        "connections": {n: plain(c) for n, c in spec.connections.items()},
        "pipelines": {n: p.model_dump(mode="json") for n, p in spec.pipelines.items()},
    }
    assert spec_from(data) == spec


def test_defaults() -> None:
    pipeline = load_spec(with_pipeline(), "s.yaml").pipelines["p"]
    assert (pipeline.mode, pipeline.load.workers, pipeline.replica_identity) == (
        "full_load_and_cdc",
        4,
        "set",
    )
    assert [t.name for t in pipeline.tables] == ["*.*"]


@pytest.mark.parametrize(
    ("line", "path", "code", "accepted"),
    [
        ("mod: cdc_only", "pipelines.p.mod", "unknown_key", "mode"),
        ("mode: batch", "pipelines.p.mode", "bad_value", "cdc_only"),
        ("tables: [public]", "pipelines.p.tables[0].name", "bad_name", "schema.table"),
        ("tables: []", "pipelines.p.tables", "empty", None),
        ("tables: public.users", "pipelines.p.tables", "wrong_type", None),
        ("tables: [{name: a.b, target: 'c.d*'}]", "pipelines.p.tables[0].target", "bad_name", "schema.*"),
        ("tables: [{name: a.b, mask: {e: md5}}]", "pipelines.p.tables[0].mask.e", "bad_value", "sha256"),
        ("tables: [{name: a.b, columns: {}}]", "pipelines.p.tables[0].columns", "one_of", "include"),
        ("tables: [{name: a.b, colums: 1}]", "pipelines.p.tables[0].colums", "unknown_key", "columns"),
        ("load: {workers: many}", "pipelines.p.load.workers", "wrong_type", None),
        ("load: {workers: true}", "pipelines.p.load.workers", "wrong_type", None),
        ("load: {workers: 0}", "pipelines.p.load.workers", "bad_value", None),
        ("load: 5", "pipelines.p.load", "wrong_type", "workers"),
        ("create_target: 1", "pipelines.p.create_target", "wrong_type", None),
        ("names: {slot: Upper}", "pipelines.p.names.slot", "bad_value", None),
        ("history: true", "pipelines.p.history", "not_supported_yet", False),
        ("deletes: soft", "pipelines.p.deletes", "not_supported_yet", "hard"),
        ("deletes: gone", "pipelines.p.deletes", "bad_value", "hard"),
        ("schedule: {every: 60m}", "pipelines.p.schedule", "not_supported_yet", None),
        ("apply: {every: 5m}", "pipelines.p.apply.every", "not_supported_yet", "0s"),
        ("apply: {every: 5}", "pipelines.p.apply.every", "duration", "5m"),
        ("delivery: connect", "pipelines.p.delivery", "not_supported_yet", "apply"),
        ("schema_changes: ignore", "pipelines.p.schema_changes", "not_supported_yet", "pause"),
        ("mode: cdc_only\n    mode: cdc_only", "pipelines.p.mode", "duplicate_key", None),
        ("mode:\n      - x", "pipelines.p.mode", "bad_value", "cdc_only"),
    ],
)
def test_each_problem_is_named_with_its_line(line: str, path: str, code: str, accepted: Any) -> None:
    found = only(with_pipeline(line))
    assert (found["path"], found["code"]) == (path, code)
    assert found["line"] == 8 + line.startswith("mode: cdc_only\n")
    if accepted is not None:
        assert accepted in found["accepted"]


def test_near_keys_are_suggested() -> None:
    assert "did you mean mode?" in only(with_pipeline("mod: cdc_only"))["message"]


def test_all_problems_come_at_once_in_the_order_of_lines() -> None:
    found = problems(
        with_pipeline("mode: x", "deletes: soft", "nope: 1").replace("target: b", "target: c") + "typo: 1\n"
    )
    assert [p["line"] for p in found] == sorted(p["line"] for p in found)
    assert {p["code"] for p in found} == {
        "bad_value",
        "not_supported_yet",
        "unknown_key",
        "missing_connection",
    }


def test_missing_connections_name_those_there_are() -> None:
    found = only(with_pipeline().replace("source: a", "source: z"))
    assert (found["code"], found["path"], found["accepted"]) == (
        "missing_connection",
        "pipelines.p.source",
        ["a", "b"],
    )


def test_missing_keys() -> None:
    found = problems("connections:\n  a: {engine: postgres, host: h}\n")
    assert {(p["path"], p["code"], p["line"]) for p in found} == {
        ("connections.a.database", "missing_key", 2),
        ("connections.a.user", "missing_key", 2),
    }


def test_an_engine_to_come_is_refused_without_noise_about_its_keys() -> None:
    found = only("connections:\n  a:\n    engine: s3\n    bucket: x\n")
    assert (found["code"], found["accepted"], found["line"]) == ("engine_not_yet", ["postgres"], 3)


def test_unknown_engine() -> None:
    found = only(CONNECTIONS.replace("postgres, host: two", "postgre, host: two"))
    assert (found["code"], found["line"]) == ("bad_value", 3)
    assert "postgres" in found["accepted"]


def test_bad_names() -> None:
    found = only(CONNECTIONS + "  Bad Name: {engine: postgres, host: h, database: d, user: u}\n")
    assert (found["code"], found["line"]) == ("bad_name", 4)


@pytest.mark.parametrize("text", ["a: [", "a: 1\n- b", "a: *nowhere", "\tx: 1", "a: &x {b: *x}", "a: b: c"])
def test_what_is_no_yaml(text: str) -> None:
    assert only(text)["code"] == "yaml"


@pytest.mark.parametrize("text", ["", "# nothing\n", "connections: {}\n"])
def test_an_empty_spec(text: str) -> None:
    assert only(text)["code"] == "empty"


@pytest.mark.parametrize("text", ["5", "- a", "just words", "connections: 5", "pipelines: [a]"])
def test_wrong_shapes(text: str) -> None:
    assert only(text)["code"] == "wrong_type"


def test_source_and_target_must_differ() -> None:
    same = only(with_pipeline().replace("target: b", "target: a"))
    assert (same["code"], same["path"], same["line"]) == ("same_database", "pipelines.p.target", 7)
    assert only(with_pipeline().replace("two", "ONE"))["code"] == "same_database"


def test_anchors_and_merges_work() -> None:
    spec = load_spec(
        "connections:\n"
        "  a: &base {engine: postgres, host: h, database: d, user: u}\n"
        "  b: {<<: *base, host: other}\n",
        "s.yaml",
    )
    assert (spec.connections["b"].host, spec.connections["b"].user) == ("other", "u")


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_data_is_a_spec_or_invalid(data: Any) -> None:
    for shape in (data, {"connections": data}, {"pipelines": {"p": data}}):
        try:
            read: object = spec_from(shape)
        except Invalid as error:
            read = error.context["problems"]
        assert read


def test_single_entries() -> None:
    with pytest.raises(Invalid):
        connection_from({"engine": "postgres"})
    assert pipeline_from({"source": "a", "target": "b"}).target == "b"
    with pytest.raises(Invalid):
        pipeline_from({"source": "a"})


@given(st.integers(min_value=0, max_value=10**9))
def test_durations_round_trip(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-1s", "5 m", "1x"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        parse_duration(text)


def secret(password: str) -> Any:
    return connection_from(
        {"engine": "postgres", "host": "${env:DB_HOST}", "database": "d", "user": "u", "password": password}
    )


@pytest.mark.parametrize(
    "host", ["/var/run/postgresql", "@abstract", "postgres://h", "u@h", "${env:X}/h", "a b"]
)
def test_a_host_is_no_path_and_no_url(host: str) -> None:
    data = {"engine": "postgres", "host": host, "database": "d", "user": "u"}
    with pytest.raises(Invalid) as caught:
        connection_from(data)
    (found,) = caught.value.context["problems"]
    assert (found["path"], found["code"]) == ("host", "bad_host")
    # Where it comes from may be one.
    assert connection_from({**data, "host": "${file:/run/host}"}).host == "${file:/run/host}"


def test_references_are_resolved_from_environment_and_files(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\n")
    env = {"DB_HOST": "db1", "PW": "from env"}
    resolved = resolve_secrets(secret("${env:PW}"), env)
    assert (resolved.host, resolved.password.get_secret_value()) == ("db1", "from env")
    filed = resolve_secrets(secret(f"x-${{file:{tmp_path / 'pw'}}}"), env)
    assert filed.password.get_secret_value() == "x-from file"
    assert references(resolved) == {}


@pytest.mark.parametrize("reference", ["${env:NOT_THERE}", "${file:/not/there}"])
def test_what_a_reference_does_not_find(reference: str) -> None:
    with pytest.raises(Invalid) as caught:
        resolve_secrets(secret(reference), {"DB_HOST": "h"})
    assert caught.value.code == "secret_not_found"
    assert reference in caught.value.message


def test_secrets_show_nowhere() -> None:
    connection = secret("hunter2")
    for shown in (repr(connection), str(connection), connection.model_dump_json(), str(masked(connection))):
        assert "hunter2" not in shown
    assert masked(connection)["password"] == MASK
    assert masked(connection, {"password": "${env:X}"})["password"] == "${env:X}"
    assert plain(connection)["password"] == "hunter2"


def test_secrets_stay_out_of_errors() -> None:
    with pytest.raises(Invalid) as caught:
        load_spec(CONNECTIONS.replace("password: p", "password: [hunter2]"), "s.yaml")
    assert "hunter2" not in str(caught.value.as_dict())
