"""NOT NULL columns that are re-read: Debezium makes NULL of their values, and must not stop at that."""

from __future__ import annotations

import pytest

from support.lab import CANARY, Pair

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE moods (id int PRIMARY KEY, m mood[] NOT NULL, w int);
CREATE TABLE vectors (id int PRIMARY KEY, v float8[] NOT NULL, w int);
ALTER TABLE vectors ALTER v SET STORAGE EXTERNAL;
INSERT INTO moods VALUES (1, '{sad}', 0);
INSERT INTO vectors SELECT i, array_fill(i::float8, ARRAY[1536]), 0 FROM generate_series(1, 3) i;
"""


STOPS = pytest.mark.xfail(
    strict=True, reason="the connector stops at NULL in a field that its schema requires"
)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO moods VALUES (2, '{ok,sad}', 0)",
        pytest.param("UPDATE vectors SET w = 1 WHERE id < 3", marks=STOPS),
    ],
)
def test_capture_goes_on(pair: Pair, change: str) -> None:
    pair.src.execute(SCHEMA.encode())
    pair.src.execute(CANARY)
    pair.apply()
    pair.src.execute(change.encode())
    pair.canary(30)
    pair.equal("moods", "vectors", seconds=30)
