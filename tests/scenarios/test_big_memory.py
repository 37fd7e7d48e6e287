"""Big rows and big transactions go through in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from support.lab import Lab, Pair

MB = 1024 * 1024


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """The process's resident memory while the block runs; the answer's last value is the peak."""
    peak = [0]
    done = threading.Event()
    process = psutil.Process(pid)

    def look() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def fresh_worker(lab: Lab) -> int:
    """A worker that has not grown by other tests."""
    lab.kill("worker")
    lab.start("worker")
    return lab.worker_pid()


def run(lab: Lab, pair: Pair, rows: int, megabytes: int) -> None:
    noise = f"(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, {megabytes * 32768}))"
    pair.src.execute(
        "CREATE TABLE row (id int PRIMARY KEY, body text, raw bytea, w int DEFAULT 0);"
        "CREATE TABLE many (id int PRIMARY KEY, a int, b text, c timestamptz DEFAULT now());"
        f"INSERT INTO row SELECT 1, {noise}; INSERT INTO many SELECT i, i, 'before ' || i FROM generate_series(1, {rows}) i"
    )
    with watched(fresh_worker(lab)) as loading:
        pair.apply(timeout=600)
        pair.equal("row", "many", seconds=300)
    assert loading[0] < 300 * MB, f"loading took {loading[0] / MB:.0f} MB"
    with watched(fresh_worker(lab)) as applying:
        pair.src.execute(f"UPDATE many SET a = a + 1, b = 'after ' || id WHERE id <= {rows}")
        pair.src.execute(f"INSERT INTO row SELECT 2, {noise}")
        pair.src.execute("UPDATE row SET raw = convert_to(body, 'UTF8') WHERE id = 1; UPDATE row SET w = 1")
        pair.equal("row", "many", seconds=600)
    assert applying[0] < 500 * MB, f"applying took {applying[0] / MB:.0f} MB"


def test_big_rows_and_transactions(lab: Lab, pair: Pair) -> None:
    run(lab, pair, rows=100_000, megabytes=5)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_big_rows_and_transactions_in_full(lab: Lab, pair: Pair) -> None:
    run(lab, pair, rows=1_000_000, megabytes=20)


def test_a_backlog_that_is_small_only_while_compressed(lab: Lab, pair: Pair) -> None:
    """What a fetch brings grows by far when it is taken apart."""
    pair.src.execute(
        "CREATE TABLE row (id int PRIMARY KEY, body text);"
        "INSERT INTO row SELECT i, 'before' FROM generate_series(1, 20000) i"
    )
    pair.apply()
    pair.cli("pause", pair.name)
    pair.wait("paused")
    pair.src.execute("UPDATE row SET body = repeat(chr(97 + id % 26), 25000)")
    with watched(fresh_worker(lab)) as applying:
        pair.cli("resume", pair.name)
        pair.equal("row", seconds=300)
    assert applying[0] < 500 * MB, f"applying took {applying[0] / MB:.0f} MB"
