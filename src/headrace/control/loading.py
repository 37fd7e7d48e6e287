"""One load of some tables of a pipeline, from hold to live: fence, cut, copy, land.

The order is the proof. Hold the tables; publish them; wait until nothing older than the publication runs; see a
marker come out of Kafka; open a snapshot newer than the marker; copy; land with the cut, in one transaction.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from headrace.capture.markers import await_first, await_marker
from headrace.capture.topics import Topics
from headrace.control.generation import Generation
from headrace.engines.model import Cut, Progress, Route, TableName
from headrace.engines.postgres import capture, catalog, cut, ddl, land, progress
from headrace.engines.postgres.connection import Connection, Login, connect, open_bulk, translated
from headrace.entering import Cluster
from headrace.errors import Conflict, HeadraceError, Invalid, Precondition, Unavailable
from headrace.load.loader import Hooks, Job, Loader
from headrace.spec.models import PipelineSpec
from headrace.store import Store

LONG_SECONDS = 3.0
_END_IT = "End it: COMMIT or ROLLBACK (PREPARED), or pg_terminate_backend(pid); the load goes on then."


@dataclass(slots=True)
class Plan:
    """How one table is loaded. way: ``fresh`` into a table just made (or emptied), ``merge`` into a shadow whose
    differences are written, ``rebuild`` into a new table that takes the old one's place."""

    route: Route
    way: str
    job: Job
    made: bool = False
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Context:
    """What a load works with. generation None: a full load without a stream. again: tables that were live
    before, whose log may have been interrupted. capture: asks for the connector, which may have been left for later."""

    name: str
    kafka: Cluster
    spec: PipelineSpec
    store: Store
    source: Login
    target: Login
    generation: Generation | None
    stop: Callable[[], bool]
    log: Callable[[str, str], None]
    live: Callable[[TableName], None]
    capture: Callable[[], None]
    again: frozenset[TableName] = frozenset()


def load(ctx: Context, routes: Sequence[Route], everything: Sequence[Route]) -> None:
    """Load ``routes``; ``everything``: all routes of the pipeline, for the publication.

    Returns when each is live, or raises; what is not live then is loaded again by the next call.
    """
    progress_ready(ctx)
    _hold(ctx, routes)
    newer_than = _newer_than(ctx, routes, everything)
    with connect(ctx.source, name="headrace catalog") as conn:
        before = catalog.signatures(conn, [r.source.name for r in routes])
    _same_columns(routes, before)
    ctx.log("info", f"taking the cut for {len(routes)} tables")
    snapshot = cut.open_snapshot(ctx.source, newer_than, stop=ctx.stop, waiting=_waiting(ctx))
    try:
        routes = _with_storage(ctx, routes)
        plans = _prepared(ctx, routes)
        proof = _Once(lambda: _prove_start(ctx))
        loader = Loader(
            pipeline=ctx.name,
            source=ctx.source,
            target=ctx.target,
            snapshot=snapshot.exported,
            alive=snapshot.alive,
            workers=ctx.spec.load.workers,
            rate=ctx.spec.load.rows_per_second,
            hooks=Hooks(
                rows=lambda job: _count(ctx, job),
                indexing=lambda job: ctx.store.update_table(
                    ctx.name, job.route.source.name, state="indexing"
                ),
                done=lambda job: _or_pause(
                    ctx,
                    job.route,
                    lambda: _land(ctx, plans[job.route.source.name], snapshot.cut, before, proof),
                ),
                trouble=lambda error: _trouble(ctx, error),
                stop=ctx.stop,
            ),
        )
        loader.run([p.job for p in plans.values()])
    finally:
        snapshot.close()
    _sequences(ctx, everything)


def progress_ready(ctx: Context) -> None:
    """Make Headrace's own tables in the target."""
    with connect(ctx.target, name="headrace control") as conn:
        progress.install(conn)


