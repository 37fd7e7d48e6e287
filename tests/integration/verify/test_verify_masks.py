"""A mask as SQL and its twin in Python give the same."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.engines.postgres.masks import MASKS, mask_expression, mask_function
from headrace.errors import Invalid

VALUES = [
    ("text", "'a'"),
    ("text", "''"),
    ("text", "'ß 日本 😀 \\ '' \" %% \n'"),
    ("text", "NULL"),
    ("char(6)", "'ab'"),
    ("varchar(9)", "'ab '"),
    ("bool", "true"),
    ("int", "-7"),
    ("numeric", "1.10"),
    ("float8", "'-0'"),
    ("inet", "'10.0.0.1'"),
    ("timestamptz", "'2024-03-31 03:00+02'"),
    ("bytea", "'\\x00ff'"),
    ("text[]", "'{a,NULL,\"b c\"}'"),
    ("jsonb", "'{\"a\": null}'"),
    ('"Pair"', "ROW(NULL, NULL)"),
    ('"Pair"', "NULL"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_sql_and_python_mask_alike(two: Any, kind: str, value: str) -> None:
    two.source.do('CREATE TYPE "Pair" AS (a int, b int)')
    two.source.do(f'CREATE TABLE t(id int PRIMARY KEY, "v %" {kind})')
    two.source.do(f"INSERT INTO t VALUES (1, {value.replace('%%', '%')})")
    column = two.route("t").source.column("v %")
    with two.source.conn.cursor() as cursor, cursor.copy('COPY t("v %") TO STDOUT') as copy:
        ((text,),) = list(copy.rows())  # the type's output text, as a loader or decoder sees it
    for mask in MASKS:
        ((masked,),) = two.source.rows(
            f"SELECT {mask_expression(chr(34) + 'v %' + chr(34), mask, column)} FROM t"
        )
        assert masked == mask_function(mask)(text), mask


def test_no_mask_changes_nothing_and_an_unknown_one_is_refused(two: Any) -> None:
    two.source.do("CREATE TABLE t(id int PRIMARY KEY)")
    column = two.route("t").source.column("id")
    assert mask_expression('"id"', None, column) == '"id"'
    assert mask_function(None)("x") == "x"
    with pytest.raises(Invalid):
        mask_expression('"id"', "rot13", column)
    with pytest.raises(Invalid):
        mask_function("rot13")
