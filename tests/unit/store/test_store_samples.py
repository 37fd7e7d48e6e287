"""Samples: fine ones become coarse ones, and old ones go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from headrace.spec.models import PipelineSpec
from headrace.store import Store, base
from headrace.store.samples import LATE, RESOLUTIONS, resolution
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


def made(store: Store, step: int) -> list[Any]:
    """The samples of a resolution, the oldest first."""
    of = pipeline_metrics.c
    query = pipeline_metrics.select().where(of.resolution == step).order_by(of.timestamp)
    with store._reading() as transaction:
        return list(transaction.execute(query))


def test_minutes_are_made_of_their_samples_once(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    fill(store, at - timedelta(minutes=30), 1800)
    assert store.roll_up(at + LATE) == 30 + 3 + 1
    assert store.roll_up(at + LATE) == 0
    rows = made(store, 60)
    assert [r.timestamp for r in rows] == [at - timedelta(minutes=30 - n) for n in range(30)]
    assert {(r.events_processed, r.bytes_processed, r.throughput_events_per_sec) for r in rows} == {
        (6, 60, 2.0)
    }
    assert rows[0].lag_seconds == 50.0
    fill(store, at, 60)
    assert store.roll_up(at + LATE + timedelta(seconds=59)) == 0
    assert store.roll_up(at + LATE + timedelta(seconds=60)) == 1


def test_the_first_spans_begin_where_spans_begin(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    fill(store, at - timedelta(hours=3), 3 * 3600)
    store.roll_up(at + timedelta(seconds=35) + LATE)
    first = made(store, 60)[0]
    assert (first.timestamp, first.events_processed) == (at - timedelta(hours=2) + LATE, 6)


def test_a_late_sample_counts(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    fill(store, at - timedelta(minutes=10), 590)
    store.roll_up(at + timedelta(seconds=1))
    fill(store, at - timedelta(seconds=10), 10)
    store.roll_up(at + LATE)
    assert sum(r.events_processed for r in made(store, 60)) == 60
    assert [r.events_processed for r in made(store, 600)] == [60]


def test_long_windows_end_with_what_is_not_rolled_up_yet(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime.now(UTC)
    hour = (at - timedelta(seconds=50)).replace(minute=0, second=0, microsecond=0)
    for days in (1, 7, 30):
        assert store.metrics("p", at - timedelta(days=days)) == []
    fill(store, hour - timedelta(hours=1), 3600, 600)
    fill(store, at - timedelta(seconds=50), 60)
    for days, step in ((1, 600), (7, 600), (30, 3600)):
        found = store.metrics("p", at - timedelta(days=days))
        open_ = [m for m in found if m.timestamp >= hour or step == 3600]
        assert sum(m.events_processed for m in open_) == 6, days
        assert {m.resolution for m in found} == {step}
        assert all(m.timestamp.timestamp() % step == 0 for m in found)
        assert max(m.lag_seconds or 0 for m in open_) == 50.0
    assert store.metrics("p", at - timedelta(days=30), at - timedelta(days=29)) == []
    assert len(store.metrics("p", at - timedelta(days=7), limit=1)) == 1


def test_what_is_rolled_up_is_not_told_twice(store: Store, pipeline: PipelineSpec) -> None:
    at = datetime.now(UTC)
    fill(store, at - timedelta(minutes=90), 90 * 60)
    told = 90 * 6
    for _ in range(2):
        for days in (1, 7, 30):
            found = store.metrics("p", at - timedelta(days=days))
            assert sum(m.events_processed for m in found) == told
            assert len({m.timestamp for m in found}) == len(found)
        store.roll_up(at)


def test_the_finest_that_reaches_back_answers(store: Store) -> None:
    at = datetime.now(UTC)
    assert resolution(None, None) == 10
    assert resolution(at - timedelta(hours=1), None) == 10
    assert resolution(at - timedelta(hours=12), None) == 60
    assert resolution(at - timedelta(days=7), None) == 600
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


def test_nothing_is_forgotten_in_one_long_transaction(
    store: Store, pipeline: PipelineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BATCH", 2)
    for _ in range(3):
        store.audit("pipeline", "p", "created")
        store.log("p", "info", "t", "x")
        store.add_metrics("p")
        store.add_connection_test("a", "ok", 1.0, None)
        store.finish_request(store.ask("p", "verify"))
    store.ask("p", "verify")
    fill(store, datetime.now(UTC) - RESOLUTIONS[10] - timedelta(hours=1), 30)
    for sweep in (
        lambda: store.sweep_audits(-1),
        lambda: store.sweep_logs(-1),
        lambda: store.sweep_metrics(31),
        lambda: store.sweep_connection_tests(-1),
        lambda: store.sweep_requests(-1),
    ):
        assert [sweep(), sweep(), sweep()] == [2, 1, 0]
    assert store.take_request("p") is not None


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
