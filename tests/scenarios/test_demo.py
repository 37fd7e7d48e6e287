"""What a newcomer runs first."""

from __future__ import annotations

import re

import pytest

from headrace.cli import demo


def test_demo_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "WATCH_SECONDS", 2.0)
    code = demo.run(once=True)
    said = capsys.readouterr().out
    assert code == 0, said
    assert re.search(r"Incremental after \d", said), said
    assert re.search(r"[1-9]\d* events/s applied", said), said
    assert re.search(r"p50 \d.*p99 \d", said), said
    assert re.search(r"equal", said), said
