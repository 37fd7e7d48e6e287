"""Optimistic concurrency: an ETag names the version of what a call can change, If-Match the one that was read."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Header

from headrace.errors import Precondition

IfMatch = Annotated[
    str | None,
    Header(
        description="Change it only while its ETag is one of these; 412 `stale` when it is another",
        max_length=1000,
    ),
]


def etag(*parts: object) -> str:
    """A strong ETag of what identifies a version."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}"'


def require(if_match: str | None, now: str) -> None:
    """Nothing without If-Match, or when it names ``now`` (or is ``*``); Precondition ``stale`` else."""
    if if_match is None:
        return
    wanted = [tag.strip() for tag in if_match.split(",")]
    # A weak tag never matches here (RFC 9110, 13.1.1).
    if "*" not in wanted and now not in wanted:
        raise stale(now)


def stale(now: str | None = None) -> Precondition:
    """The error for a change that was made from an older reading."""
    return Precondition(
        "stale",
        "It was changed since it was read",
        "Read it again, make the change on what is there now, and send the new ETag in If-Match.",
        {"etag": now} if now else {},
    )
