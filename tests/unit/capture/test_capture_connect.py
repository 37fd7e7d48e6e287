"""Which Kafka Connect is taken for one that knows its connectors."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from headrace.capture.connect import Connect


@pytest.mark.parametrize(
    ("status", "kind", "wanted"),
    [
        (200, "application/json", True),
        (404, "application/json", True),
        (404, "text/html;charset=iso-8859-1", False),
        (401, "application/json", False),
        (503, "application/json", False),
    ],
)
def test_healthy(status: int, kind: str, wanted: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = Connect(f"http://127.0.0.1:{server.server_port}")
        assert client.healthy() is wanted
        client.close()
        server.shutdown()
