"""From single runs to rows: medians, ratios, the README's tables."""

from __future__ import annotations

from bench import report
from bench.starting import FIRST, LATER
from bench.works import Run


def runs() -> list[Run]:
    return [
        *(Run("load", "headrace", seconds, 1000) for seconds in (1.0, 9.0, 2.0)),
        *(Run("load", "other", seconds, 100) for seconds in (4.0, 4.0, 4.0)),
        Run("latency", "headrace", 0.02, 30, more={"p50_ms": 20.0, "p99_ms": 50.0}),
        Run("latency", "other", 0.03, 30, more={"p50_ms": 30.0, "p99_ms": 60.0}),
        Run("start", FIRST, 20.0, 0),
        Run("start", LATER, 10.0, 0, more={"rss_mb": 1000.0}),
    ]


def found() -> dict[tuple[str, str], report.Row]:
    return {(row["work"], row["system"]): row for row in report.rows(runs(), 1.0)}


def test_the_median_counts() -> None:
    row = found()["load", "headrace"]
    assert (row["seconds"], row["rows_per_s"]) == (2.0, 500.0)
    assert [run["seconds"] for run in row["runs"]] == [1.0, 9.0, 2.0]


def test_the_ratio_is_time_per_row_in_units_of_headrace() -> None:
    assert found()["load", "headrace"]["ratio_to_headrace"] == 1.0
    assert found()["load", "other"]["ratio_to_headrace"] == 20.0


def test_latency_and_start_are_compared_by_seconds() -> None:
    assert found()["latency", "other"]["ratio_to_headrace"] == 1.5
    assert found()["start", FIRST]["ratio_to_headrace"] == 2.0
    assert found()["start", LATER]["rows_per_s"] is None


def test_a_work_that_was_not_run_keeps_its_rows() -> None:
    old = report.rows(runs(), 1.0)
    new = report.rows([Run("load", "headrace", 3.0, 1000)], 1.0)
    merged = report.merge(new, old)
    assert [r["seconds"] for r in merged if r["work"] == "load"] == [3.0]
    assert [r["work"] for r in merged][1:] == ["latency", "latency", "start", "start"]


def test_the_readme_part_names_every_system_and_nothing_is_invented() -> None:
    text = report.markdown(report.rows(runs(), 1.0))
    assert "| other | 100 | 4.0 | 25 | 20.00 |" in text
    assert "| other | 30.0 ms | 60.0 ms |" in text
    assert "1.00 GB" in text
    assert "Nothing measured yet" in report.markdown([])
    assert report.BEGIN in report.README.read_text("utf-8")
