"""Passwords: argon2id, two at a time, so that many logins at once cost time and not memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from headrace.errors import Invalid, TooMany

SHORTEST = 12
LONGEST = 1024

# RFC 9106's second choice, with half its lanes.
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=2)
_PATIENCE = 10.0
_turns = threading.BoundedSemaphore(2)
# Verified against where there is no account, so that time does not tell.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$ttdRLVTZ0BFdQSbZaQH5v8Knp3zAG8h6MC0KtkXbfsM"


def check_rules(password: str, email: str = "") -> None:
    """Invalid ``weak_password`` when it is too short, too long, or the address itself."""
    if len(password) < SHORTEST or len(password.encode("utf-8", "replace")) > LONGEST:
        raise _weak(f"A password has {SHORTEST} characters at least and {LONGEST} bytes at most")
    if email and password.lower() in (email.lower(), email.lower().partition("@")[0]):
        raise _weak("The password is the address itself")
    if len(set(password)) < 4:
        raise _weak("The password repeats itself")


def hashed(password: str) -> str:
    """The hash to keep; takes some hundredths of a second and 64 MiB."""
    with _turn():
        return _hasher.hash(password.encode("utf-8", "replace"))


def fits(password: str, kept: str | None) -> bool:
    """Whether the password is the one that was hashed; takes as long without a hash."""
    if len(password) > LONGEST:
        return False
    with _turn():
        try:
            return _hasher.verify(kept or _NOBODY, password.encode("utf-8", "replace")) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


@contextmanager
def _turn() -> Iterator[None]:
    """One of the two turns; TooMany when there is none for long, so that waiting takes no threads from others."""
    if not _turns.acquire(timeout=_PATIENCE):
        raise TooMany(
            "too_many_logins", "Too many log in at once", "Try again in a moment.", {"retry_after": 5}
        )
    try:
        yield
    finally:
        _turns.release()


def outdated(kept: str) -> bool:
    """Whether it was hashed with other parameters than today's."""
    return _hasher.check_needs_rehash(kept)


def _weak(why: str) -> Invalid:
    return Invalid("weak_password", why, "Take a longer one, of a password manager for example.")