def _waiting(ctx: Context) -> Callable[[str], None]:
    """Tells for whom the cut waits, once it has waited for longer than transactions usually take."""
    since = time.monotonic()

    def tell(who: str) -> None:
        if time.monotonic() - since > LONG_SECONDS:
            guidance = (
                "End it: COMMIT or ROLLBACK (PREPARED), or pg_terminate_backend(pid); the load goes on then."
            )
            _trouble(ctx, Unavailable("cut_waits", f"the cut waits for {who}", guidance))

    return tell


def _trouble(ctx: Context, error: HeadraceError) -> None:
    shown = ctx.store.pipeline(ctx.name).error
    if shown is None or shown.get("code") != error.code:
        ctx.log("warning", f"loading is interrupted and goes on by itself: {error.message}")
        ctx.store.set_status(ctx.name, "running", "seeding", error=error.as_dict())


def _hold(ctx: Context, routes: Sequence[Route]) -> None:
    """From here on the applier leaves the tables alone; where it stands is kept."""
    with connect(ctx.target, name="headrace control") as conn:
        rows = progress.load_all(conn, ctx.name)
        ids = _topic_ids(ctx, routes)
        for route in routes:
            row = rows.get(route.source.name)
            state = "held" if row is not None and row.state in ("live", "held") else "loading"
            topic = ctx.generation.topic(route.source.name) if ctx.generation else ""
            progress.put(conn, _start(ctx, route, row, topic, ids.get(topic, ""), state))
            ctx.store.update_table(
                ctx.name, route.source.name, state="loading", rows_loaded=0, error=None, target=route.target
            )


def _topic_ids(ctx: Context, routes: Sequence[Route]) -> dict[str, str]:
    if ctx.generation is None:
        return {}
    topics = Topics(ctx.kafka)
    names = [ctx.generation.topic(r.source.name) for r in routes]
    topics.create([*names, ctx.generation.marker_topic])
    return topics.ids(names)


def _start(
    ctx: Context, route: Route, row: Progress | None, topic: str, topic_id: str, state: str
) -> Progress:
    generation = ctx.generation.id if ctx.generation else "full-load"
    if row is not None and row.topic_id == topic_id and row.generation == generation and topic_id:
        start = Topics(ctx.kafka)
        first, last = start.starts([topic])[topic], start.ends([topic])[topic]
        kept = replace(row, target=route.target, state=state)
        if not first <= row.next_offset <= last:
            # The log lost its tail or its head; the cut to come covers what is gone.
            kept = replace(kept, next_offset=first, last_offset=-1, last_position=-1)
        return kept
    return Progress(
        pipeline=ctx.name,
        generation=generation,
        topic=topic,
        topic_id=topic_id,
        source=route.source.name,
        target=route.target,
        state=state,
    )


def _newer_than(ctx: Context, routes: Sequence[Route], everything: Sequence[Route]) -> int:
    """The transaction id that the cut has to be newer than.

    Tables published before the slot was made need no fence: the slot keeps every transaction that the cut does
    not see, and landing waits for the proof that capture began there.
    """
    if ctx.generation is None:
        return 0
    names = [r.source.name for r in routes]
    if ctx.generation.began_with(names) and not ctx.again.intersection(names):
        return ctx.generation.xid
    return _fence(ctx, everything)


def _prove_start(ctx: Context) -> None:
    """Wait until the generation's first marker is read, committed, from Kafka."""
    if ctx.generation is not None:
        ctx.capture()
        await_first(
            ctx.kafka, ctx.generation.marker_topic, ctx.generation.marker, capture.marker_text, stop=ctx.stop
        )


