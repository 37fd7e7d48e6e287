"""The API in this process, on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from headrace.api import serving
from headrace.api.app import create_app
from headrace.settings import Settings
from support.lab import until


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a server with these settings, at the API's base, with the installation's token."""
    server = serving.Server(serving.config(create_app(settings), settings, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 30, "the server")
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"authorization": f"Bearer {settings.token_file.read_text().strip()}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
