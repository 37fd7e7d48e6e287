"""Memory of a comparison does not grow with the table."""

from __future__ import annotations

import threading
from typing import Any

import psutil
import pytest

LIMIT = 150_000_000  # bytes


@pytest.mark.full
def test_a_million_rows_of_which_all_buckets_differ(two: Any) -> None:
    two.both(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000000) i"
    )
    two.target.do("UPDATE t SET v = 'w' WHERE id % 10 = 0")
    two.both("ANALYZE t")
    process, done = psutil.Process(), threading.Event()
    start = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        table = two.one(two.route("t"))
    finally:
        done.set()
        watcher.join()
    assert table.differences_total == 100_000
    assert peak - start < LIMIT
