"""The reconciler of one pipeline: look, compare with what is wanted, take the next step that can be repeated."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

from headrace.actor import Actor, acting
from headrace.apply.applier import Applier
from headrace.apply.applier import Hooks as ApplyHooks
from headrace.capture.connect import ConnectorStatus
from headrace.capture.markers import await_marker
from headrace.control import loading, teardown
from headrace.control.evolve import Evolution
from headrace.control.generation import (
    Generation,
    Makers,
    invent,
    stored,
)
from headrace.control.kept import Kept
from headrace.control.preflight import login, read_routes
from headrace.control.requests import Answers
from headrace.control.sampling import Sampler
from headrace.control.sequences import Follower
from headrace.control.shape import shape_of
from headrace.control.watch import Watch
from headrace.engines.model import Route, TableName
from headrace.engines.postgres import capture, progress
from headrace.engines.postgres.connection import Connection, Login, connect
from headrace.entering import cluster
from headrace.errors import Bug, HeadraceError, NotFound, Precondition, Unavailable, not_running
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.records import Pipeline, TableState

TICK = 0.2
LEASE_SECONDS = 15.0
CATCH_UP_SECONDS = 5.0
# A connector's start takes as much of the processor as some million rows; a large first copy has it alone at first.
LARGE_PAGES = 8192
HEAD_START_SECONDS = 10.0
REST_SECONDS = 10.0
REST_TICK = 1.0
_log = logging.getLogger(__name__)
# Found missing, and said, by the next look at the capture; and a key that this worker is still to be given.
_PASSING = ("connector_not_found", "no_such_topic", "secret_key")


class Runner:
    """Runs one pipeline while it holds the pipeline's lease. ``run`` is the body of one thread."""

    def __init__(self, settings: Settings, store: Store, name: str, owner: str) -> None:
        self._settings, self._store, self.name, self._owner = settings, store, name, owner
        self._makers = Makers(settings)
        self._stop = threading.Event()
        self._routes: dict[TableName, Route] | None = None
        self._generation: Generation | None = None
        self._evolution = Evolution(store, name)
        self._applier: Applier | None = None
        self._applier_thread: threading.Thread | None = None
        self._load_thread: threading.Thread | None = None
        self._stop_load = threading.Event()
        self._load_error: HeadraceError | None = None
        self._load_pause = 0.0
        self._capture_now = threading.Event()
        self._head_start = 0.0
        self._catching: threading.Thread | None = None
        self._observed = 0.0
        # Runners are made right after the lease was taken.
        self._renewed = time.monotonic()
        self._lost = threading.Event()
        self._resting, self._rested = False, 0.0
        self._watch = Watch(name, cluster(settings), self._makers, self.log)
        self._sequences = Follower(self.log)
        self._sampler = Sampler(store, name)
        self._request_id = ""
        self._ready = False
        self._connect_thread: threading.Thread | None = None
        self._connect_error: HeadraceError | None = None
        self._answers = Answers(store, name, self.caught_up)
        self._source: Login | None = None
        self._target: Login | None = None
        self._watching: Kept | None = None

    # -- life -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask ``run`` to end; what runs is put down orderly, nothing is torn down."""
        self._stop.set()

    def run(self) -> None:
        """Reconcile until stopped, deleted, or until the lease is lost."""
        pause = TICK
        try:
            while not self._stop.wait(pause):
                if self._lost.is_set() or time.monotonic() - self._renewed > LEASE_SECONDS:
                    self.log("warning", "another worker has taken over")
                    return
                try:
                    if not self._tick():
                        return
                    pause = REST_TICK if self._resting else TICK
                except Exception as error:
                    pause = self._survived(error)
        finally:
            self._put_down()
            self._makers.close()
            with suppress(HeadraceError):
                self._store.release(self.name, self._owner)

    def _survived(self, error: Exception) -> float:
        """Record whatever went wrong; how long to wait before the next tick, in seconds."""
        if not isinstance(error, HeadraceError):
            error = Bug("reconcile", f"{type(error).__name__}: {error}", "See the worker's log.")
        try:
            return self._failed(error)
        except HeadraceError as away:
            # Without the store nothing can be recorded; what applies goes on for as long as the lease is ours.
            _log.warning("%s: %s", self.name, away.message)
            return 1.0

    def keep_lease(self) -> None:
        """Renew the lease when it is time; ``run`` ends once it is another's. Called by the worker's own loop."""
        now = time.monotonic()
        if now - self._renewed < LEASE_SECONDS / 3:
            return
        if self._store.renew(self.name, self._owner, LEASE_SECONDS):
            self._renewed = now
        else:
            self._lost.set()

    def _tick(self) -> bool:
        try:
            pipeline = self._store.pipeline(self.name)
        except NotFound:
            return False
        self._request_id = pipeline.request_id or ""
        with self._acting():
            return self._reconcile(pipeline)

    def _reconcile(self, pipeline: Pipeline) -> bool:
        self._answers.settle()
        self._resting = pipeline.desired == pipeline.status == "stopped"
        match pipeline.desired:
            case "deleted":
                self._delete(pipeline)
                return False
            case "stopped":
                self._bring_to_stop(pipeline)
            case "running" | "paused":
                if pipeline.status == "error" and not self._store.asked(self.name):
                    self._stop_applier()
                    self._look_at_rest(pipeline)
                else:
                    self._bring_to_run(pipeline)
        return True

    def _failed(self, error: HeadraceError) -> float:
        """Record a failure; how long to wait before the next tick, in seconds."""
        pipeline = self._store.pipeline(self.name)
        passing = error.kind in ("unavailable", "conflict") or error.code in _PASSING
        if pipeline.error is None or pipeline.error.get("message") != error.message:
            self.log("warning" if passing else "error", error.message, code=error.code)
        if passing:
            self._store.set_status(self.name, pipeline.status, pipeline.phase, error=error.as_dict())
            self._look_at_rest(pipeline)
            return 1.0
        shown = error.as_dict()
        if pipeline.desired != "deleted":
            shown["guidance"] = f"{error.guidance} Then run `headrace start {self.name}`.".lstrip()
            if not self._any_loaded():
                self._undo(pipeline)
        self._store.set_status(self.name, "error", error=shown)
        self._answers.refuse(error)
        return 1.0

    def log(self, level: str, message: str, **context: Any) -> None:
        """A line of the pipeline's log."""
        self._log_of("control", level, message, **context)

    def _log_of(self, component: str, level: str, message: str, **context: Any) -> None:
        with self._acting():
            _log.log(logging.getLevelNamesMapping()[level.upper()], message, extra={"context": context})
            with suppress(HeadraceError):
                self._store.log(self.name, level, component, message, **context)

    def _acting(self) -> AbstractContextManager[None]:
        """On whose behalf it works now; threads of a runner do not know it by themselves."""
        return acting(Actor(name="worker", request_id=self._request_id, pipeline=self.name))

    # -- towards running ------------------------------------------------------------------------------

    def _bring_to_run(self, pipeline: Pipeline) -> None:
        self._logins(pipeline)
        if self._routes is None or pipeline.spec_version != pipeline.applied_version:
            self._plan(pipeline)
        if self._evolution.widened():
            self._ready = False
        if pipeline.spec.mode != "full_load_only":
            self._ensure_capture(pipeline)
        self._ensure_load(pipeline)
        if pipeline.spec.mode != "full_load_only":
            self._ensure_applier(pipeline)
        if time.monotonic() - self._observed >= 1.0:
            self._observed = time.monotonic()
            self._observe(pipeline)
        self._tell(pipeline)
        self._requests(pipeline)

    def _logins(self, pipeline: Pipeline) -> None:
        source = login(self._store.connection(pipeline.spec.source).spec)
        target = login(self._store.connection(pipeline.spec.target).spec)
        if (source, target) != (self._source, self._target):
            if self._source is not None:
                self._put_down()
            self._source, self._target = source, target
            self._watching = Kept(source)

    @property
    def _ends(self) -> tuple[Login, Login]:
        assert self._source is not None
        assert self._target is not None
        return self._source, self._target

    def _plan(self, pipeline: Pipeline) -> None:
        source, target = self._ends
        known = {t.source: t for t in self._store.tables(self.name)}
        # Whoever wanted it to run has passed the preflight.
        routes = read_routes(pipeline.spec, source)
        wanted = {r.source.name: r for r in routes}
        for name in known.keys() - wanted.keys():
            if pipeline.spec_version == pipeline.applied_version:
                # Nobody asked for it to go: the table vanished from the source.
                self._evolution.pause(name, f"table {name} is gone from the source")
            else:
                self._remove_table(pipeline, known[name], target)
        for name, route in wanted.items():
            self._adopt(pipeline, route, known.get(name))
        self._routes = wanted
        # The publication follows the routes.
        self._ready = False
        self._evolution.begin(pipeline, source, target, self._routes)
        self._store.set_applied(self.name, pipeline.spec_version)

    def _adopt(self, pipeline: Pipeline, route: Route, state: TableState | None) -> None:
        shape = shape_of(route)
        if state is None:
            self._store.put_table(
                self.name,
                TableState(
                    route.source.name, route.target, rows_total=route.source.rows, detail={"shape": shape}
                ),
            )
        elif state.detail.get("shape") != shape:
            # Changed by the spec, or on the source while no worker looked: loaded again as it is now.
            self.log("info", f"{state.source} or its part in the spec has changed: loading it again")
            self._store.update_table(self.name, state.source, target=route.target)
            self._evolution.reload(route.source.name, rebuild=bool(state.detail.get("loaded")), shape=shape)

    def _remove_table(self, pipeline: Pipeline, state: TableState, target: Login) -> None:
        with connect(target, name="headrace control") as conn:
            progress.forget(conn, self.name, state.source)
        # Its topic stays until the generation ends: events of it may still be on their way.
        self._store.remove_table(self.name, state.source)
        self.log("info", f"{state.source} was taken out of the pipeline")

    def _ensure_capture(self, pipeline: Pipeline) -> None:
        source, _ = self._ends
        assert self._routes is not None
        routes = list(self._routes.values())
        if self._generation is None:
            if pipeline.generation is not None:
                self._generation = stored(pipeline.generation)
            else:
                with connect(source) as conn:
                    messages = capture.has_messages(conn)
                self._generation = invent(self.name, pipeline.spec, messages)
                # Stored before anything is made, so that whatever is made can be found and undone.
                self._store.set_generation(self.name, self._generation.as_dict())
            self._ready = False
        if not self._generation.reserved:
            self._generation = self._makers.reserve(self.name, self._generation, source, routes)
            self._store.set_generation(self.name, self._generation.as_dict())
            self._capture_now.clear()
            pages = sum(leaf.pages for route in routes for leaf in route.source.leaves)
            loads = pipeline.spec.mode != "cdc_only" and pages > LARGE_PAGES
            self._head_start = time.monotonic() + HEAD_START_SECONDS if loads else 0.0
        if time.monotonic() < self._head_start and not self._capture_now.is_set():
            return
        if not self._ready and not self._new_generation_needed():
            self._publish(routes)
            self._connect_in_background(pipeline, routes)
        if self._ready and not self._generation.connected:
            self._generation = replace(self._generation, connected=True)
            self._store.set_generation(self.name, self._generation.as_dict())

    def _publish(self, routes: list[Route]) -> None:
        """Have the publication follow the routes; what was published for the first load is so already."""
        assert self._generation is not None
        if set(self._generation.tables) != {str(r.source.name) for r in routes} or self._any_loaded():
            with self._watching_source() as conn:
                capture.publish(conn, self._generation.names, [r.source for r in routes])

    def _watching_source(self) -> AbstractContextManager[Connection]:
        assert self._watching is not None
        return self._watching.use()

    def _connect_in_background(self, pipeline: Pipeline, routes: list[Route]) -> None:
        """Start the connector while the load begins: the slot keeps all it will need."""
        if self._connect_thread is not None:
            if self._connect_thread.is_alive():
                return
            self._connect_thread = None
            if (error := self._connect_error) is not None:
                self._connect_error = None
                raise error
        generation = self._generation
        assert generation is not None
        source, _ = self._ends

        def body() -> None:
            try:
                with self._acting():
                    if self._makers.connect_to(self.name, generation, pipeline.spec, source, routes):
                        connector = generation.connector
                        self.log("info", f"the connector {connector} is set up", connector=connector)
                self._makers.connect.wait(
                    generation.connector,
                    lambda s: self._stop_load.is_set() or bool(s and (s.running or s.failed)),
                    60,
                )
                self._ready = not self._stop_load.is_set()
            except HeadraceError as error:
                self._connect_error = error
            except Exception as error:
                self._connect_error = Bug(
                    "connect", f"{type(error).__name__}: {error}", "See the worker's log."
                )

        self._stop_load.clear()
        self._connect_thread = threading.Thread(target=body, name=f"connect-{self.name}", daemon=True)
        self._connect_thread.start()

    def _new_generation_needed(self) -> bool:
        """Whether slot, connector or offsets are gone that were there; then all is made anew."""
        assert self._generation is not None
        if not self._generation.connected:
            return False
        with self._watching_source() as conn:
            slot = capture.slot_state(conn, self._generation.slot)
        return self._given_up(self._watch.before_start(self._generation, slot))

    def _given_up(self, why: str | None) -> bool:
        if why is not None:
            self._lose(why)
        return why is not None

    def _lose(self, why: str) -> None:
        """The generation is lost: every table gets a new cut under a new one; nothing is skipped."""
        assert self._generation is not None
        source, target = self._ends
        self.log("error", f"{why}: every table is loaded again from a new cut", code="generation_lost")
        self._stop_threads()
        with connect(target, name="headrace control") as conn:
            for row in progress.load_all(conn, self.name).values():
                if row.state == "live":
                    progress.set_state(conn, self.name, row.source, "held")
        self._makers.drop_log(self._generation)
        self._makers.drop_source(self.name, self._generation, source)
        for table in self._store.tables(self.name):
            self._store.update_table(
                self.name, table.source, state="pending", detail={**table.detail, "why": why}
            )
        self._store.set_generation(self.name, None)
        self._generation = None
        self._ready = False

    # -- loading --------------------------------------------------------------------------------------

    def _ensure_load(self, pipeline: Pipeline) -> None:
        if self._load_thread is not None:
            if self._load_thread.is_alive():
                return
            self._load_thread = None
            if (error := self._load_error) is not None:
                self._load_error = None
                self._load_failed(error)
        if time.monotonic() < self._load_pause or not self._may_load(pipeline):
            return
        assert self._routes is not None
        tables = self._store.tables(self.name)
        waiting = [
            t for t in tables if t.state in ("pending", "loading", "indexing") and t.source in self._routes
        ]
        if pipeline.spec.mode == "cdc_only":
            # A table that streamed already is waiting because changes of it were lost: only a load mends that.
            self._begin_without_load(pipeline, [t for t in waiting if not t.detail.get("loaded")])
            waiting = [t for t in waiting if t.detail.get("loaded")]
        if waiting:
            self._start_load(pipeline, [t.source for t in waiting])
        if pipeline.desired == "running":
            self._catch_up([t.source for t in tables if t.state == "catching_up"])

    def _may_load(self, pipeline: Pipeline) -> bool:
        """Once the source keeps every change for us; the connector of a new generation may still be starting."""
        generation = self._generation
        if pipeline.spec.mode == "full_load_only" or self._ready:
            return True
        return generation is not None and generation.reserved and not generation.connected

    def _load_failed(self, error: HeadraceError) -> None:
        if error.code == "stopped":
            return
        self._load_pause = time.monotonic() + 1.0
        if error.code in ("table_changed", "no_such_table", "no_such_column"):
            self.log("info", error.message)
            self._routes = None
            return
        raise error

    def _context(self, pipeline: Pipeline) -> loading.Context:
        source, target = self._ends
        return loading.Context(
            name=self.name,
            kafka=cluster(self._settings),
            spec=pipeline.spec,
            store=self._store,
            source=source,
            target=target,
            generation=self._generation if pipeline.spec.mode != "full_load_only" else None,
            stop=lambda: self._stop.is_set() or self._stop_load.is_set(),
            log=self.log,
            live=self._made_live,
            capture=self._capture_now.set,
            again=frozenset(t.source for t in self._store.tables(self.name) if t.detail.get("loaded")),
        )

    def _start_load(self, pipeline: Pipeline, names: list[TableName]) -> None:
        assert self._routes is not None
        routes = [self._routes[n] for n in names]
        everything = list(self._routes.values())
        context = self._context(pipeline)
        self._stop_load.clear()
        if self._generation is not None:
            # What the log lost before now is covered by the cut to come.
            self._watch.forget([self._generation.topic(name) for name in names])

        def body() -> None:
            run = self._store.run_started(self.name, "load", tables=[str(n) for n in names])
            try:
                loading.load(context, routes, everything)
                rows = sum(t.rows_loaded for t in self._store.tables(self.name) if t.source in names)
                self._store.run_finished(run, "completed", rows=rows)
            except HeadraceError as error:
                self._load_error = error
                self._store.run_finished(run, "failed", errors=1, message=error.message)
            except Exception as error:
                self._load_error = Bug("load", f"{type(error).__name__}: {error}", "See the worker's log.")
                self._store.run_finished(run, "failed", errors=1, message=str(error))
            finally:
                self._capture_now.set()

        self._load_thread = threading.Thread(target=body, name=f"load-{self.name}", daemon=True)
        self._load_thread.start()

    def _begin_without_load(self, pipeline: Pipeline, waiting: list[TableState]) -> None:
        if not waiting:
            return
        loading.begin_streams(
            self._context(pipeline), [self._routes[t.source] for t in waiting if self._routes]
        )

    def _made_live(self, name: TableName) -> None:
        if self._applier is not None:
            self._applier.look_again(forgive=name)

    def _catch_up(self, names: list[TableName]) -> None:
        """Have tables become live that reach what the source has now; one thread for all of them."""
        applier = self._applier
        if applier is None or (self._catching is not None and self._catching.is_alive()):
            return
        reached = applier.reached()
        ready = [n for n in names if n in reached]
        if not ready:
            return

        def body() -> None:
            try:
                self._pass_marker(ready, CATCH_UP_SECONDS, self._caught)
            except HeadraceError as error:
                if error.code not in ("not_caught_up", "stopped"):
                    self.log("info", f"not caught up yet: {error.message}")

        self._catching = threading.Thread(target=body, name=f"catch-up-{self.name}", daemon=True)
        self._catching.start()

    def _caught(self, name: TableName) -> None:
        for table in self._store.tables(self.name):
            if table.source == name and table.state == "catching_up":
                self._store.update_table(self.name, name, state="live")

    def caught_up(self, name: TableName, patience: float = 600.0) -> None:
        """Return once everything committed on the source before the call is applied. Raises Unavailable."""
        if self._generation is not None:
            self._pass_marker([name], patience, lambda _: None)

    def _pass_marker(
        self, names: list[TableName], patience: float, passed: Callable[[TableName], None]
    ) -> None:
        """Write a marker, see it come out of Kafka, and say which tables have applied all that came before it."""
        generation, applier = self._generation, self._applier
        source, _ = self._ends
        if generation is None or applier is None:
            raise Unavailable(
                "not_applying",
                f"{self.name} applies nothing now",
                f"Wait until its tables are loaded; where it is paused: headrace resume {self.name}",
            )

        def halted() -> bool:
            return self._stop.is_set() or self._applier is not applier or self._generation is not generation

        with connect(source, name="headrace marker") as conn:
            await_marker(
                cluster(self._settings),
                generation.marker_topic,
                lambda: capture.emit_marker(conn, self.name, f"caught-up-{os.urandom(6).hex()}").text,
                capture.marker_text,
                timeout=120,
                stop=halted,
            )
        ends = self._makers.topics.ends([generation.topic(n) for n in names])
        left = {n: ends.get(generation.topic(n), 0) for n in names}
        deadline = time.monotonic() + patience
        while True:
            reached = applier.reached()
            for name in [n for n, end in left.items() if reached.get(n, -1) >= end]:
                del left[name]
                passed(name)
            if not left:
                return
            if halted() or time.monotonic() > deadline:
                name, end = next(iter(left.items()))
                raise Unavailable(
                    "not_caught_up", f"{name} has not reached offset {end} yet", "It is tried again."
                )
            time.sleep(0.01)

    # -- applying -------------------------------------------------------------------------------------

    def _ensure_applier(self, pipeline: Pipeline) -> None:
        if pipeline.desired == "paused" or self._generation is None:
            self._stop_applier()
            return
        if self._applier_thread is not None and self._applier_thread.is_alive():
            return
        source, target = self._ends
        self._applier = Applier(
            pipeline=self.name,
            kafka=cluster(self._settings),
            source=source,
            target=target,
            token=self._generation.token,
            hooks=ApplyHooks(
                route=self._route_of,
                lenient=self._evolution.lenient,
                broken=self._table_broken,
                evolve=self._evolution.on_event,
                log=lambda level, text: self._log_of("apply", level, text),
            ),
        )
        # What came while nobody applied has to be worked off first.
        for table in self._store.tables(self.name):
            if table.state == "live":
                self._store.update_table(self.name, table.source, state="catching_up")
        self._applier_thread = threading.Thread(
            target=self._applier.run, name=f"apply-{self.name}", daemon=True
        )
        self._applier_thread.start()

    def _route_of(self, name: TableName) -> Route | None:
        return (self._routes or {}).get(name)

    def _stop_applier(self) -> None:
        if self._applier is not None:
            self._applier.stop()
        if self._applier_thread is not None:
            self._applier_thread.join(30)
        self._applier = self._applier_thread = None

    def _table_broken(self, name: TableName, error: HeadraceError) -> None:
        """A table cannot go on: a lost log is loaded again, anything else pauses the table."""
        if error.code == "log_lost":
            self.log("error", f"{error.message}: loading it again from a new cut", code=error.code)
            self._evolution.reload(name)
        elif error.code in ("unknown_field", "missing_field", "schema_changed", "unique_violation"):
            # A unique value that a batch lacks the other half of is there after a new cut.
            self._evolution.decide(name, error)
        elif not self._evolution.decide(name):
            # A row that does not fit may only be the first sign of a table that has changed.
            self._evolution.pause(name, error.message, error)

    # -- observing ------------------------------------------------------------------------------------

    def _observe(self, pipeline: Pipeline) -> None:
        with self._watching_source() as conn:
            slot = None
            if pipeline.spec.mode != "full_load_only" and self._generation is not None and self._ready:
                slot = capture.slot_state(conn, self._generation.slot)
                if self._given_up(self._watch.look(self._generation, slot)):
                    return
            if self._load_thread is None:
                self._evolution.look(conn)
                self._follow_sequences(pipeline, conn)
        self._measure(pipeline, slot)

    def _follow_sequences(self, pipeline: Pipeline, source: Connection) -> None:
        _, target = self._ends
        if pipeline.spec.create_target and self._applier is not None and self._routes:
            self._sequences.look(source, target, list(self._routes.values()))

    def _measure(self, pipeline: Pipeline, slot: capture.SlotState | None) -> None:
        generation = self._generation
        if generation is None:
            return
        states = {t.source: t.state for t in self._store.tables(self.name)}
        for name, lost in self._watch.log(pipeline, generation, list(self._routes or {}), states):
            self._table_broken(name, lost)
        if self._figure(pipeline, generation, slot, self._watch.status):
            self._note_connector(generation, self._watch.status)

    def _figure(
        self,
        pipeline: Pipeline,
        generation: Generation,
        slot: capture.SlotState | None,
        status: ConnectorStatus | None,
    ) -> bool:
        """Write down how far behind it is; whether a sample was due."""
        loaded = [t.source for t in self._store.tables(self.name) if t.state in ("live", "catching_up")]
        lag = self._watch.lag(pipeline, generation, self._applier, slot, self._ends[1], loaded)
        self._store.set_lag(self.name, lag)
        return self._sampler.look(
            lag,
            self._applier.counters if self._applier is not None else None,
            slot.confirmed if slot is not None else None,
            status,
        )

    def _note_connector(self, generation: Generation, status: ConnectorStatus | None) -> None:
        config = self._makers.connect.config(generation.connector)
        self._sampler.note_connector(generation.connector, status, config)

    def _look_at_rest(self, pipeline: Pipeline) -> None:
        """How far behind it falls while it is stopped, in error or cut off from something; nothing is judged."""
        if pipeline.generation is None or time.monotonic() - self._rested < REST_SECONDS:
            return
        self._rested = time.monotonic()
        generation, slot, status = stored(pipeline.generation), None, None
        with suppress(HeadraceError):
            self._logins(pipeline)
            with connect(self._ends[0], name="headrace control") as conn:
                slot = capture.slot_state(conn, generation.slot)
        with suppress(HeadraceError):
            status = self._makers.connect.status(generation.connector)
            self._note_connector(generation, status)
        with suppress(HeadraceError):
            self._watch.count([generation.topic(t.source) for t in self._store.tables(self.name)])
            self._figure(pipeline, generation, slot, status)

    def _tell(self, pipeline: Pipeline) -> None:
        """Write status and phase as they follow from the tables."""
        tables = self._store.tables(self.name)
        moving = [t.state for t in tables if t.state not in ("paused", "error")]
        error = self._shown_trouble(tables)
        if pipeline.spec.mode == "full_load_only":
            done = moving and all(s == "live" for s in moving)
            status, phase = ("idle", None) if done else ("running", "seeding")
        elif pipeline.desired == "paused":
            status, phase = "paused", _phase(moving)
        else:
            status, phase = "running", _phase(moving)
        if not moving and tables:
            status, phase = "error", None
        if (pipeline.status, pipeline.phase, pipeline.error) != (status, phase, error):
            self._store.set_status(self.name, status, phase, error=error)

    def _shown_trouble(self, tables: list[TableState]) -> dict[str, Any] | None:
        stuck = next((t.error for t in tables if t.state in ("paused", "error") and t.error), None)
        if stuck:
            return stuck
        if self._load_thread is not None:
            return self._store.pipeline(self.name).error
        if self._applier is not None and self._applier.trouble is not None:
            return self._applier.trouble.as_dict()
        trouble = self._watch.trouble()
        return trouble.as_dict() if trouble is not None else None

    # -- requests -------------------------------------------------------------------------------------

    def _requests(self, pipeline: Pipeline) -> None:
        request = self._store.take_request(self.name)
        if request is None:
            return
        self._request_id = request.request_id or self._request_id
        assert self._routes is not None
        source, target = self._ends
        match request.kind:
            case "resync":
                name = self._answers.table_of(
                    request, self._routes, [t.source for t in self._store.tables(self.name)]
                )
                if name is not None:
                    if pipeline.status == "error":
                        self._store.set_status(self.name, "starting", None)
                    self._evolution.reload(name)
                    self._routes = None
                    if self._applier is not None:
                        self._applier.look_again(forgive=name)
            case "verify":
                self._answers.verify(request, source, target, list(self._routes.values()), self._applier)
            case kind:
                self._store.finish_request(
                    request.id, error=Precondition("unknown_request", f"unknown request {kind!r}").as_dict()
                )

    # -- towards rest ---------------------------------------------------------------------------------

    def _bring_to_stop(self, pipeline: Pipeline) -> None:
        if pipeline.status in ("stopped", "draft"):
            self._look_at_rest(pipeline)
            return
        self._put_down()
        if pipeline.generation is not None:
            connector = stored(pipeline.generation).connector
            if self._makers.connect.config(connector) is not None:
                self._makers.connect.stop(connector)
                self._makers.connect.wait(connector, lambda s: s is None or not s.tasks, 60)
        self._store.set_status(self.name, "stopped", None, error=None)
        self._answers.refuse(not_running(self.name))
        self._rested = 0.0
        self.log("info", "stopped; the replication slot is kept and holds back WAL until the next start")

    def _put_down(self) -> None:
        self._stop_threads()
        if self._watching is not None:
            self._watching.close()
        self._routes = None
        self._ready = False

    def _stop_threads(self) -> None:
        self._stop_load.set()
        self._stop_applier()
        if self._connect_thread is not None:
            self._connect_thread.join(70)
            self._connect_thread = self._connect_error = None
        if self._load_thread is not None and self._load_thread is not threading.current_thread():
            self._load_thread.join(30)
            self._load_thread = None
            self._load_error = None

    def _any_loaded(self) -> bool:
        return any(t.detail.get("loaded") for t in self._store.tables(self.name))

    def _undo(self, pipeline: Pipeline) -> None:
        """Take back whatever a failed first start has made."""
        self._put_down()
        try:
            teardown.undo(self._makers, self._store, self._store.pipeline(self.name), drop_target=False)
            self._generation = None
        except HeadraceError as error:
            self.log("warning", f"not everything could be taken back: {error.message}")

    def _delete(self, pipeline: Pipeline) -> None:
        self._store.set_status(self.name, "stopping", None)
        self._put_down()
        teardown.undo(
            self._makers, self._store, pipeline, drop_target=bool(pipeline.flags.get("drop_target"))
        )
        self._store.remove_pipeline(self.name)


def _phase(states: list[str]) -> str:
    if any(s in ("pending", "loading", "indexing") for s in states):
        return "seeding"
    return "catching_up" if "catching_up" in states else "incremental"
