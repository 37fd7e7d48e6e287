"""What ``headrace verify`` says of a report: never more than was compared."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.cli import data

FAILED = {"code": "x", "kind": "unavailable", "message": "nobody answers", "guidance": "Wake somebody."}


def told(capsys: pytest.CaptureFixture[str], *tables: dict[str, Any], settled: bool = True) -> str:
    whole = {"equal": all(t["equal"] for t in tables), "settled": settled, "tables": list(tables)}
    data._show_report(whole)
    return capsys.readouterr().out


def table(name: str = "public.a", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "equal": True,
        "source_rows": 5,
        "target_rows": 5,
        "differences": [],
        "differences_total": 0,
        "unsettled_total": 0,
        "error": None,
        **changes,
    }


def test_equal(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, table())
    assert "yes" in out
    assert out.endswith("Source and target are equal.\n")


def test_rows_that_moved_are_not_called_equal(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, table(unsettled_total=1200), settled=False)
    assert "yes, 1,200 moving" in out
    assert "could not be judged" in out


def test_differences_beyond_the_cap_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = [{"key": {"id": "1"}, "kind": "different", "columns": ["v"]}]
    out = told(capsys, table(equal=False, differences=found, differences_total=4001))
    assert "{'id': '1'}: different (v)" in out
    assert "public.a: 4,000 more" in out
    assert out.endswith("Source and target differ.\n")


def test_equal_keys_with_other_totals_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no" in told(capsys, table(equal=False, target_rows=6)).splitlines()[1]


def test_what_was_not_compared_is_neither_equal_nor_different(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, table(), table("public.b", equal=False, source_rows=None, error=FAILED), settled=False)
    assert "not compared" in out
    assert "public.b: nobody answers Wake somebody." in out
    assert "differ." not in out
    assert "were not compared as a whole" in out
