"""The worker: takes leases and runs the pipelines it holds. A killed worker loses nothing; the next takes over.

Enters: pipelines wanted in the store. Leaves: their reconcilers, one thread each. It decides nothing itself.
"""

from headrace.worker.main import main

__all__ = ["main"]
