"""When a failed connector is restarted, and when a running one is called dead."""

from __future__ import annotations

from itertools import pairwise

from headrace.control.vitals import RESTART_PAUSES, STEADY, STUCK, Vitals


def test_restarts_back_off_and_are_told_from_the_second_on() -> None:
    vitals, now, times = Vitals(), 1000.0, []
    while len(times) < 8:
        if vitals.failed("org.X: boom\n\tat a.b", now):
            times.append(now)
        now += 0.5
        if len(times) == 1:
            assert vitals.trouble() is None
    gaps = [round(b - a) for a, b in pairwise(times)]
    assert gaps == [round(p) for p in RESTART_PAUSES]
    trouble = vitals.trouble()
    assert trouble is not None
    assert (trouble.code, "boom" in trouble.message) == ("connector_failing", True)


def test_running_for_a_moment_between_failures_is_no_recovery() -> None:
    vitals = Vitals()
    for n in range(5):
        vitals.failed("x", 1000.0 + n * 100)
        vitals.running(n, 1, 1001.0 + n * 100)
    assert vitals.restarts == 5
    vitals.running(9, 1, 1401.0 + STEADY)
    assert (vitals.restarts, vitals.trouble()) == (0, None)


def test_a_slot_that_stands_still_while_wal_is_written_is_told() -> None:
    vitals = Vitals()
    vitals.running(5, 100, 1000.0)
    vitals.running(5, 900, 1001.0 + STUCK)
    trouble = vitals.trouble()
    assert trouble is not None
    assert trouble.code == "capture_stuck"
    vitals.running(6, 900, 1002.0 + STUCK)
    assert vitals.trouble() is None
    vitals.running(6, 0, 2000.0)
    assert vitals.trouble() is None
