"""Telling readers of events that there are some: in this process at once, through Redis those of other processes.

It is only a nudge: events lie in the database, and readers look there by themselves now and then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

_log = logging.getLogger(__name__)
_CHANNEL = "headrace:events"
_PAUSE = 2.0
_TIMEOUT = 1.0

Listener = Callable[[], None]


class Wake:
    """Nudges listeners. url: of Redis, "" without. A Redis that is away disturbs nobody who writes."""

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def tell(self) -> None:
        """There are new events; returns at once."""
        for listener in tuple(self._listeners):
            listener()
        if self._url:
            self._start("speak", self._speak)
            self._told.set()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call this at every nudge, from some thread; the answer ends it."""
        with self._lock:
            self._listeners.append(listener)
        if self._url:
            self._start("hear", self._hear)

        def end() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return end

    def close(self) -> None:
        """End its threads."""
        self._over.set()
        self._told.set()
        for thread in self._threads:
            thread.join(2 * _TIMEOUT + 1)

    def _start(self, name: str, body: Callable[[redis.Redis], None]) -> None:
        with self._lock:
            if self._over.is_set() or any(t.name == f"wake-{name}" for t in self._threads):
                return
            thread = threading.Thread(target=self._keep, args=(body,), name=f"wake-{name}", daemon=True)
            self._threads.append(thread)
        thread.start()

    def _keep(self, body: Callable[[redis.Redis], None]) -> None:
        """Run the body with a connection, again and again while Redis comes and goes."""
        said = False
        while not self._over.is_set():
            client = redis.Redis.from_url(
                self._url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=None
            )
            try:
                body(client)
                said = False
            except (redis.RedisError, OSError) as error:
                if not said:
                    _log.warning("Redis does not answer, events travel slower: %s", type(error).__name__)
                said = True
                self._over.wait(_PAUSE)
            finally:
                client.close()

    def _speak(self, client: redis.Redis) -> None:
        while not self._over.is_set():
            # Many events at once are one nudge.
            if self._told.wait(_TIMEOUT):
                self._told.clear()
                client.publish(_CHANNEL, b"1")

    def _hear(self, client: redis.Redis) -> None:
        with client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
            heard.subscribe(_CHANNEL)
            for listener in tuple(self._listeners):
                # What was said while nobody heard it.
                listener()
            while not self._over.is_set():
                if heard.get_message(timeout=_TIMEOUT / 2) is not None:
                    for listener in tuple(self._listeners):
                        listener()
