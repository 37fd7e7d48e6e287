"""What was found behind connections."""

from __future__ import annotations

from headrace.store.base import Part


class Cache(Part):
    """Reading and writing what was found behind connections."""
