"""Workers that take ranges from a queue until every table of the snapshot is in the target."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.engines.model import Route, TableName
from headrace.engines.postgres import progress, read
from headrace.engines.postgres.connection import Connection, Login, connect, open_bulk, translated
from headrace.engines.postgres.transfer import copy_range
from headrace.errors import Bug, Conflict, HeadraceError, Unavailable

# Marks a load whose finishing statements are through, among the marks of its ranges.
FINISHED = 2**31 - 1


@dataclass(slots=True)
class Job:
    """One table to load. into: the table that is filled. finish: statements to run once it is full, in order.

    load: id of this attempt; marks of finished ranges carry it.
    """

    route: Route
    into: TableName
    load: str
    finish: Sequence[str] = ()
    rows: int = 0
    _left: int = field(default=0, init=False)
    _finished: bool = field(default=False, init=False)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a load tells: rows so far, that a table is full and gets its indexes, that it is done, trouble."""

    rows: Callable[[Job], None] = lambda _: None
    indexing: Callable[[Job], None] = lambda _: None
    done: Callable[[Job], None] = lambda _: None
    trouble: Callable[[HeadraceError], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


class Loader:
    """Loads jobs from one exported snapshot; ``run`` returns when all are done, or raises.

    rate: rows per second over all workers, None for as fast as it goes. Trouble with the target that may pass
    (a lost connection, a full disk) is waited out as long as the snapshot stands.
    """

    def __init__(
        self,
        *,
        pipeline: str,
        source: Login,
        target: Login,
        snapshot: str,
        alive: Callable[[], bool],
        workers: int,
        hooks: Hooks,
        rate: int | None = None,
    ) -> None:
        self._pipeline, self._source, self._target = pipeline, source, target
        self._snapshot, self._alive, self._workers = snapshot, alive, workers
        self._hooks, self._rate = hooks, rate
        self._queue: deque[tuple[Job, read.Range | None]] = deque()
        self._lock = threading.Lock()
        self._error: HeadraceError | None = None
        self._started = time.monotonic()
        self._total = 0

    def run(self, jobs: Sequence[Job]) -> None:
        """Load all jobs, the largest first. Raises the first error that does not pass."""
        with connect(self._source) as conn:
            tid_scan = read.has_tid_scan(conn)
        for job in sorted(jobs, key=lambda j: -sum(leaf.pages for leaf in j.route.source.leaves)):
            parts = read.ranges(job.route, tid_scan)
            job._left = len(parts)
            self._queue.extend((job, part) for part in parts)
        count = max(1, min(self._workers, len(self._queue)))
        threads = [
            threading.Thread(target=self._work, name=f"load-{self._pipeline}-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        pause = 0.2
        worker = _Worker(self._source, self._target, self._snapshot)
        try:
            while (task := self._next()) is not None:
                try:
                    self._do(worker, *task)
                    pause = 0.2
                except Unavailable as error:
                    worker.close()
                    self._hooks.trouble(error)
                    if not self._alive():
                        self._fail(error)
                        return
                    with self._lock:
                        self._queue.appendleft(task)
                    time.sleep(pause)
                    pause = min(pause * 2, 5.0)
        except HeadraceError as error:
            self._fail(error if isinstance(error, Conflict) or self._alive() else self._snapshot_lost(error))
        except Exception as error:
            self._fail(Bug("load", f"{type(error).__name__}: {error}", "Report this; see the worker's log."))
        finally:
            worker.close()

    def _snapshot_lost(self, error: HeadraceError) -> Unavailable:
        """Without its snapshot a load can fail in any way: whoever lost it first did not say so here."""
        return Unavailable("snapshot_lost", f"the source went away: {error.message}", "It is loaded again.")

    def _fail(self, error: HeadraceError) -> None:
        with self._lock:
            self._error = self._error or error
            self._queue.clear()

    def _next(self) -> tuple[Job, read.Range | None] | None:
        if self._hooks.stop():
            raise Conflict("stopped", "the load was stopped")
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def _do(self, worker: _Worker, job: Job, part: read.Range | None) -> None:
        if part is None:
            worker.finish(job, self._pipeline)
            self._hooks.done(job)
            return
        rows = worker.copy(job, part, self._pipeline, self._hooks.stop)
        with self._lock:
            job.rows += rows
            job._left -= 1
            self._total += rows
            full = job._left == 0
            if full:
                # Indexes are built by whoever is free next, while others go on copying.
                self._queue.appendleft((job, None))
        self._hooks.rows(job)
        if full:
            self._hooks.indexing(job)
        self._throttle()

    def _throttle(self) -> None:
        if self._rate:
            ahead = self._total / self._rate - (time.monotonic() - self._started)
            if ahead > 0:
                time.sleep(min(ahead, 5.0))


class _Worker:
    """The two connections of one load worker, opened when first needed."""

    def __init__(self, source: Login, target: Login, snapshot: str) -> None:
        self._source_login, self._target_login, self._snapshot = source, target, snapshot
        self._source: Connection | None = None
        self._target: Connection | None = None

    def close(self) -> None:
        for conn in (self._source, self._target):
            if conn is not None:
                conn.close()
        self._source = self._target = None

    def _ends(self) -> tuple[Connection, Connection]:
        if self._source is None:
            self._source = read.open_worker(self._source_login, self._snapshot)
        if self._target is None:
            self._target = open_bulk(self._target_login)
        return self._source, self._target

    def copy(self, job: Job, part: read.Range, pipeline: str, stop: Callable[[], bool]) -> int:
        """Copy one range; rows written. A range that is in already is not copied again."""
        source, target = self._ends()
        known = progress.marked(target, pipeline, job.load)
        if part.number in known:
            return known[part.number]
        with translated(self._target_login), target.transaction():
            progress.own_load(target, pipeline, job.load)
            rows = copy_range(source, target, job.route, part, job.into, stop)
            progress.mark_range(target, pipeline, job.load, part.number, rows)
        return rows

    def finish(self, job: Job, pipeline: str) -> None:
        """Run the finishing statements once, in one transaction with their mark, whatever trouble follows.

        Not twice, where landing failed after them or only the answer to their commit was lost: what they make
        is there. Nor is the mark there once the load has landed; then the job itself knows.
        """
        if job._finished:
            return
        if self._target is None:
            self._target = open_bulk(self._target_login)
        if FINISHED not in progress.marked(self._target, pipeline, job.load):
            with translated(self._target_login), self._target.transaction():
                progress.own_load(self._target, pipeline, job.load)
                for statement in job.finish:
                    self._target.execute(statement.encode())
                progress.mark_range(self._target, pipeline, job.load, FINISHED, 0)
        job._finished = True
