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


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO moods VALUES (2, '{ok,sad}', 0)",
        "UPDATE vectors SET w = 1 WHERE id < 3",
        # A column that came after the connector was made.
        "ALTER TABLE moods ADD v float8[] NOT NULL DEFAULT array_fill(1.0::float8, ARRAY[1536]);"
        "ALTER TABLE moods ALTER v SET STORAGE EXTERNAL; UPDATE moods SET w = 7; UPDATE moods SET w = 8",
        "ALTER TABLE moods ADD m2 mood[] NOT NULL DEFAULT '{ok}'; UPDATE moods SET w = 7;"
        "ALTER TABLE moods ALTER m2 DROP DEFAULT; UPDATE moods SET w = 8",
    ],
)
def test_capture_goes_on(pair: Pair, change: str) -> None:
    pair.src.execute(SCHEMA.encode())
    pair.src.execute(CANARY)
    pair.apply()
    pair.src.execute(change.encode())
    pair.canary(30)
    pair.src.execute("UPDATE moods SET w = w + 1; UPDATE vectors SET w = w + 1")
    pair.canary(30)
    pair.equal("moods", "vectors", seconds=30)
