"""The server's signs of life: whoever would restore the metadata sees that it is in use, from any machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.concurrency import run_in_threadpool

from headrace.errors import HeadraceError
from headrace.store import Store
from headrace.store.owners import own_name

_SECONDS = 5.0


@asynccontextmanager
async def beating(store: Store) -> AsyncIterator[None]:
    """While inside, the metadata says that this server lives."""
    owner = own_name()

    async def beat() -> None:
        with suppress(HeadraceError):
            await run_in_threadpool(store.beat, "server", owner, os.getpid())

    async def go_on() -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            await beat()

    await beat()
    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with suppress(HeadraceError):
            await run_in_threadpool(store.stop_beating, "server", owner)
