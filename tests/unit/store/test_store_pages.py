"""Lists come in pages, found and sorted by the database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from headrace.errors import NotFound
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.records import TableState


def names(store: Store, *args: Any, **more: Any) -> list[str]:
    """Of the connections that fit."""
    return [c.name for c in store.connections(*args, **more)[0]]


def test_pages_of_connections(store: Store, connection: ConnectionSpec) -> None:
    hosts = {"a": "z.example", "b": "Y.example", "c_d": "x.example", "cxd": "w.example"}
    for name, host in hosts.items():
        store.put_connection(name, connection.model_copy(update={"host": host, "database": f"Über{name}"}))
    store.put_connection("gone", connection)
    store.delete_connection("gone")
    found, total = store.connections(limit=2, offset=1)
    assert ([c.name for c in found], total) == (["b", "c_d"], 4)
    assert store.connections(offset=9, limit=5) == ([], 4)
    assert names(store, sort="-name") == ["cxd", "c_d", "b", "a"]
    assert names(store, sort="created_at") == [*hosts]
    assert names(store, sort="-updated_at", limit=1) == ["cxd"]
    assert names(store, sort="host")[-1] == "a"
    assert names(store, "y.EXAMPLE") == ["b"]
    assert names(store, "Überb") == ["b"]
    assert names(store, "c_") == ["c_d"]
    assert names(store, "%") == []
    assert store.connections("example", "postgres", limit=1)[1] == 4
    assert store.connections("example", "mysql") == ([], 0)


def test_pages_of_connection_tests(store: Store, connection: ConnectionSpec) -> None:
    store.put_connection("a", connection)
    for n in range(60):
        store.add_connection_test("a", "ok", float(n), None)
    found, total = store.connection_tests("a", limit=5, offset=52)
    assert ([t.response_time_ms for t in found], total) == ([7.0, 6.0, 5.0, 4.0, 3.0], 60)


def test_pages_of_tables(store: Store, pipeline: PipelineSpec) -> None:
    named = [TableName(schema, f"t{n}") for schema in ("a", "b") for n in range(5)]
    for table in reversed(named):
        store.put_table("p", TableState(table, TableName("x", table.name), cut={"lsn": table.name}))
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *seen: asked.append(seen[2]))
    found, total = store.listed_tables("p", limit=3, offset=4)
    assert "LIMIT" in asked[-1]
    assert ([t.source for t in found], total) == (named[4:7], 10)
    assert (found[0].target, found[0].cut) == (TableName("x", "t4"), {"lsn": "t4"})
    assert store.listed_tables("p", limit=100)[0] == store.tables("p")
    assert store.listed_tables("p", offset=2**53) == ([], 10)
    with pytest.raises(NotFound):
        store.listed_tables("q")


@pytest.fixture
def three(store: Store, pipeline: PipelineSpec) -> Store:
    """``p`` far behind, ``q`` whose lag nobody knows, ``r`` a little behind; ``gone`` is gone."""
    for name in ("q", "r", "gone"):
        store.put_pipeline(name, pipeline)
    store.set_lag("p", {"events": 5, "seconds": 90.5, "bytes": 5 * 2**31, "heads": {}})
    store.set_lag("r", {"events": 2, "seconds": 0.25, "bytes": None})
    store.set_lag("gone", {"events": 7, "seconds": 1000.0, "bytes": 7})
    store.remove_pipeline("gone")
    store.set_status("r", "running", "incremental")
    for name, state in (("p", "loading"), ("p", "live"), ("r", "live")):
        table = TableName("public", state)
        store.put_table(name, TableState(source=table, target=table, state=state))
    return store


def test_pages_of_figures(three: Store) -> None:
    def found(*args: Any, **more: Any) -> list[str]:
        return [row["name"] for row in three.figures(*args, **more)]

    assert found() == ["p", "q", "r"]
    assert found(sort="-name", limit=2) == ["r", "q"]
    # What nobody has measured is neither far behind nor near.
    assert found(sort="lag") == ["r", "p", "q"]
    assert found(sort="-lag") == ["p", "r", "q"]
    assert found(sort="-lag", limit=1, offset=1) == ["r"]
    assert found("running") == found("incremental") == found(q="r") == ["r"]
    assert [row["tables"] for row in three.figures(sort="-lag", limit=2)] == [
        {"loading": 1, "live": 1},
        {"live": 1},
    ]
    assert three.lag_sums() == {
        "pipelines": 3,
        "events": 7,
        "bytes": 5 * 2**31,
        "worst_seconds": 90.5,
    }
    assert three.lag_sums("running")["events"] == 2
    assert three.lag_sums(q="x") == {"pipelines": 0, "events": 0, "bytes": 0, "worst_seconds": None}


def test_the_last_samples_are_read_of_those_asked_for(three: Store) -> None:
    for name, errors in (("p", 1), ("p", 2), ("r", 3)):
        three.add_metrics(name, error_count=errors)
    ids = {row["name"]: row["id"] for row in three.figures()}
    found = three.last_metrics([ids["p"], ids["q"]])
    assert {id_: m.error_count for id_, m in found.items()} == {ids["p"]: 2}
    assert three.last_metrics([]) == {}


def test_a_page_reads_no_more_than_its_rows(three: Store) -> None:
    """The bounds reach the database; what is not on the page is not read."""
    said: list[str] = []
    event.listen(three._engine, "before_cursor_execute", lambda *args: said.append(str(args[2])))
    three.figures(limit=1)
    three.connections(limit=1)
    assert [q.count("LIMIT") for q in said if "ORDER BY" in q] == [1, 1]
    assert all("WHERE" in q for q in said if "SELECT" in q)
