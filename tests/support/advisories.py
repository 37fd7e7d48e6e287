"""An advisory database on a port of this machine: OSV's query for pip-audit, the registry's bulk question for npm.

It knows what it is told, by package and version; it answers like the real ones, so the real clients can be tested.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

# Package and version -> id of its weakness.
Known = Mapping[tuple[str, str], str]


@contextmanager
def advisories(known: Known, status: int = 200) -> Iterator[str]:
    """The database's address while it runs. status: what it answers with, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = json.loads(
                gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            )
            self._answer(_bulk(known, asked) if self.path.endswith("/bulk") else _osv(known, asked))

        def do_GET(self) -> None:
            name = self.path.strip("/")
            versions = {version: {"name": name, "version": version} for _, version in known}
            self._answer({"name": name, "versions": versions})

        def _answer(self, said: Any) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _osv(known: Known, asked: Any) -> Any:
    name = asked["package"]["name"]
    found = known.get((name, asked["version"]))
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.6"}]}],
    }
    return (
        {"vulns": [{"id": found, "summary": "a sandbox left open", "affected": [affected]}]} if found else {}
    )


def _bulk(known: Known, asked: Any) -> Any:
    return {
        name: [
            {
                "id": 1,
                "url": f"https://github.com/advisories/{known[name, version]}",
                "title": "prototypes polluted",
                "severity": "critical",
                "vulnerable_versions": f"<={version}",
                "cwe": ["CWE-1321"],
                "cvss": {"score": 9.8, "vectorString": None},
            }
        ]
        for name, versions in asked.items()
        for version in versions
        if (name, version) in known
    }
