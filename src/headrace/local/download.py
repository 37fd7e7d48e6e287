"""One file over HTTP: resumed where it stopped, tried again on passing trouble, refused on a wrong digest."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from headrace.errors import Unavailable

ATTEMPTS = 5
PASSING = {408, 425, 429, 500, 502, 503, 504}
OFFLINE = (
    "Check the network and the proxy (HTTPS_PROXY). Behind a mirror set HEADRACE_MAVEN_MIRROR to its base address; "
    "on a machine without network copy the cache folder (HEADRACE_CACHE) from one where `headrace fetch` ran."
)


def download(
    client: httpx.Client, url: str, path: Path, *, size: int, sha256: str, advance: Callable[[int], None]
) -> None:
    """Put the file at ``path``, whole and verified, or raise Unavailable.

    size: bytes expected. advance: called with each number of bytes gained (negative when bytes are thrown away).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if part.exists():
        advance(part.stat().st_size)
    for attempt in range(1, ATTEMPTS + 1):
        resumed = part.exists()
        try:
            _transfer(client, url, part, size, advance)
        except (httpx.TransportError, _Passing) as error:
            if attempt == ATTEMPTS:
                raise _unreachable(url, error) from error
            _pause(min(2.0**attempt / 4, 8))
            continue
        if _digest(part) == sha256:
            part.replace(path)
            return
        advance(-part.stat().st_size)
        part.unlink()
        if not resumed:  # a stale partial file may be to blame, so a resumed download gets another try
            break
    raise Unavailable(
        "artifact_refused",
        f"{path.name} from {httpx.URL(url).host} is not the file that this release was made with.",
        "It was deleted. Something on the way alters files: check the mirror or proxy, then run "
        "`headrace fetch` again.",
        {"url": url, "sha256": sha256},
    )


class _Passing(Exception):
    """The server answered, but not now or not in full."""


def _transfer(client: httpx.Client, url: str, part: Path, size: int, advance: Callable[[int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as answer:
        _require_success(url, answer)
        going_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        if not going_on:
            advance(-have)
        with part.open("ab" if going_on else "wb") as file:
            for chunk in answer.iter_raw():  # as they come: what arrived before a break is kept
                file.write(chunk)
                advance(len(chunk))
                if file.tell() > size:
                    break
            file.flush()
            os.fsync(file.fileno())
    if part.stat().st_size < size:
        raise _Passing(f"connection ended after {part.stat().st_size} of {size} bytes")


def _require_success(url: str, answer: httpx.Response) -> None:
    if answer.is_success:
        return
    reason = f"HTTP {answer.status_code}"
    if answer.status_code in PASSING:
        raise _Passing(reason)
    raise _unreachable(url, reason)


def _unreachable(url: str, reason: object) -> Unavailable:
    where = httpx.URL(url).host
    return Unavailable(
        "artifact_unreachable",
        f"Cannot download {url.rsplit('/', 1)[-1]} from {where}: {reason}.",
        OFFLINE,
        {"url": url},
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pause(seconds: float) -> None:
    """Back off between attempts; interruptible."""
    threading.Event().wait(seconds)
