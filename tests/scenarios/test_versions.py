"""Every major version as source, with the newest as target; the oldest, which needs most detours, every day."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.lab import NOTHING, PGBENCH, Lab, leftovers, pgbench, pgbench_init


@pytest.fixture(params=["13", *(pytest.param(v, marks=pytest.mark.full) for v in ("14", "15", "16", "17"))])
def old_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """An installation with an older source."""
    laboratory = Lab(source_version=request.param)
    yield laboratory
    laboratory.stop()


def test_older_sources_are_loaded_and_streamed(old_lab: Lab) -> None:
    with old_lab.pair("CREATE TABLE later (id int PRIMARY KEY, a int[], t text)") as pair:
        pgbench_init(old_lab.source, pair.name)
        with pgbench(old_lab.source, pair.name, clients=4, rate=200):
            pair.apply(exclude=["public.later"])
            pair.src.execute(
                "INSERT INTO later SELECT i, ARRAY[i, i], repeat('x', i) FROM generate_series(1, 500) i"
            )
            pair.apply()
            pair.src.execute("UPDATE later SET a = a || 1 WHERE id % 2 = 0")
            pair.cli("resync", pair.name, "public.pgbench_history")
            assert pair.cli("verify", pair.name)["equal"] is True
        pair.equal(*PGBENCH, "later")
        pair.cli("delete", pair.name)
        assert leftovers(old_lab, pair) == NOTHING
