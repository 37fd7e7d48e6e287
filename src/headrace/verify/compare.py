"""Comparing tables: buckets, then the rows of buckets that differ, then the keys that differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from headrace.engines.compare import Bucket, Key, Pair, Version, weight
from headrace.engines.model import Route, TableName
from headrace.engines.postgres.compare import opened
from headrace.engines.postgres.connection import Login
from headrace.errors import HeadraceError, Invalid
from headrace.verify.report import REPAIRABLE, Difference, Kind, Report, TableReport
from headrace.verify.settle import Verdicts, settle
from headrace.verify.spool import Spool
from headrace.verify.streams import windows

_BUCKETS = 65_536  # at most
_BUCKET_ROWS = 2_000  # about so many rows in each
_GROUP_ROWS = 10_000_000  # rows that one pass sorts on the servers
_BATCH_KEYED = 20_000  # keys judged together, by index
_BATCH_KEYLESS = 100_000  # hashes judged together, by a scan


def run(
    source: Login,
    target: Login,
    routes: Sequence[Route],
    *,
    caught_up: Callable[[TableName], None],
    cap: int = 100,
    rounds: int = 5,
    log: Callable[[str], None] = lambda line: None,
) -> Report:
    """Compare each route's table, one after the other, while both sides move.

    caught_up: called with the source's name of a table, any number of times; returns once everything that was
    committed on the source before the call is applied to the target. It may raise HeadraceError. cap: how
    many differences (and unsettled keys) are listed per table. rounds: how often a moving key is looked at.
    A table that cannot be compared has its error in the report; raises Invalid for impossible arguments.
    """
    if cap < 0 or rounds < 2:
        raise Invalid("bad_argument", "cap must be 0 or more and rounds 2 or more.", "", {})
    started = _now()
    reports = [
        _table(source, target, route, caught_up=caught_up, cap=cap, rounds=rounds, log=log)
        for route in routes
    ]
    return Report(reports, cap, started, _now())


def _table(
    source: Login,
    target: Login,
    route: Route,
    *,
    caught_up: Callable[[TableName], None],
    cap: int,
    rounds: int,
    log: Callable[[str], None],
) -> TableReport:
    report = TableReport(route.source.name, route.target, cap)
    start = time.monotonic()
    try:
        with opened(source, target, route) as pair:
            _Comparison(pair, report, lambda: caught_up(route.source.name), rounds, log).run()
    except HeadraceError as error:
        report.error = error.as_dict()
    report.seconds = time.monotonic() - start
    report.finished_at = _now()
    log(f"{report.name}: {_summary(report)} ({report.seconds:.1f} s)")
    return report


def _summary(report: TableReport) -> str:
    if report.error:
        return f"could not be compared: {report.error['message']}"
    found = f"{report.source.rows} rows, {report.differences_total} differences"
    return found + (f", {report.unsettled_total} unsettled" if report.unsettled_total else "")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Comparison:
    """One table on its way; fills the report."""

    def __init__(
        self,
        pair: Pair,
        report: TableReport,
        caught_up: Callable[[], None],
        rounds: int,
        log: Callable[[str], None],
    ) -> None:
        self._pair = pair
        self._report = report
        self._caught_up = caught_up
        self._rounds = rounds
        self._log = log
        if not pair.repairable:
            report.repair = None

    def run(self) -> None:
        """All three steps."""
        count = _bucket_count(self._pair.source.estimate())
        sizes = self._buckets(count)
        if not sizes:
            return
        with Spool() as spool:
            for wanted in _groups(sizes):
                self._rows(count, wanted, spool)
            self._log(f"{self._report.name}: {len(sizes)} of {count} buckets, {spool.count} keys to look at")
            for batch in spool.batches(_BATCH_KEYED if self._pair.key else _BATCH_KEYLESS):
                self._keys(settle(self._pair, batch, self._caught_up, self._rounds))

    def _buckets(self, count: int) -> dict[int, int]:
        """Buckets that differ, with their rows; those that agree go into the totals."""
        ours = dict(self._pair.source.buckets(count))
        self._caught_up()
        sizes: dict[int, int] = {}
        for number, theirs in self._pair.target.buckets(count):
            mine = ours.pop(number, Bucket(0, 0))
            if mine == theirs:
                self._agreed(theirs.rows, theirs.checksum)
            else:
                sizes[number] = max(mine.rows, theirs.rows)
        return sizes | {number: mine.rows for number, mine in ours.items()}

    def _rows(self, count: int, wanted: list[int], spool: Spool) -> None:
        with ExitStack() as stack:
            ours = stack.enter_context(self._pair.source.stream(count, wanted))
            self._caught_up()
            theirs = stack.enter_context(self._pair.target.stream(count, wanted))
            for window in windows(ours, theirs):
                self._agreed(window.agreed.rows, window.agreed.checksum)
                spool.add(window.differing)

    def _agreed(self, rows: int, checksum: int) -> None:
        self._report.source.add(rows, checksum)
        self._report.target.add(rows, checksum)

    def _keys(self, verdicts: Verdicts) -> None:
        report = self._report
        for version in verdicts.equal.values():
            self._agreed(*_sum(version))
        for ours, theirs in verdicts.different.values():
            report.source.add(*_sum(ours))
            report.target.add(*_sum(theirs))
        self._list_differences(verdicts.different)
        report.unsettled_total += len(verdicts.unsettled)
        room = verdicts.unsettled[: report.cap - len(report.unsettled)]
        shown = self._named(room)
        report.unsettled += [shown[key] for key in room]

    def _list_differences(self, different: dict[Key, tuple[Version, Version]]) -> None:
        report = self._report
        report.differences_total += len(different)
        if report.repair is not None:
            room = REPAIRABLE - len(report.repair)
            report.repair += [dict(zip(self._pair.key, key, strict=True)) for key in list(different)[:room]]
        listed = sorted(different)[: report.cap - len(report.differences)]
        shown, columns = self._named(listed), self._columns(listed)
        for key in listed:
            ours, theirs = (sum(count for _, count in version) for version in different[key])
            kind = _kind(ours, theirs)
            names = columns.get(key, ()) if kind == "different" else ()
            report.differences.append(Difference(shown[key], kind, names, ours, theirs))

    def _named(self, keys: list[Key]) -> dict[Key, dict[str, str | None]]:
        """Keys for people."""
        pair = self._pair
        if pair.key:
            return {key: dict(zip(pair.key, key, strict=True)) for key in keys}
        values = {**pair.target.excerpt(keys), **pair.source.excerpt(keys)} if keys else {}
        # A row that is gone by now can only be named by its hash.
        return {
            key: dict(zip(pair.names, values[key], strict=True)) if key in values else {"md5": key[0]}
            for key in keys
        }

    def _columns(self, keys: list[Key]) -> dict[Key, tuple[str, ...]]:
        """The names of the columns that differ."""
        ours, theirs = (side.columns(keys) if keys else {} for side in (self._pair.source, self._pair.target))
        return {
            key: tuple(
                name
                for name, mine, yours in zip(self._pair.names, ours[key], theirs[key], strict=True)
                if mine != yours
            )
            for key in ours.keys() & theirs.keys()
        }


def _kind(source_count: int, target_count: int) -> Kind:
    if source_count == target_count:
        return "different"
    return "missing" if source_count > target_count else "extra"


def _sum(version: Version) -> tuple[int, int]:
    return sum(count for _, count in version), sum(weight(h) * count for h, count in version)


def _bucket_count(rows: int) -> int:
    """A power of two: about one bucket for every ``_BUCKET_ROWS`` rows."""
    return min(_BUCKETS, 1 << max(0, (rows // _BUCKET_ROWS).bit_length()))


def _groups(sizes: dict[int, int]) -> Iterator[list[int]]:
    """The buckets in groups of about ``_GROUP_ROWS`` rows, each of which costs a scan."""
    group: list[int] = []
    rows = 0
    for number, size in sizes.items():
        if group and rows + size > _GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(number)
        rows += size
    if group:
        yield group
