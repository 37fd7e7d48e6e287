"""Downloads against a real HTTP server: resumed, repeated, verified, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from headrace.errors import Unavailable
from headrace.local import download as module
from headrace.local.download import download

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Repository(ThreadingHTTPServer):
    """Serves CONTENT at every path, as badly as told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.statuses: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/x.jar"


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.statuses:
            self.send_response(self.server.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cut_after is not None:
            body, self.server.cut_after = body[: self.server.cut_after], None
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_pause", lambda seconds: None)


def get(repository: Repository, path: Path) -> int:
    """Download; the sum of the progress reported."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count

    with httpx.Client(trust_env=False) as client:
        download(client, repository.url, path, size=len(CONTENT), sha256=DIGEST, advance=advance)
    return done


def test_whole_file(repository: Repository, tmp_path: Path) -> None:
    assert get(repository, tmp_path / "a" / "x.jar") == len(CONTENT)
    assert (tmp_path / "a" / "x.jar").read_bytes() == CONTENT


def test_goes_on_where_the_connection_was_cut(repository: Repository, tmp_path: Path) -> None:
    repository.cut_after = 100_000
    assert get(repository, tmp_path / "x.jar") == len(CONTENT)
    assert (tmp_path / "x.jar").read_bytes() == CONTENT
    assert repository.asked == [None, "bytes=100000-"]


def test_goes_on_from_an_earlier_run(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "x.jar.part").write_bytes(CONTENT[:5000])
    assert get(repository, tmp_path / "x.jar") == len(CONTENT)
    assert repository.asked == ["bytes=5000-"]
    assert not (tmp_path / "x.jar.part").exists()


def test_server_without_ranges(repository: Repository, tmp_path: Path) -> None:
    repository.ranges = False
    (tmp_path / "x.jar.part").write_bytes(CONTENT[:5000])
    assert get(repository, tmp_path / "x.jar") == len(CONTENT)
    assert (tmp_path / "x.jar").read_bytes() == CONTENT


def test_stale_part_is_thrown_away(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "x.jar.part").write_bytes(b"something else")
    assert get(repository, tmp_path / "x.jar") == len(CONTENT)
    assert (tmp_path / "x.jar").read_bytes() == CONTENT


def test_passing_trouble_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    repository.statuses = [503, 429]
    get(repository, tmp_path / "x.jar")
    assert len(repository.asked) == 3


def test_wrong_content_is_refused_and_deleted(repository: Repository, tmp_path: Path) -> None:
    repository.content = b"\0" * len(CONTENT)
    with pytest.raises(Unavailable) as error:
        get(repository, tmp_path / "x.jar")
    assert error.value.code == "artifact_refused"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("longer", [b"tail", b"\0" * 1_000_000])
def test_longer_content_is_refused(repository: Repository, tmp_path: Path, longer: bytes) -> None:
    repository.content = CONTENT + longer
    with pytest.raises(Unavailable):
        get(repository, tmp_path / "x.jar")


def test_missing_file_says_what_to_do(repository: Repository, tmp_path: Path) -> None:
    repository.statuses = [404]
    with pytest.raises(Unavailable) as error:
        get(repository, tmp_path / "x.jar")
    assert "404" in error.value.message
    assert "HEADRACE_MAVEN_MIRROR" in error.value.guidance


def test_no_server(tmp_path: Path, repository: Repository) -> None:
    repository.server_close()
    with pytest.raises(Unavailable) as error:
        get(repository, tmp_path / "x.jar")
    assert error.value.code == "artifact_unreachable"
