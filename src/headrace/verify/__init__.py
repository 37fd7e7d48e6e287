"""Proof that source and target hold the same rows, while both go on moving.

Enters: two logins, the routes of a pipeline, and ``caught_up``, which waits until the target has everything
that was committed on the source so far. Leaves: a ``Report`` with counts, checksums and every difference that
persists, named by key and columns; and the certificate, built from stored facts and the last report.

It writes to neither side, locks nothing, holds a bounded amount of memory whatever the size of a table, and
never counts a row as equal that it did not see equal.
"""

from headrace.verify.compare import run
from headrace.verify.report import Difference, Report, TableReport

__all__ = ["Difference", "Report", "TableReport", "run"]
