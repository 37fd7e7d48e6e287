"""Lines of Kafka Connect's log find their pipelines, once each, without secrets, and not too many of them."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.actor import Actor, acting
from headrace.monitor import gather
from headrace.monitor.entries import entries
from headrace.monitor.gather import Gatherer
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.store import Store
from support.lab import until

SECRET = "planted-secret-4711"
STACK = (
    "org.apache.Outer: it failed\n\tat a.b(C.java:1)\nCaused by: java.io.EOFException: ended\n\t... 2 more\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two pipelines, ``p`` and ``q``, each with a connector."""
    opened = Store(Settings(tmp_path))
    for name in ("a", "b"):
        spec = {"engine": "postgres", "host": "db", "database": name, "user": "u", "password": SECRET}
        opened.put_connection(name, ConnectionSpec.model_validate(spec))
    for name in ("p", "q"):
        opened.put_pipeline(name, PipelineSpec(source="a", target="b"))
        opened.set_generation(name, {"connector": connector(name)})
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "connect.log"


@pytest.fixture
def gatherer(store: Store, log: Path) -> Gatherer:
    return Gatherer(store, log, "me")


def connector(pipeline: str) -> str:
    return f"headrace-{pipeline}-0000000{'pq'.index(pipeline)}"


def line(message: str, pipeline: str = "p", level: str = "ERROR", **more: Any) -> str:
    """A line of our layout."""
    told = {"ts": "2026-11-26T02:55:35.942Z", "level": level, "logger": "io.debezium.X", "message": message}
    told["context"] = f"[{connector(pipeline)}|task-0] " if pipeline else ""
    return json.dumps({**told, "stack": "", **more}) + "\n"


def write(file: Path, *lines: str) -> None:
    with file.open("a") as out:
        out.writelines(lines)


def said(store: Store, pipeline: str = "p") -> list[str]:
    return [one.message for one in store.logs(pipeline, limit=100_000)]


def test_lines_come_with_all_they_have(store: Store, log: Path, gatherer: Gatherer) -> None:
    with acting(Actor(request_id="r-1")):
        store.set_desired("p", "running")
    write(log, line("Producer failure", stack=STACK), line("of the other", "q", "WARN"), line("of none", ""))
    gatherer.look()
    (one,) = store.logs("p")
    assert (one.level, one.component, one.request_id) == ("error", "connect", "r-1")
    assert one.message == "Producer failure: org.apache.Outer: it failed (java.io.EOFException: ended)"
    assert one.ts == datetime(2026, 11, 26, 2, 55, 35, 942000, UTC)
    expected = {"logger": "io.debezium.X", "connector": connector("p"), "task": "0", "stack": STACK.strip()}
    assert one.context == expected
    assert [(o.level, o.message) for o in store.logs("q")] == [("warning", "of the other")]
    live = [e for e in store.events(0) if e.kind == "logs"]
    assert [(e.pipeline, e.data["component"]) for e in live] == [("p", "connect"), ("q", "connect")]


def test_of_info_only_the_life_of_connectors_and_tasks(store: Store, log: Path, gatherer: Gatherer) -> None:
    life = ["Creating task x", "Stopping connector x", "Starting streaming", "T{id=x-0} Source task finished initialization and start"]  # fmt: skip
    chatter = [
        "ConsumerConfig values: \n\tacks = -1",
        "Metrics scheduler closed",
        "Connected metrics set to 'true'",
    ]
    write(log, *(line(text, level="INFO") for text in [*life, *chatter]), line("x", level="DEBUG"))
    gatherer.look()
    assert said(store) == life


def test_a_warning_without_a_context_is_of_the_connector_it_names(
    store: Store, log: Path, gatherer: Gatherer
) -> None:
    both = f"{connector('p')} and {connector('q')}"
    write(log, line(f"Failed to start connector '{connector('q')}'", ""), line(both, ""))
    gatherer.look()
    assert (said(store, "p"), len(said(store, "q"))) == ([], 1)


def test_no_secret_gets_through(store: Store, log: Path, gatherer: Gatherer) -> None:
    long = "x" * (gather.MESSAGE_CHARS - 8) + SECRET
    url = f"jdbc:postgresql://db/a?user=u&password={SECRET}"
    write(log, line(f"bad {SECRET}", stack=f"java.X: {SECRET}\n\tat {url}\n"), line(long), line(url))
    gatherer.look()
    kept = [(one.message, json.dumps(one.context)) for one in store.logs("p")]
    assert len(kept) == 3
    assert MASK in kept[0][0]
    assert MASK in kept[0][1]
    assert not [text for pair in kept for text in pair if "planted" in text or "4711" in text]
    assert not [e for e in store.events(0) if "planted" in json.dumps(e.data)]


def test_kafkas_own_layout(store: Store, log: Path, gatherer: Gatherer) -> None:
    context = f"[{connector('p')}|task-0] "
    head = f"[2026-11-26 02:55:35,942] ERROR {context}two\nlines (io.debezium.X:53)\n"
    write(log, head)
    gatherer.look()
    assert said(store) == []
    write(log, STACK)
    gatherer.look()
    write(log, f"[2026-11-26 02:55:36,000] WARN {context}slow (a.B:1)\n")
    gatherer.look()
    gatherer.look()
    one, two = store.logs("p")
    assert one.message.startswith("two\nlines: org.apache.Outer")
    assert (one.context["logger"], one.context["stack"]) == ("io.debezium.X", STACK.strip())
    assert (two.level, two.message, two.context["logger"]) == ("warning", "slow", "a.B")


