"""The fields that the data model has to carry: each is in the answers, under its name or the one that is said instead."""

from __future__ import annotations

import httpx
import pytest
from api_server import BOTH, Running

from headrace.api.app import bare_app
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store.records import TableState

# Answer -> its fields; "older=newer" where a better word is used.
FIELDS = {
    "ConnectionAnswer": "id name connection_type database_type=engine host port database username=user password schema additional_config is_active"
    " last_tested_at last_test_status created_at updated_at",
    "PipelineDetail": "id name user_id source_connection_id target_connection_id source_database source_schema=source_schemas"
    " source_tables target_database target_schema=target_schemas target_tables mode frequency_minutes enable_full_load"
    " full_load_status full_load_lsn cdc_status status phase debezium_connector_name sink_connector_name kafka_topics"
    " debezium_config sink_config auto_create_target target_table_mapping created_at updated_at",
    "PipelineConnector": "id pipeline_id name type connector_class config status tasks_max created_at updated_at",
    "UserAnswer": "id email full_name role_name=role is_active is_superuser created_at updated_at",
    "RunAnswer": "id pipeline_id run_type status started_at completed_at rows_processed errors_count error_message"
    " run_metadata",
    # Which pipeline is in the path.
    "Sample": "timestamp throughput_events_per_sec lag_seconds error_count bytes_processed source_offset target_offset"
    " connector_status",
    "LogAnswer": "id ts level component message context",
    "ConnectionTestAnswer": "id connection_id test_status response_time_ms error_message tested_at",
    "Rule": "id name metric condition threshold duration_seconds severity channels enabled created_at updated_at",
    "AlertAnswer": "id rule_id pipeline_id status message triggered_at acknowledged_at resolved_at"
    " alert_metadata=metadata",
    "AuditEntry": "id entity_type entity_id action user_id old_values new_values timestamp",
    "StatusAnswer": "name connector tasks type",
    "TaskAnswer": "id state worker_id trace",
    "StateAnswer": "state worker_id",
}


@pytest.mark.parametrize("answer", FIELDS)
def test_every_field_is_told(answer: str) -> None:
    schemas = bare_app().openapi()["components"]["schemas"]
    (found,) = (s for name, s in schemas.items() if name == answer or name.endswith(f"connectors__{answer}"))
    wanted = {word.split("=")[-1] for word in FIELDS[answer].split()}
    assert wanted <= set(found["properties"]), wanted - set(found["properties"])


@BOTH
def test_a_pipeline_tells_where_it_comes_from_and_goes_to(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    draft = api.get("pipelines/p").json()
    assert (draft["source_database"], draft["target_database"]) == ("a", "b")
    assert (draft["source_tables"], draft["debezium_config"], draft["sink_config"]) == ([], None, None)
    for source, target in (
        (("public", "users"), ("crm", "people")),
        (("public", "orders"), ("crm", "orders")),
    ):
        running.store.put_table("p", TableState(TableName(*source), TableName(*target)))
    config = {"connector.class": "x.Y", "database.password": "${dir:/secrets:a}"}
    connector = {"name": "headrace-p", "type": "source", "connector_class": "x.Y", "config": config}
    running.store.put_connectors("p", [{**connector, "status": "running", "tasks_max": 1}])
    found = api.get("pipelines/p").json()
    assert (found["source_schemas"], found["target_schemas"]) == (["public"], ["crm"])
    assert found["source_tables"] == ["public.orders", "public.users"]
    assert found["target_tables"] == ["crm.orders", "crm.people"]
    assert found["debezium_config"] == config
    (one,) = api.get("pipelines/p/connectors").json()["items"]
    assert (one["pipeline_id"], one["config"]) == (found["id"], config)


@BOTH
def test_what_belongs_to_a_row_is_named(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    own = api.get("pipelines/p").json()["id"]
    running.store.run_started("p", "load")
    assert [r["pipeline_id"] for r in api.get("pipelines/p/runs").json()["items"]] == [own]
    api.post("connections/a/test")
    tests = api.get("connections/a/tests").json()["items"]
    assert [t["connection_id"] for t in tests] == [api.get("connections/a").json()["id"]]
    rule = api.post("alerts/rules", json={"name": "r", "metric": "lag_seconds"}).json()["id"]
    running.store.raise_alert("m", rule=rule, pipeline=own)
    assert api.delete("alerts/rules/r").status_code == 204
    (alert,) = api.get("alerts/history").json()["items"]
    assert (alert["rule_id"], alert["rule"], alert["pipeline_id"], alert["pipeline"]) == (
        None,
        None,
        own,
        "p",
    )
