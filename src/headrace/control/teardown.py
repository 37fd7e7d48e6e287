"""Taking a pipeline back: what Headrace made on the source, in Kafka and Connect, and in the target."""

from __future__ import annotations

from headrace.control.generation import Makers, stored
from headrace.control.preflight import login
from headrace.engines.model import TableName
from headrace.engines.postgres import land, progress
from headrace.engines.postgres.connection import Login, connect
from headrace.store import Store
from headrace.store.records import Pipeline, TableState


def undo(makers: Makers, store: Store, pipeline: Pipeline, *, drop_target: bool) -> None:
    """Remove generation, progress rows and tables that never became whole; repeatable until it went through.

    drop_target: every target table goes as well. The store forgets tables and generation.
    """
    tables = store.tables(pipeline.name)
    target = login(store.connection(pipeline.spec.target).spec)
    if pipeline.generation is not None:
        generation = stored(pipeline.generation)
        makers.drop_log(generation)
        makers.drop_source(pipeline.name, generation, login(store.connection(pipeline.spec.source).spec))
        store.set_generation(pipeline.name, None)
    if tables:
        _clean_target(target, pipeline, tables, drop_target)
    for table in tables:
        store.remove_table(pipeline.name, table.source)


def _clean_target(target: Login, pipeline: Pipeline, tables: list[TableState], drop_target: bool) -> None:
    with connect(target, name="headrace control") as conn:
        rows = progress.load_all(conn, pipeline.name)
        for table in tables:
            row = rows.get(table.source)
            half_made = row is not None and row.state == "loading" and bool(table.detail.get("made"))
            if half_made or (drop_target and row is not None):
                land.drop_table(conn, table.target)
            if shadow := table.detail.get("shadow"):
                land.drop_table(conn, TableName(table.target.schema, str(shadow)))
        land.drop_shadows(conn, pipeline.name, [t.source for t in tables])
        progress.forget(conn, pipeline.name)
