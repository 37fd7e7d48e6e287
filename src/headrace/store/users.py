"""Users, their sessions and their API tokens."""

from __future__ import annotations

from headrace.store.base import Part


class Users(Part):
    """Reading and writing users, their sessions and their API tokens."""