def _fence(ctx: Context, everything: Sequence[Route]) -> int:
    """Publish, wait out what is older, see a marker come out of Kafka; its transaction id."""
    generation = ctx.generation
    assert generation is not None
    with connect(ctx.source, name="headrace control") as conn:
        capture.publish(conn, generation.names, [r.source for r in everything])
        first = capture.emit_marker(conn, ctx.name, f"published-{secrets.token_hex(6)}")
        cut.open_snapshot(ctx.source, first.xid, stop=ctx.stop, waiting=_waiting(ctx)).close()
        capture.touch_publication(conn, generation.names)
        xids: list[int] = []

        def emit() -> str:
            marker = capture.emit_marker(conn, ctx.name, f"fence-{secrets.token_hex(6)}")
            xids.append(marker.xid)
            return marker.text

        await_marker(
            ctx.kafka, generation.marker_topic, emit, capture.marker_text, timeout=120, stop=ctx.stop
        )
    return xids[-1]


def _same_columns(routes: Sequence[Route], now: dict[TableName, catalog.Signature]) -> None:
    changed = [r.source.name for r in routes if now.get(r.source.name, ("",))[0] != r.source.signature]
    if changed:
        raise Conflict(
            "table_changed", f"{', '.join(map(str, changed))} changed on the source; looking again"
        )


def _with_storage(ctx: Context, routes: Sequence[Route]) -> list[Route]:
    """The routes with the sizes of their relations as of now: ranges must end beyond the last row."""
    with connect(ctx.source, name="headrace catalog") as conn:
        now = {t.name: t for t in catalog.describe(conn, [r.source.name for r in routes])}
    if missing := [r.source.name for r in routes if r.source.name not in now]:
        raise Conflict("table_changed", f"{', '.join(map(str, missing))} is gone from the source")
    return [replace(r, source=replace(r.source, leaves=now[r.source.name].leaves)) for r in routes]


def begin_streams(ctx: Context, routes: Sequence[Route]) -> None:
    """``cdc_only``: every table is live from the slot's first position on; there is no cut."""
    progress_ready(ctx)
    ids = _topic_ids(ctx, routes)
    with connect(ctx.target, name="headrace control") as conn:
        for route in routes:
            assert ctx.generation is not None
            if not land.exists(conn, route.target):
                raise Precondition(
                    "target_table_missing",
                    f"table {route.target} does not exist on the target",
                    "`cdc_only` streams into tables that are there; create it, or load it too.",
                )
            topic = ctx.generation.topic(route.source.name)
            progress.put(conn, _start(ctx, route, None, topic, ids[topic], "live"))
            _set_detail(ctx, route, loaded=True)
            ctx.store.update_table(ctx.name, route.source.name, state="catching_up", error=None)
            ctx.live(route.source.name)


# -- the target's side ----------------------------------------------------------------------------------


def _prepared(ctx: Context, routes: Sequence[Route]) -> dict[TableName, Plan]:
    """The plan of each table; one that was live and cannot go on is paused and left out."""
    plans: dict[TableName, Plan] = {}
    with open_bulk(ctx.target) as conn, connect(ctx.source, name="headrace catalog") as source:
        if ctx.spec.create_target:
            prerequisites(conn, source, routes)
        ends = _Ends(conn, ddl.facts(conn), progress.load_all(conn, ctx.name))
        for route in routes:
            try:
                plans[route.source.name] = _prepare(ctx, ends, route)
            except Precondition as error:
                if route.source.name not in ctx.again:
                    raise
                _pause(ctx, route, error)
    return plans


def _pause(ctx: Context, route: Route, error: HeadraceError) -> None:
    ctx.store.update_table(ctx.name, route.source.name, state="paused", error=error.as_dict())
    ctx.log("error", f"{route.source.name} is paused: {error.message}")


@dataclass(frozen=True, slots=True)
class _Ends:
    """What preparing needs of the target: a connection, what the server has, and where the tables stand."""

    conn: Connection
    known: ddl.Facts
    rows: dict[TableName, Progress]


