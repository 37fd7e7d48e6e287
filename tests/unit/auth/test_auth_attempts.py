"""Counting in Redis, and alone while it is away."""

from __future__ import annotations

import pytest

from headrace.auth import attempts
from headrace.auth.attempts import Attempts
from support.redis_server import RedisServer


def test_that_redis_goes_and_that_it_is_back_is_said_once_each(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(attempts, "_REDIS_PAUSE", 0.0)

    def said() -> list[str]:
        for _ in range(3):
            counted.hit("calls", "a", 1000)
        lines = [r.getMessage() for r in caplog.records if r.name == attempts.__name__]
        caplog.clear()
        return lines

    with RedisServer() as redis:
        counted = Attempts(redis.url)
        for _ in range(2):
            assert said() == []
            redis.kill()
            (away,) = said()
            assert "counting alone" in away
            redis.start()
            assert said() == ["Redis answers again, counting together"]
