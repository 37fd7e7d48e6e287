"""The runner: every side is asked, errors become findings, each finding once, errors first."""

from __future__ import annotations

from headrace.checks.run import at, collect
from headrace.errors import Finding, Unavailable

WARNING = Finding("w", "warning", "source", "a warning")
ERROR = Finding("e", "error", "target", "an error")


def unreachable() -> list[Finding]:
    raise Unavailable("refused", "db1:5432: connection refused", "Check the host.")


def test_errors_first_and_each_once() -> None:
    info = Finding("i", "info", "source", "an info")
    found = collect(lambda: [info, WARNING, ERROR], lambda: [WARNING])
    assert found == [ERROR, WARNING, info]


def test_an_unreachable_side_leaves_the_others() -> None:
    found = collect(at("source", unreachable), at("target", lambda: [ERROR]))
    assert found == [
        Finding("refused", "error", "source", "db1:5432: connection refused", "Check the host."),
        ERROR,
    ]


def test_one_finding_or_none() -> None:
    assert collect(at("target", lambda: None), at("target", lambda: WARNING)) == [WARNING]


def test_without_a_side_it_is_the_spec() -> None:
    assert [f.side for f in collect(unreachable)] == ["spec"]


def test_nothing_to_check() -> None:
    assert collect() == []