def _prepare(ctx: Context, ends: _Ends, route: Route) -> Plan:
    detail = _detail(ctx, route)
    load_id = f"{route.source.name}:{secrets.token_hex(6)}"
    conn, row = ends.conn, ends.rows[route.source.name]
    there = land.exists(conn, route.target)
    progress.begin_load(conn, ctx.name, load_id)
    ours = bool(detail.get("made")) and row.state == "loading"
    if row.state == "loading" and ctx.spec.create_target and (not there or ours):
        return _make(ctx, ends, route, load_id)
    if row.state == "loading":
        return _fill(conn, route, load_id, there)
    if _needs_rebuild(ctx, conn, route, bool(detail.get("rebuild")), there):
        return _rebuild(ctx, ends, route, load_id)
    shadow = land.shadow_name(ctx.name, route.source.name)
    land.make_shadow(conn, route, shadow)
    return Plan(route, "merge", Job(route, shadow, load_id))


def _needs_rebuild(ctx: Context, conn: Connection, route: Route, wanted: bool, there: bool) -> bool:
    """Whether a new table has to take the place of the old one. Raises Precondition where that is not ours to do."""
    misfits = [f for f in ddl.compare(conn, route) if f.severity == "error"] if there else []
    if ctx.spec.create_target and ctx.spec.mode != "cdc_only":
        return wanted or not there or bool(misfits)
    if not there or misfits:
        raise Precondition(
            "target_table_differs",
            misfits[0].message if misfits else f"table {route.target} does not exist on the target",
            "Change the target table as the source's has changed, then resync it.",
            {"findings": [f.as_dict() for f in misfits]},
        )
    return False


def _detail(ctx: Context, route: Route) -> dict[str, object]:
    found = (t.detail for t in ctx.store.tables(ctx.name) if t.source == route.source.name)
    return dict(next(found, {}))


def _set_detail(ctx: Context, route: Route, **values: object) -> None:
    detail = {**_detail(ctx, route), **values}
    ctx.store.update_table(ctx.name, route.source.name, detail=detail)


def _make(ctx: Context, ends: _Ends, route: Route, load_id: str) -> Plan:
    conn, known = ends.conn, ends.known
    # Said before it is done: a table that stands half made after a crash is known to be ours.
    _set_detail(ctx, route, made=True)
    with translated(), conn.transaction():
        land.drop_table(conn, route.target)
        run(conn, ddl.create_table(route, known=known))
    finish = ddl.finishing(route, known=known)
    return Plan(route, "fresh", Job(route, route.target, load_id, finish), made=True)


def prerequisites(conn: Connection, source: Connection, routes: Sequence[Route]) -> None:
    """Schemas, types, extensions that the tables need on the target."""
    with translated(), conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(7165131042)")
        run(conn, ddl.prerequisites(source, conn, routes))


def _fill(conn: Connection, route: Route, load_id: str, there: bool) -> Plan:
    if not there:
        raise Precondition(
            "target_table_missing",
            f"table {route.target} does not exist on the target",
            "Create it, or set `create_target: true`.",
        )
    land.empty(conn, route.target)
    return Plan(route, "fresh", Job(route, route.target, load_id))


def _rebuild(ctx: Context, ends: _Ends, route: Route, load_id: str) -> Plan:
    conn, known = ends.conn, ends.known
    shadow = TableName(route.target.schema, f"headrace_{secrets.token_hex(6)}")
    if left := _detail(ctx, route).get("shadow"):
        land.drop_table(conn, TableName(route.target.schema, str(left)))
    # Said before it is done, so that it is found after a crash.
    _set_detail(ctx, route, shadow=shadow.name)
    with translated(), conn.transaction():
        run(conn, ddl.create_table(route, shadow, known=known))
    finish = ddl.finishing(route, shadow, known=known)
    after = ddl.swap(route, shadow, known=known)
    return Plan(route, "rebuild", Job(route, shadow, load_id, finish), after=after)


def run(conn: Connection, statements: Sequence[str]) -> None:
    """Execute statements that are ready as they stand."""
    for statement in statements:
        conn.execute(statement.encode())


def _advise(ctx: Context, conn: Connection, route: Route) -> None:
    """Tell the planner what the table holds; advice only, so that a failure is no failure of the load."""
    try:
        with translated(ctx.target):
            conn.execute(f"ANALYZE {ddl.qualified(route.target)}".encode())
    except HeadraceError as error:
        ctx.log("warning", f"{route.target} could not be analysed: {error.message[:300]}")


