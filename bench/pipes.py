"""Two ``psql COPY | psql COPY`` pipes side by side, then the primary key: about the least there is to do."""

from __future__ import annotations

import subprocess

from bench.ground import TABLE, Ends, Ground, Wrong, psql

NAME = "two psql COPY pipes, binary, then the key"


def copy(ground: Ground, ends: Ends) -> None:
    """Copy the table by halves of its blocks and build its primary key; the target table is there, without key."""
    [[pages]] = ground.sql(
        ground.source, ends.source, f"SELECT pg_relation_size('{TABLE}') / current_setting('block_size')::int"
    )
    middle = f"ctid {{}} '({pages // 2},0)'"
    pipes = [_pipe(ground, ends, middle.format(side)) for side in ("<", ">=")]
    for out, into in pipes:
        if into.wait() or out.wait():
            raise Wrong("a psql pipe failed")
    ground.sql(ground.target, ends.target, f"ALTER TABLE {TABLE} ADD PRIMARY KEY (aid)")


def _pipe(ground: Ground, ends: Ends, where: str) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    words, env = psql(
        ground.source,
        ends.source,
        f"COPY (SELECT * FROM {TABLE} WHERE {where}) TO STDOUT (FORMAT BINARY)",
    )
    out = subprocess.Popen(words, env=env, stdout=subprocess.PIPE)
    words, env = psql(ground.target, ends.target, f"COPY {TABLE} FROM STDIN (FORMAT BINARY)")
    into = subprocess.Popen(words, env=env, stdin=out.stdout)
    assert out.stdout is not None
    out.stdout.close()
    return out, into
