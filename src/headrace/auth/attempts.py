"""How often something may be tried: by an address, by an account, by a principal."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from headrace.errors import TooMany

_log = logging.getLogger(__name__)
_REDIS_PAUSE = 5.0


class Attempts:
    """Counts what happens a minute; in Redis where replicas share it, else in this process.

    Redis being away makes it count alone for a while: it neither fails nor lets everything through.
    """

    def __init__(self, redis: str = "") -> None:
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = SlidingWindowCounterRateLimiter(_storage(redis)) if redis else None
        self._away_until = 0.0
        self._away = False
        self._lock = threading.Lock()

    @property
    def at_hand(self) -> bool:
        """Whether counting never waits for Redis."""
        return self._shared is None

    def hit(self, what: str, key: str, a_minute: int) -> None:
        """Count one. TooMany ``too_many_requests`` when there were more than that in the last minute.

        key: an id, or an address, which counts as its neighbourhood.
        """
        limit = RateLimitItemPerMinute(a_minute)
        if not self._hit(limit, what, neighbourhood(key)):
            raise TooMany(
                "too_many_requests",
                f"Too many {what} in the last minute",
                "Wait a moment, then try again.",
                {"retry_after": 10},
            )

    def _hit(self, limit: RateLimitItemPerMinute, what: str, key: str) -> bool:
        if self._shared is not None and time.monotonic() > self._away_until:
            try:
                fits = self._shared.hit(limit, what, key)
                self._turn(away=False)
                return fits
            except Exception as error:
                # The client raises errors of its own and of the sockets below.
                self._away_until = time.monotonic() + _REDIS_PAUSE
                self._turn(away=True, why=type(error).__name__)
        with self._lock:
            return self._alone.hit(limit, what, key)

    def _turn(self, *, away: bool, why: str = "") -> None:
        """Say it once when Redis goes, and once when it is back."""
        if away == self._away:
            return
        with self._lock:
            turned, self._away = away != self._away, away
        if turned and away:
            _log.warning("Redis does not answer, counting alone: %s", why)
        elif turned:
            _log.info("Redis answers again, counting together")


def neighbourhood(address: str) -> str:
    """What one client has of addresses: of IPv6 a whole /64. What is no address stays as it is."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(found) >> 64 << 64)}/64"


def _storage(url: str) -> Storage:
    found = storage_from_string(url, socket_timeout=0.5, socket_connect_timeout=0.5)
    assert isinstance(found, Storage)
    return found
