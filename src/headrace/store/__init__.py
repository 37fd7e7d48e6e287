"""The memory of Headrace: connections, pipelines, their tables, requests, leases, logs.

What enters: specs and facts that the other rooms found. What leaves: plain frozen dataclasses (``records``),
never ORM objects. SQLite in the data folder by default, PostgreSQL by URL; secrets are encrypted. It decides
nothing: no state machine, no network but its own database.
"""

from headrace.store.store import Store

__all__ = ["Store"]
