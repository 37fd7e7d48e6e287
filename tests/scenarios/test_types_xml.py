"""XML, which the servers of the other tests were built without."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from headrace.local.postgres import PostgresServer
from support.lab import Lab, Pair

XML = (
    "'<a b=\"1\">é &amp; <!-- c --><![CDATA[<]]></a>'",
    "'text <b/> and <c/>'",
    '\'<?xml version="1.0" encoding="UTF-8"?><a/>\'',
    "''",
    "('<a>' || repeat('long ', 3000) || md5('x') || '</a>')::xml",
    "NULL",
)


@pytest.fixture
def with_xml(lab: Lab) -> Iterator[Pair]:
    """The laboratory with two servers of version 17 in the place of its own."""
    other = copy.copy(lab)
    with (
        PostgresServer(version="17", fsync=False) as source,
        PostgresServer(version="17", fsync=False) as target,
    ):
        other.source, other.target = source, target
        with other.pair() as pair:
            yield pair


def test_xml_is_the_same_loaded_and_streamed(with_xml: Pair) -> None:
    pair = with_xml
    pair.src.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v xml, a xml[], w int); ALTER TABLE t ALTER v SET STORAGE EXTERNAL"
    )
    for number, value in enumerate(XML):
        pair.src.execute(f"INSERT INTO t VALUES ({number}, {value}, ARRAY[{value}, NULL]::xml[], 0)".encode())
    pair.apply()
    pair.equal("t")
    pair.src.execute("INSERT INTO t SELECT id + 100, v, a, 0 FROM t")
    pair.src.execute("UPDATE t SET w = 1; UPDATE t SET id = -id WHERE id IN (2, 4)")
    pair.equal("t")
    pair.src.execute(
        "UPDATE t SET v = '<new/>' WHERE id = 1; UPDATE t SET v = NULL WHERE id = 0; DELETE FROM t WHERE id = 3"
    )
    pair.equal("t")
