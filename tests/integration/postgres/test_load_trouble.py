"""The target fails at the worst moments of a load: nothing is done twice, and the load goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql
from two_databases import Pair, route

from headrace.engines.model import TableName
from headrace.engines.postgres import cut, ddl, progress, read
from headrace.engines.postgres.connection import Connection, Login, connect
from headrace.errors import Bug, Unavailable
from headrace.load.loader import Hooks, Job, Loader

LOST = Unavailable("connection_lost", "the target went away", "It is tried again.")


def login(conn: Connection) -> Login:
    info = conn.info
    return Login("127.0.0.1", info.dbname, info.user, info.password, info.port)


def load(pair: Pair, done: Callable[[], None]) -> tuple[Job, list[str]]:
    """Load table t; ``done``: what happens when it is to land. The job, and the troubles told on the way."""
    made = route(pair.tables()["t"])
    progress.install(pair.target)
    progress.begin_load(pair.target, "p", "t:1")
    pair.run(ddl.create_table(made))
    job = Job(made, TableName("public", "t"), "t:1", ddl.indexes(made))
    told: list[str] = []
    snapshot = cut.open_snapshot(login(pair.source), 0)
    try:
        Loader(
            pipeline="p",
            source=login(pair.source),
            target=login(pair.target),
            snapshot=snapshot.exported,
            alive=snapshot.alive,
            workers=2,
            hooks=Hooks(done=lambda _: done(), trouble=lambda error: told.append(error.code)),
        ).run([job])
    finally:
        snapshot.close()
    return job, told


@pytest.fixture
def filled(pair: Pair) -> Pair:
    pair.source.execute("CREATE TABLE public.t (id int PRIMARY KEY, v text UNIQUE)")
    pair.source.execute("INSERT INTO public.t SELECT i, i::text FROM generate_series(1, 5000) i")
    pair.source.execute("GRANT SELECT ON public.t TO reader")
    return pair


def rows(pair: Pair) -> Any:
    return pair.target.execute("SELECT count(*), count(DISTINCT id) FROM public.t").fetchone()


def test_landing_fails_after_the_indexes_are_made(filled: Pair) -> None:
    answers = [LOST, None]

    def done() -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    job, told = load(filled, done)
    assert (job.rows, told, answers) == (5000, ["connection_lost"], [])
    assert rows(filled) == (5000, 5000)


def test_landed_but_the_answer_was_lost(filled: Pair) -> None:
    answers = [LOST, None]

    def done() -> None:
        if (error := answers.pop(0)) is not None:
            progress.forget_load(filled.target, "p", "t:1")
            raise error

    load(filled, done)
    assert answers == []
    assert rows(filled) == (5000, 5000)


def test_answer_to_the_last_commit_of_each_step_is_lost(
    filled: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction of the load is committed, and its worker is told that the connection broke."""
    mark, seen = progress.mark_range, set[int]()

    def losing(conn: Connection, pipeline: str, name: str, number: int, count: int) -> None:
        mark(conn, pipeline, name, number, count)
        if number not in seen:
            seen.add(number)
            # Below psycopg, which does not let go of its transaction.
            conn.pgconn.exec_(b"COMMIT")
            raise LOST

    monkeypatch.setattr(progress, "mark_range", losing)
    job, told = load(filled, lambda: None)
    assert job.rows == 5000
    assert len(told) == len(seen) >= 2
    assert rows(filled) == (5000, 5000)


def test_a_second_copy_ends_the_first_and_does_not_wait_for_ever(pair: Pair) -> None:
    twice = sql.SQL("SELECT 1) TO STDOUT; COPY (SELECT 2")
    with connect(login(pair.source)) as conn, pytest.raises(Bug) as caught:
        list(read.copy_out(conn, sql.Composed([twice]), binary=False))
    assert caught.value.code == "copy_twice"