def _count(ctx: Context, job: Job) -> None:
    ctx.store.update_table(ctx.name, job.route.source.name, rows_loaded=job.rows)
    shown = ctx.store.pipeline(ctx.name)
    if shown.error is not None:
        # Rows came through: whatever interrupted the load is over.
        ctx.store.set_status(ctx.name, shown.status, shown.phase, error=None)


class _Once:
    """Does something once for all threads; whoever comes later waits for the first."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do, self._done, self._lock = do, False, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._do()
                self._done = True


def _or_pause(ctx: Context, route: Route, land_it: Callable[[], None]) -> None:
    """Land one table. What the target refuses of one that was live before is no reason to stop the others."""
    try:
        land_it()
    except (Precondition, Invalid) as error:
        if route.source.name not in ctx.again:
            raise
        _pause(ctx, route, error)


def _land(
    ctx: Context,
    plan: Plan,
    taken: Cut,
    before: dict[TableName, catalog.Signature],
    proof: Callable[[], None],
) -> None:
    """The load's last step for one table: nothing changed meanwhile, and the cut goes in with the data."""
    route, name = plan.route, plan.route.source.name
    with connect(ctx.source, name="headrace catalog") as conn:
        if catalog.signatures(conn, [name]).get(name) != before.get(name):
            raise Conflict(
                "table_changed", f"{name} was rewritten or altered during the load; loading it again"
            )
    proof()
    with open_bulk(ctx.target) as conn, translated(ctx.target):
        row = progress.load_all(conn, ctx.name)[name]
        # Landed already when only the answer to the commit was lost; the applier may be on its way.
        if row.state not in ("live", "done") or row.cut != taken:
            _swap_in(ctx, conn, plan, taken)
        _advise(ctx, conn, route)
    files = [list(f) for f in before[name][1]] if route.source.partitioned else None
    _set_detail(ctx, route, rebuild=False, shadow=None, finish=None, loaded=True, files=files)
    ctx.store.update_table(
        ctx.name,
        name,
        state="catching_up" if ctx.generation else "live",
        rows_loaded=plan.job.rows,
        rows_total=plan.job.rows,
        cut=asdict(taken),
        error=None,
    )
    ctx.log("info", f"{name}: {plan.job.rows} rows loaded")
    ctx.live(name)


def _swap_in(ctx: Context, conn: Connection, plan: Plan, taken: Cut) -> None:
    route = plan.route
    if plan.way != "fresh":
        _whole(conn, plan)
    with conn.transaction():
        progress.own_load(conn, ctx.name, plan.job.load)
        row = progress.load_all(conn, ctx.name)[route.source.name]
        if plan.way == "merge":
            land.merge(conn, route, plan.job.into)
            land.drop_table(conn, plan.job.into)
        run(conn, plan.after)
        run(conn, _finish_columns(ctx, route))
        progress.put(conn, replace(row, state="live" if ctx.generation else "done", cut=taken))
        progress.forget_load(conn, ctx.name, plan.job.load)


def _whole(conn: Connection, plan: Plan) -> None:
    if land.count(conn, plan.job.into) != plan.job.rows:
        raise Conflict("load_incomplete", f"{plan.job.into} lost rows while it was loaded; loading again")


def _finish_columns(ctx: Context, route: Route) -> list[str]:
    """What an added column had to leave until its existing rows were filled."""
    wanted = _detail(ctx, route).get("finish") or []
    assert isinstance(wanted, list)
    return [s for m in route.columns if m.source.name in wanted for s in ddl.finish_column(route, m.source)]


def _sequences(ctx: Context, routes: Sequence[Route]) -> None:
    if not ctx.spec.create_target:
        return
    with connect(ctx.source, name="headrace catalog") as source, open_bulk(ctx.target) as conn:
        with translated(ctx.target):
            run(conn, ddl.sequences(source, conn, routes))
