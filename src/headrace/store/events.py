"""Live events, numbered in the order of their commits."""

from __future__ import annotations

from headrace.store.base import Part


class Events(Part):
    """Reading and writing live events, numbered in the order of their commits."""
