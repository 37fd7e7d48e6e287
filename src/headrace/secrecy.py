"""The secrets that this process knows, and texts without them."""

from __future__ import annotations

import re

MASK = "********"


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
