"""The door of the room."""

from __future__ import annotations

from typing import Any

from headrace.settings import Settings
from headrace.store.alerts import Alerts
from headrace.store.audits import Audits
from headrace.store.cache import Cache
from headrace.store.connections import Connections
from headrace.store.database import open_engine
from headrace.store.events import Events
from headrace.store.foreigners import Foreigners
from headrace.store.journal import Journal
from headrace.store.once import Once
from headrace.store.pipelines import Pipelines
from headrace.store.queue import Queue
from headrace.store.rotating import Rotating
from headrace.store.samples import Samples
from headrace.store.secrets import cipher
from headrace.store.tables import Tables
from headrace.store.wake import Wake


class Store(
    Connections,
    Pipelines,
    Tables,
    Queue,
    Journal,
    Samples,
    Events,
    Audits,
    Foreigners,
    Once,
    Cache,
    Alerts,
    Rotating,
):
    """Everything Headrace remembers. Opening migrates; each call is a transaction, save ``together``; threads may share one.

    Every call may raise Unavailable ``metadata_unavailable``.
    """

    def __init__(self, settings: Settings) -> None:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cipher = cipher(settings.key_file)
        self._beaten = {}
        self.wake = Wake(settings.redis)
        self._engine = open_engine(settings.metadata_url)

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The keys that encrypt secrets, the current one first; other keys are derived from them."""
        return self._cipher.keys

    def close(self) -> None:
        """Close all connections to the metadata database."""
        self.wake.close()
        self._engine.dispose()

    def pool(self) -> dict[str, int]:
        """Connections to the metadata database: how many are in use, and how many idle."""
        pool: Any = self._engine.pool
        return {"in_use": pool.checkedout(), "idle": pool.checkedin()}

    def ping(self) -> None:
        """Unavailable when the metadata database does not answer."""
        with self._reading() as transaction:
            transaction.exec_driver_sql("SELECT 1")
