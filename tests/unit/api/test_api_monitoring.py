"""Figures, logs and health over a real server."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from api_server import Running
from sqlalchemy import insert

from headrace.actor import Actor, acting
from headrace.spec.models import PipelineSpec
from headrace.store.schema import pipeline_metrics
from support.lab import until


def samples(
    running: Running, *rows: tuple[datetime, dict[str, Any]], step: int = 10, name: str = "p"
) -> None:
    """Samples of those instants, as a worker and the roll-up would have left them."""
    own = {"pipeline_id": running.store.pipeline(name).id, "resolution": step}
    none = {"error_count": 0, "events_processed": 0, "bytes_processed": 0}
    with running.store._writing() as transaction:
        for at, figures in rows:
            transaction.execute(insert(pipeline_metrics).values(timestamp=at, **own, **{**none, **figures}))


def told(answer: httpx.Response) -> Any:
    """The content of a good answer."""
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def test_figures_of_a_pipeline(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    running.store.set_lag("p", {"events": 3, "seconds": 0.5, "bytes": 9, "heads": {"t": [1]}})
    running.store.add_metrics("p", throughput_events_per_sec=2.0, lag_seconds=0.5, events_processed=20)
    found = api.get("pipelines/p/metrics").json()
    assert (found["resolution_seconds"], found["items"][0]["events_processed"]) == (10, 20)
    assert api.get("pipelines/p/throughput", params={"window": "24h"}).status_code == 200
    assert api.get("pipelines/p/throughput").json()["events"] == 20
    assert api.get("pipelines/p/lag").json()["now"] == {"events": 3, "seconds": 0.5, "bytes": 9}
    assert api.get("monitoring/lag").json()["events"] == 3
    assert api.get("monitoring/pipelines", params={"q": "p"}).json()["items"][0]["name"] == "p"
    window = {"start_time": "2026-01-02T00:00:00", "end_time": "2026-01-01T00:00:00"}
    assert api.get("pipelines/p/metrics", params=window).json()["code"] == "bad_window"


def test_prometheus_at_both_paths_and_only_for_those_who_may(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    state = {"state": "RUNNING", "tasks": ["RUNNING", "FAILED"]}
    sample = {"error_count": 2, "bytes_processed": 5, "connector_status": state}
    running.store.add_metrics("p", **sample)
    now = datetime.now(UTC)
    running.store.set_lag("p", {"events": 3, "latency_p99_ms": 7.5, "measured_at": now.isoformat()})
    text = api.get("metrics").text
    for line in (
        'lag_events{pipeline="p"} 3.0',
        'latency_p99_ms{pipeline="p"} 7.5',
        'errors{pipeline="p"} 2.0',
        'bytes_processed{pipeline="p"} 5.0',
        'connector_state{pipeline="p",state="RUNNING"} 1.0',
        'connector_tasks{pipeline="p",state="FAILED"} 1.0',
    ):
        assert f"headrace_pipeline_{line}" in text
    long_ago = (now - timedelta(minutes=2)).isoformat()
    running.store.set_lag("p", {"events": 3, "measured_at": long_ago})
    assert "headrace_pipeline_lag_events{" not in api.get("metrics").text
    assert "headrace_api_requests_total" in text
    assert httpx.get(f"{running.url}/metrics").status_code == 401
    assert httpx.get(f"{running.url}/metrics", headers=dict(api.headers)).status_code == 200


def test_logs_are_found_by_the_call_that_led_to_them(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    with acting(Actor("u", "ann", request_id="r-1")):
        running.store.log("p", "info", "control", "of the call")
    running.store.log("p", "error", "apply", "of another")
    found = api.get("pipelines/p/logs", params={"request_id": "r-1"}).json()["items"]
    assert [line["message"] for line in found] == ["of the call"]
    newest = api.get("pipelines/p/logs", params={"limit": 1}).json()["items"][0]
    older = api.get("pipelines/p/logs", params={"before": newest["id"]}).json()["items"]
    assert [line["message"] for line in older] == ["of the call"]


def test_every_answer_has_a_request_id(api: httpx.Client) -> None:
    assert api.get("auth/me", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = api.get("auth/me", headers={"x-request-id": "not one of ours!"}).headers["x-request-id"]
    assert len(made) == 32


def test_a_line_about_a_pipeline_names_it(
    api: httpx.Client, pipeline: PipelineSpec, caplog: pytest.LogCaptureFixture
) -> None:
    def about() -> list[str | None]:
        return [getattr(r, "pipeline", None) for r in caplog.records if r.name == "headrace.access"]

    with caplog.at_level(logging.INFO, "headrace.access"):
        assert api.get("pipelines/p/logs").status_code == 200
        assert api.get("pipelines").status_code == 200
        # The line follows the answer.
        until(lambda: len(about()) == 2, 5)
    assert about() == ["p", None]


def test_what_is_away_is_told(api: httpx.Client) -> None:
    for path, codes in (
        ("health/kafka", {"kafka_unreachable"}),
        ("health/connect", {"connect_unreachable", "connect_resting"}),
    ):
        answer = api.get(path)
        assert answer.status_code == 503
        assert answer.json()["code"] in codes
    assert api.get("monitoring/metrics").json()["process_threads"] > 0


def test_a_window_holds_the_samples_from_its_start_up_to_its_end(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    samples(
        running,
        *(
            (
                at + timedelta(seconds=10 * n),
                {"events_processed": n, "error_count": n % 2, "lag_seconds": n / 4},
            )
            for n in range(6)
        ),
    )

    def asked(**params: Any) -> list[int]:
        found = told(api.get("pipelines/p/metrics", params=params))["items"]
        assert [i["lag_seconds"] for i in found] == [i["events_processed"] / 4 for i in found]
        assert [i["error_count"] for i in found] == [i["events_processed"] % 2 for i in found]
        return [i["events_processed"] for i in found]

    start, end = at + timedelta(seconds=10), at + timedelta(seconds=40)
    assert asked() == [0, 1, 2, 3, 4, 5]
    assert asked(limit=2) == [4, 5]
    assert asked(start_time=start.isoformat(), end_time=end.isoformat()) == [1, 2, 3]
    assert asked(start_time=start.replace(tzinfo=None).isoformat()) == [1, 2, 3, 4, 5]
    assert asked(start_time=start.astimezone().isoformat(), limit=1) == [5]
    assert asked(end_time=end.isoformat()) == [0, 1, 2, 3]
    assert asked(end_time=at.isoformat()) == []
    assert asked(start_time=at.isoformat(), end_time=at.isoformat()) == []
    assert asked(start_time="0002-01-01T00:00:00Z", end_time="0002-01-01T00:00:10Z") == []
    found = told(api.get("pipelines/p/metrics", params={"end_time": end.isoformat()}))
    assert found["resolution_seconds"] == 10
    assert datetime.fromisoformat(found["items"][0]["timestamp"]) == at


def test_seven_days_come_in_ten_minutes_up_to_now(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    at = datetime.now(UTC)
    span = datetime.fromtimestamp(at.timestamp() // 600 * 600, UTC)
    coarse = [span - timedelta(minutes=10 * n) for n in range(1, 1008)]
    samples(
        running, *((t, {"events_processed": 1, "throughput_events_per_sec": 2.0}) for t in coarse), step=600
    )
    samples(running, (at, {"events_processed": 5, "bytes_processed": 50, "throughput_events_per_sec": 9.0}))
    start = (at - timedelta(days=7)).isoformat()
    found = told(api.get("pipelines/p/metrics", params={"start_time": start}))
    assert (found["resolution_seconds"], len(found["items"])) == (600, 1008)
    assert found["items"][-1]["events_processed"] == 5
    week = told(api.get("pipelines/p/throughput", params={"window": "7d"}))
    assert (week["events"], week["bytes"], week["peak_events_per_sec"]) == (1007 + 5, 50, 9.0)
    assert week["average_events_per_sec"] == pytest.approx((1007 + 5) / (7 * 86400), abs=0.001)
    assert [
        told(api.get("pipelines/p/throughput", params={"window": w}))["events"] for w in ("1h", "24h")
    ] == [
        5,
        143 + 5,
    ]


def test_throughput_is_of_its_window(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    empty = told(api.get("pipelines/p/throughput"))
    assert (empty["window"], empty["average_events_per_sec"], empty["events"]) == ("1h", None, 0)
    at = datetime.now(UTC)
    samples(
        running,
        (at - timedelta(minutes=70), {"events_processed": 1000, "throughput_events_per_sec": 100.0}),
        (at - timedelta(minutes=20), {"events_processed": 10, "throughput_events_per_sec": 1.0}),
        (at - timedelta(minutes=10), {"events_processed": 0, "throughput_events_per_sec": None}),
        (at, {"events_processed": 30, "bytes_processed": 300, "throughput_events_per_sec": 3.0}),
    )
    hour = told(api.get("pipelines/p/throughput", params={"window": "1h"}))
    assert (hour["events"], hour["bytes"]) == (40, 300)
    assert hour["average_events_per_sec"] == pytest.approx(40 / 1210, abs=0.002)
    assert hour["peak_events_per_sec"] == 3.0
    assert [i["events_per_sec"] for i in hour["items"]] == [1.0, None, 3.0]


def test_the_lag_now_and_before(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    assert told(api.get("pipelines/p/lag"))["now"] == {"events": None, "seconds": None, "bytes": None}
    at = datetime.now(UTC)
    samples(
        running,
        (at - timedelta(minutes=61), {"lag_seconds": 99.0}),
        (at - timedelta(minutes=5), {"lag_seconds": 4.5, "lag_events": 7, "lag_bytes": 2**40}),
    )
    running.store.set_lag("p", {"events": 1, "seconds": 0.5, "bytes": 2, "heads": {}})
    found = told(api.get("pipelines/p/lag"))
    assert found["now"] == {"events": 1, "seconds": 0.5, "bytes": 2}
    assert [(i["seconds"], i["events"], i["bytes"]) for i in found["items"]] == [(4.5, 7, 2**40)]


@pytest.fixture
def fleet(running: Running, pipeline: PipelineSpec) -> Running:
    """``p`` runs well, ``q`` is far behind and fails, ``r`` is a draft."""
    store = running.store
    for name in ("q", "r"):
        store.put_pipeline(name, pipeline)
    store.set_lag("p", {"events": 3, "seconds": 0.5, "bytes": 2**33, "events_per_second": 8.0})
    store.set_lag("q", {"events": 4, "seconds": 60.0, "bytes": 1})
    store.set_status("p", "running", "incremental")
    store.set_status("q", "error", None, {"code": "x", "message": "m", "guidance": "g", "context": {"a": 1}})
    store.add_metrics("p", error_count=1)
    store.add_metrics("p", error_count=2, connector_status={"state": "RUNNING", "tasks": ["RUNNING"]})
    samples(running, (datetime.now(UTC) - timedelta(minutes=3), {"error_count": 9}), name="q")
    return running


def test_all_pipelines_in_figures(fleet: Running, api: httpx.Client) -> None:
    found = told(api.get("monitoring/pipelines"))
    assert [i["name"] for i in found["items"]] == ["p", "q", "r"]
    p, q, r = found["items"]
    assert (p["status"], p["phase"], p["events_per_sec"], p["errors"], p["connector"]) == (
        "running",
        "incremental",
        8.0,
        2,
        "RUNNING",
    )
    assert p["lag"]["bytes"] == 2**33
    # What was sampled three minutes ago says nothing of now.
    assert (q["errors"], q["connector"]) == (0, None)
    assert q["error"] == {"code": "x", "message": "m", "guidance": "g"}
    assert (r["status"], r["lag"]["seconds"], r["tables"]) == ("draft", None, {})


def test_pipelines_in_figures_are_filtered_sorted_and_paged(fleet: Running, api: httpx.Client) -> None:
    asked: tuple[tuple[dict[str, Any], list[str], int], ...] = (
        ({"status": "error"}, ["q"], 1),
        ({"status": "incremental"}, ["p"], 1),
        ({"status": "paused"}, [], 0),
        ({"q": "r"}, ["r"], 1),
        ({"q": "%"}, [], 0),
        ({"sort": "-name", "limit": 2}, ["r", "q"], 3),
        ({"sort": "lag", "offset": 1}, ["q", "r"], 3),
        ({"sort": "-lag", "limit": 1}, ["q"], 3),
        ({"offset": 9}, [], 3),
    )
    for params, names, total in asked:
        found = told(api.get("monitoring/pipelines", params=params))
        assert ([i["name"] for i in found["items"]], found["total"]) == (names, total), params


def test_the_lag_of_all(fleet: Running, api: httpx.Client) -> None:
    found = told(api.get("monitoring/lag", params={"limit": 2}))
    assert [i["name"] for i in found["items"]] == ["q", "p"]
    assert {k: v for k, v in found.items() if k != "items"} == {
        "pipelines": 3,
        "events": 7,
        "bytes": 2**33 + 1,
        "worst_seconds": 60.0,
    }


def test_the_lag_of_none(api: httpx.Client) -> None:
    empty = {"pipelines": 0, "events": 0, "bytes": 0, "worst_seconds": None, "items": []}
    assert told(api.get("monitoring/lag")) == empty


def test_runs_come_newest_first_in_pages(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    ids = [running.store.run_started("p", kind) for kind in ("load", "stream", "verify")]
    running.store.run_finished(ids[0], "failed", rows=5, errors=1, message="no")
    found = told(api.get("pipelines/p/runs", params={"limit": 2, "offset": 1}))
    assert ([i["run_type"] for i in found["items"]], found["total"]) == (["stream", "load"], 3)
    last = found["items"][1]
    assert (last["status"], last["rows_processed"], last["error_message"]) == ("failed", 5, "no")


def test_logs_are_filtered(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    for level in ("debug", "info", "warning", "error"):
        running.store.log("p", level, "apply" if level == "error" else "control", level)

    def asked(**params: Any) -> list[str]:
        return [i["message"] for i in told(api.get("pipelines/p/logs", params=params))["items"]]

    assert asked() == ["debug", "info", "warning", "error"]
    assert asked(level="warning") == ["warning", "error"]
    assert asked(level="info", component="control") == ["info", "warning"]
    assert asked(limit=1) == ["error"]
    assert asked(start_time=(datetime.now(UTC) + timedelta(minutes=1)).isoformat()) == []
    assert len(asked(start_time=(datetime.now(UTC) - timedelta(minutes=1)).isoformat())) == 4


def test_what_cannot_be_asked_is_refused(api: httpx.Client, pipeline: PipelineSpec) -> None:
    asked: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("pipelines/no/metrics", {}, "no_such_pipeline"),
        ("pipelines/no/lag", {}, "no_such_pipeline"),
        ("pipelines/no/throughput", {}, "no_such_pipeline"),
        ("pipelines/no/runs", {}, "no_such_pipeline"),
        ("pipelines/no/logs", {}, "no_such_pipeline"),
        ("pipelines/no/connectors", {}, "no_such_pipeline"),
        ("pipelines/p/throughput", {"window": "2h"}, "invalid_spec"),
        ("pipelines/p/metrics", {"start_time": "yesterday"}, "invalid_spec"),
        ("pipelines/p/metrics", {"limit": 0}, "invalid_spec"),
        ("pipelines/p/metrics", {"limit": 2001}, "invalid_spec"),
        ("pipelines/p/metrics", {"end_time": "0001-01-01T00:30:00Z"}, "bad_window"),
        ("pipelines/p/metrics", {"start_time": "0001-01-01T00:00:00+14:00"}, "bad_window"),
        ("pipelines/p/metrics", {"start_time": "9999-12-31T23:59:59-14:00"}, "bad_window"),
        ("pipelines/p/logs", {"start_time": "9999-12-31T23:59:59-14:00"}, "bad_window"),
        ("audit", {"start_time": "9999-12-31T23:59:59-14:00"}, "bad_window"),
        ("pipelines/p/logs", {"level": "loud"}, "invalid_spec"),
        ("pipelines/p/logs", {"before": 0}, "invalid_spec"),
        ("pipelines/p/runs", {"offset": -1}, "invalid_spec"),
        ("pipelines/p/runs", {"offset": 2**63}, "invalid_spec"),
        ("monitoring/pipelines", {"offset": 2**63}, "invalid_spec"),
        ("connections", {"offset": 2**63}, "invalid_spec"),
        ("monitoring/pipelines", {"sort": "status"}, "invalid_spec"),
        ("monitoring/pipelines", {"limit": 1001}, "invalid_spec"),
        ("monitoring/lag", {"limit": 0}, "invalid_spec"),
    )
    for path, params, code in asked:
        status = 404 if code == "no_such_pipeline" else 422
        assert refused(api.get(path, params=params)) == (status, code), (path, params)