@pytest.mark.parametrize(
    "text",
    ["{}\n", '{"ts": 1}\n', "[1]\n", "\xff\x00\r\n\n", '{"ts":"x","level":"ERROR"}\n', '{"ts":"2026-11-26","level":[],"logger":"","message":""}\n',
     "[2026-99-26 02:55:35,942] WARN x (a:1)\n"],
)  # fmt: skip
def test_what_is_no_entry_is_passed_over(text: str) -> None:
    data = (text + line("whole") + '{"ts":"half').encode()
    found, used = entries(data, last=True)
    assert ([e.message for e in found], used) == (["whole"], data.rfind(b"\n") + 1)


def rotate_by_log4j(log: Path, most: int) -> None:
    """As its DefaultRolloverStrategy does: the newest has the highest number, the oldest goes."""
    names = [log.with_name(f"connect.{n}.log") for n in range(1, most + 1)]
    free = next((name for name in names if not name.exists()), None)
    if free is None:
        names[0].unlink()
        for older, newer in itertools.pairwise(names):
            newer.rename(older)
        free = names[-1]
    log.rename(free)


def test_rotations_lose_nothing(store: Store, log: Path, gatherer: Gatherer) -> None:
    for number in range(60):
        write(log, line(f"n {number}"))
        if number % 3 == 2:
            rotate_by_log4j(log, 5)
        if number % 7 == 0:
            gatherer.look()
    write(log, line("the last"))
    gatherer.look()
    assert said(store) == [*(f"n {number}" for number in range(60)), "the last"]


def test_files_that_are_thrown_away_before_they_are_read(store: Store, log: Path, gatherer: Gatherer) -> None:
    write(log, line("read"))
    gatherer.look()
    for number in range(9):
        write(log, line(f"n {number}"))
        rotate_by_log4j(log, 2)
    write(log, line("now"))
    gatherer.look()
    assert said(store) == ["read", "n 7", "n 8", "now"]


def test_a_file_that_is_copied_and_emptied(store: Store, log: Path, gatherer: Gatherer) -> None:
    write(log, line("one"), line("two"))
    gatherer.look()
    write(log, line("three"))
    log.with_name("connect.log.1").write_bytes(log.read_bytes())
    log.write_text("")
    write(log, line("four"))
    gatherer.look()
    assert said(store) == ["one", "two", "three", "four"]


def test_another_goes_on_where_the_first_was(store: Store, log: Path, gatherer: Gatherer) -> None:
    write(log, line("one"), line("half")[:20])
    gatherer.look()
    second = Gatherer(store, log, "another")
    write(log, line("half")[20:])
    second.look()
    assert said(store) == ["one"]
    store.release(gatherer._name, "me")
    Gatherer(store, log, "another").look()
    assert said(store) == ["one", "half"]


def test_one_that_slept_through_its_lease_writes_nothing(store: Store, log: Path, gatherer: Gatherer) -> None:
    write(log, line("one"))
    gatherer.look()
    store.release(gatherer._name, "me")
    write(log, line("two"))
    Gatherer(store, log, "another").look()
    with pytest.raises(Exception, match="in the meantime"):
        gatherer.look()
    assert said(store) == ["one", "two"]


def test_too_much_is_counted_and_told_once(
    store: Store, log: Path, gatherer: Gatherer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        log, *(line("Creating task x", level="INFO") for _ in range(1000)), line("worse"), line("other", "q")
    )
    gatherer.look()
    assert said(store) == ["Creating task x"] * (gather.LINES // 2) + ["worse"]
    assert said(store, "q") == ["other"]
    monkeypatch.setattr(gather, "WINDOW_SECONDS", 0.0)
    for _ in range(3):
        gatherer.look()
    (told,) = said(store)[gather.LINES // 2 + 1 :]
    assert told.startswith(f"{1000 - gather.LINES // 2} lines of Kafka Connect's log are left out")


def test_long_lines_are_cut_and_longer_ones_left_out(store: Store, log: Path, gatherer: Gatherer) -> None:
    write(log, line("m" * 100_000, stack="s" * 100_000), line("l" * (3 * gather.CHUNK)), line("after"))
    gatherer.look()
    one, two = store.logs("p")
    assert (len(one.message), len(one.context["stack"])) == (gather.MESSAGE_CHARS, gather.STACK_CHARS)
    assert two.message == "after"


def test_a_file_that_is_not_there_takes_no_lease(store: Store, log: Path, gatherer: Gatherer) -> None:
    gatherer.look()
    assert store.holder(gatherer._name) is None
    write(log, line("it came"))
    gatherer.look()
    assert (said(store), store.holder(gatherer._name)) == (["it came"], "me")


PROGRAM = """
import sys, threading
from pathlib import Path
from headrace.monitor import gather
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.owners import own_name
gather.LOOK_SECONDS, gather.LINES, gather.CHUNK = 0.002, 10**6, 4000
store = Store(Settings(Path(sys.argv[1])))
gather.Gatherer(store, Path(sys.argv[1]) / "connect.log", own_name()).run(threading.Event())
"""


def test_killed_again_and_again_nothing_is_gathered_twice(store: Store, log: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    number = 0

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])

    process = begin()
    try:
        write(log, line("the first"))
        until(lambda: said(store), 30, "the first line")
        for _ in range(5):
            before = len(said(store))
            for _ in range(chance.randint(5, 15)):
                if number and number % 100 == 0:
                    rotate_by_log4j(log, 50)
                write(log, *(line(f"n {n}") for n in range(number, number + 20)))
                number += 20
            until(lambda before=before: len(said(store)) > before, 30, "some lines")
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = begin()
        until(lambda: len(said(store)) > number, 60, "the rest")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert said(store) == ["the first", *(f"n {n}" for n in range(number))]
