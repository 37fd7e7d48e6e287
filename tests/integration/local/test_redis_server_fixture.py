"""The Redis that tests of several replicas rely on."""

from __future__ import annotations

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.redis_server import RedisServer

ONCE = Retry(NoBackoff(), 0)


def test_wants_the_password_and_forgets_when_killed() -> None:
    with RedisServer() as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            client.set("a", 1)
        with redis.Redis(port=server.port, retry=ONCE) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        url = server.url
        server.kill()
        assert not server.alive
        with redis.Redis.from_url(url, retry=ONCE) as client:
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert server.url == url
            assert client.get("a") is None
    assert not server.alive
    assert not server.folder.exists()


def test_starts_again_after_a_stop_and_can_be_frozen() -> None:
    with RedisServer() as server:
        server.stop()
        server.start()
        with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=ONCE) as client:
            assert client.ping()
            server.freeze()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.thaw()
        with redis.Redis.from_url(server.url, socket_timeout=10) as client:
            assert client.ping()
        server.freeze()
    assert not server.alive
