"""Samples: fine ones become coarse ones, and old ones go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from headrace.spec.models import PipelineSpec
from headrace.store import Store
from headrace.store.samples import RESOLUTIONS, resolution
from headrace.store.schema import pipeline_metrics


def fill(store: Store, start: datetime, seconds: int, step: int = 10) -> None:
    """A sample every ``step`` seconds: one event each, a lag that grows by one."""
    id_ = store.pipeline("p").id
    rows = [
        {
            "pipeline_id": id_,
            "timestamp": start + timedelta(seconds=n),
            "resolution": step,
            "throughput_events_per_sec": 2.0,
            "lag_seconds": float(n),
            "events_processed": 1,
            "error_count": 0,
            "bytes_processed": 10,
        }
        for n in range(0, seconds, step)
    ]
    with store._writing() as transaction:
        transaction.execute(insert(pipeline_metrics), rows)


def test_minutes_are_made_of_their_samples_once(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    fill(store, at - timedelta(minutes=30), 1800)
    assert store.roll_up(at) == 30 + 3 + 1
    assert store.roll_up(at) == 0
    with store._reading() as transaction:
        rows = transaction.execute(
            pipeline_metrics.select().where(pipeline_metrics.c.resolution == 60).order_by("timestamp")
        ).all()
    assert [r.timestamp for r in rows] == [at - timedelta(minutes=30 - n) for n in range(30)]
    assert {(r.events_processed, r.bytes_processed, r.throughput_events_per_sec) for r in rows} == {
        (6, 60, 2.0)
    }
    assert rows[0].lag_seconds == 50.0
    fill(store, at, 60)
    assert store.roll_up(at + timedelta(seconds=59)) == 0
    assert store.roll_up(at + timedelta(seconds=60)) == 1


def test_the_finest_that_reaches_back_answers(store: Store) -> None:
    at = datetime.now(UTC)
    assert resolution(None, None) == 10
    assert resolution(at - timedelta(hours=1), None) == 10
    assert resolution(at - timedelta(hours=12), None) == 60
    assert resolution(at - timedelta(days=6), None) == 600
    assert resolution(at - timedelta(days=31), None) == 3600
    assert resolution(at - timedelta(days=1, hours=1), at - timedelta(days=1)) == 60


def test_what_is_old_goes(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime.now(UTC)
    for step, kept in RESOLUTIONS.items():
        fill(store, at - kept - timedelta(hours=1), step, step)
        fill(store, at - kept + timedelta(hours=1), step, step)
    assert store.sweep_metrics(31) == len(RESOLUTIONS)
    assert store.sweep_metrics(31) == 0
    store.log("p", "info", "t", "x")
    assert store.sweep_logs(1) == 0
    assert store.sweep_logs(-1) == 1


@pytest.mark.parametrize("name", ["p"])
def test_connectors_follow_what_is_there(store: Store, pipeline: PipelineSpec, name: str) -> None:
    one = {
        "name": "c",
        "type": "source",
        "connector_class": "x",
        "config": {},
        "status": "running",
        "tasks_max": 1,
    }
    store.put_connectors(name, [one])
    made = store.pipeline_connectors(name)[0]
    store.put_connectors(name, [one])
    assert store.pipeline_connectors(name) == [made]
    store.put_connectors(name, [{**one, "status": "failed"}])
    assert store.pipeline_connectors(name)[0].status == "failed"
    store.put_connectors(name, [])
    assert store.pipeline_connectors(name) == []
