"""The secrets that this process knows, texts without them, and files that only their owner reads."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

MASK = "********"
_log = logging.getLogger(__name__)


class Known:
    """Threads may share it."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def learn(self, *secrets: str) -> None:
        """These are secrets (those that are too short to be told from words are not)."""
        self._secrets.update(s for s in secrets if len(s) >= 8)

    def without(self, text: str) -> str:
        """A text with masks in their places."""
        for secret in tuple(self._secrets):
            if secret in text:
                # A mere word, such as postgres, is not one inside of others, such as postgresql.
                ends = ("(?<![a-zA-Z])", "(?![a-zA-Z])") if secret.isalpha() else ("", "")
                text = re.sub(ends[0] + re.escape(secret) + ends[1], MASK, text)
        return text


known = Known()


def make_private(path: Path) -> None:
    """Take a file, where there is one, from all but its owner (mode 0600), and say so."""
    # What is of another owner, or on a file system without writing, stays as whoever put it there wants it.
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
            _log.warning("%s could be read by others: its mode is 0600 now", path)
