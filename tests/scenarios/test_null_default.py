"""NULL stays NULL in a column with a default: Connect's JSON converter puts the default there unless told not to."""

from __future__ import annotations

from support.lab import Pair

SCHEMA = """
CREATE TABLE keyed (id int PRIMARY KEY, i int DEFAULT 5, t text DEFAULT 'x', n numeric DEFAULT 1.5, b bool DEFAULT true,
  at timestamptz DEFAULT '2020-01-01', r text DEFAULT md5(random()::text), w int);
CREATE TABLE keyless (i int DEFAULT 5, t text DEFAULT 'x', r text DEFAULT md5(random()::text));
INSERT INTO keyed (id) VALUES (1), (2); INSERT INTO keyed VALUES (3, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO keyless VALUES (1, 'a', NULL), (NULL, NULL, NULL)
"""

CHANGES = """
INSERT INTO keyed VALUES (4, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE keyed SET i = NULL, t = NULL, n = NULL, b = NULL, at = NULL, r = NULL WHERE id = 1;
UPDATE keyed SET w = 1;
INSERT INTO keyless VALUES (2, NULL, NULL), (NULL, NULL, NULL); UPDATE keyless SET i = 7 WHERE i = 1;
UPDATE keyless SET t = NULL WHERE t = 'a'; DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE i IS NULL)
"""


def test_null_is_not_replaced_by_the_default(pair: Pair) -> None:
    pair.src.execute(SCHEMA.encode())
    pair.apply()
    pair.src.execute(CHANGES.encode())
    pair.equal("keyed", "keyless", seconds=30)
