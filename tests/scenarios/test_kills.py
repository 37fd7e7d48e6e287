"""SIGKILL to each part while pgbench writes: nothing is lost, nothing is there twice, nobody has to help."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from headrace.apply.applier import Applier, Hooks
from headrace.control.preflight import login, read_routes
from headrace.entering import cluster
from headrace.store import Store
from support.lab import CANARY, PGBENCH, Lab, Pair, pgbench, pgbench_init, until

FULL = [pytest.param(20, marks=pytest.mark.full, id="full")]


@pytest.fixture
def bench(lab: Lab, pair: Pair) -> Iterator[Pair]:
    """pgbench's tables (its history has no key) and a canary on the source."""
    pgbench_init(lab.source, pair.name)
    pair.src.execute(CANARY)
    return pair


def a_moment() -> None:
    """Kills come at random, not in step with what they hit."""
    time.sleep(random.uniform(0.05, 0.8))


def loading(pair: Pair) -> bool:
    """Whether a load is under way, as the target's own rows say."""
    there = pair.tgt.execute("SELECT to_regclass('headrace.progress')").fetchone()
    if there == (None,):
        return False
    return pair.tgt.execute("SELECT 1 FROM headrace.progress WHERE state = 'loading'").fetchone() is not None


@pytest.mark.parametrize("times", [3, *FULL])
def test_worker_killed_during_load(lab: Lab, bench: Pair, times: int) -> None:
    bench.src.execute(
        "CREATE TABLE wide AS SELECT i, repeat(md5(i::text), 20) t FROM generate_series(1, 200000) i"
    )
    bench.src.execute("ALTER TABLE wide ADD PRIMARY KEY (i)")
    with pgbench(lab.source, bench.name, rate=100):
        bench.apply(wait=None)
        for _ in range(times):
            until(lambda: loading(bench) or bench.status()["phase"] == "incremental", 60, "the load")
            time.sleep(random.uniform(0, 0.5))
            lab.kill("worker")
            lab.restart("worker")
        bench.wait()
        bench.canary()
    bench.settle(*PGBENCH, "wide")


@pytest.mark.parametrize("times", [3, *FULL])
def test_worker_killed_while_it_applies(lab: Lab, bench: Pair, times: int) -> None:
    with pgbench(lab.source, bench.name, rate=300):
        bench.apply()
        for _ in range(times):
            a_moment()
            lab.kill("worker")
            lab.restart("worker")
            bench.canary()
    bench.settle(*PGBENCH)
    assert not bench.lines("new cut"), bench.log()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.full, id="full")])
def test_connect_broker_and_api_killed(lab: Lab, bench: Pair, times: int) -> None:
    with pgbench(lab.source, bench.name, rate=200):
        bench.apply()
        for name in ("connect", "kafka", "server") * times:
            a_moment()
            lab.kill(name)
            a_moment()
            lab.restart(name)
            bench.canary()
    bench.settle(*PGBENCH)
    assert not bench.lines("new cut"), bench.log()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.full, id="full")])
def test_target_server_killed(lab: Lab, bench: Pair, times: int) -> None:
    with pgbench(lab.source, bench.name, rate=200):
        bench.apply()
        for _ in range(times):
            a_moment()
            lab.target.kill()
            a_moment()
            lab.target.restart()
            bench.connect()
            bench.canary()
    bench.settle(*PGBENCH)
    assert not bench.lines("new cut"), bench.log()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.full, id="full")])
def test_source_server_killed(lab: Lab, bench: Pair, times: int) -> None:
    bench.apply()
    for _ in range(times):
        with pgbench(lab.source, bench.name, rate=200, killed=True):
            bench.canary()
            a_moment()
            lab.source.kill()
            a_moment()
            lab.source.restart()
        bench.connect()
        bench.canary()
    bench.settle(*PGBENCH)
    assert not bench.lines("new cut"), bench.log()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.full, id="full")])
@pytest.mark.parametrize("when", ["loading", "streaming"])
def test_everything_killed_at_once(lab: Lab, bench: Pair, when: str, times: int) -> None:
    bench.apply(wait="incremental" if when == "streaming" else None)
    for _ in range(times):
        with pgbench(lab.source, bench.name, rate=200, killed=True):
            if when == "streaming":
                bench.canary()
            else:
                until(lambda: loading(bench) or bench.status()["phase"] == "incremental", 60, "the load")
            a_moment()
            for name in ("worker", "server", "connect", "kafka"):
                lab.kill(name)
            lab.source.kill()
            lab.target.kill()
            lab.source.restart()
            lab.target.restart()
            for name in ("kafka", "connect", "server", "worker"):
                lab.restart(name)
        until(lab.healthy, 60, "the API server")
        bench.connect()
        bench.wait()
        bench.canary()
    bench.settle(*PGBENCH)


def another_applier(lab: Lab, pair: Pair) -> Applier:
    """An applier of the same pipeline that nobody has told to stop, as a worker cut off from its store runs one."""
    store = Store(lab.stack.settings)
    try:
        pipeline = store.pipeline(pair.name)
        source, target = (
            login(store.connection(c).spec) for c in (pipeline.spec.source, pipeline.spec.target)
        )
    finally:
        store.close()
    routes = {r.source.name: r for r in read_routes(pipeline.spec, source)}
    assert pipeline.generation is not None
    return Applier(
        pipeline=pair.name,
        kafka=cluster(lab.stack.settings),
        source=source,
        target=target,
        token=pipeline.generation["token"],
        hooks=Hooks(
            route=routes.get,
            lenient=lambda _: frozenset(),
            broken=lambda name, error: broken.append(f"{name}: {error}"),
            evolve=lambda _name, _drift: False,
            log=lambda _level, _text: None,
        ),
    )


broken: list[str] = []


def test_two_appliers_of_one_pipeline_apply_everything_once(lab: Lab, bench: Pair) -> None:
    broken.clear()
    with pgbench(lab.source, bench.name, rate=300):
        bench.apply()
        other = another_applier(lab, bench)
        thread = threading.Thread(target=other.run)
        thread.start()
        try:
            until(lambda: other.counters.events > 500, 60, "the other applier to get its share")
            bench.canary()
        finally:
            other.stop()
            thread.join(30)
    bench.settle(*PGBENCH)
    assert broken == []


@pytest.mark.full
def test_stalled_worker_finds_its_pipeline_taken_over(lab: Lab, bench: Pair) -> None:
    with pgbench(lab.source, bench.name, rate=200):
        bench.apply()
        stalled = lab.worker()
        stalled.send_signal(signal.SIGSTOP)
        try:
            lab.start("worker")
            bench.canary()
        finally:
            stalled.send_signal(signal.SIGCONT)
        until(lambda: bench.lines("another worker has taken over"), 60)
        bench.canary()
        stalled.kill()
        stalled.wait()
    bench.settle(*PGBENCH)


@pytest.mark.full
def test_connect_is_away_for_long_while_a_table_is_loaded_again(lab: Lab, bench: Pair) -> None:
    bench.apply()
    lab.kill("connect")
    asked = subprocess.Popen(
        [sys.executable, "-m", "headrace", "resync", bench.name, "public.pgbench_history"],
        env=lab.environment
        | {"HEADRACE_SERVER": f"http://127.0.0.1:{lab.port}", "HEADRACE_TOKEN": lab.token},
        stdout=subprocess.DEVNULL,
    )
    try:
        # Longer than a marker is waited for.
        time.sleep(150)
        assert bench.status()["status"] == "running"
    finally:
        lab.restart("connect")
        asked.wait(120)
    bench.canary()
    bench.settle(*PGBENCH)
