"""Figures, logs and health over a real server."""

from __future__ import annotations

import logging

import httpx
import pytest
from api_server import Running

from headrace.actor import Actor, acting
from headrace.spec.models import PipelineSpec


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
    running.store.set_lag("p", {"events": 3})
    text = api.get("metrics").text
    assert 'headrace_pipeline_lag_events{pipeline="p"} 3.0' in text
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
    with caplog.at_level(logging.INFO, "headrace.access"):
        assert api.get("pipelines/p/logs").status_code == 200
        assert api.get("pipelines").status_code == 200
    about = [getattr(r, "pipeline", None) for r in caplog.records if r.name == "headrace.access"]
    assert about == ["p", None]


def test_what_is_away_is_told(api: httpx.Client) -> None:
    for path, codes in (
        ("health/kafka", {"kafka_unreachable"}),
        ("health/connect", {"connect_unreachable", "connect_resting"}),
    ):
        answer = api.get(path)
        assert answer.status_code == 503
        assert answer.json()["code"] in codes
    assert api.get("monitoring/metrics").json()["process_threads"] > 0
