"""Any sequence of changes, cut into any batches, folds into what makes the target equal to the source."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_model import Source, Target, apply_of, take_keyless

from headrace.engines.model import Row

KEYS = st.integers(0, 2)
VALUE = st.tuples(
    st.integers(0, 9), st.sampled_from(["big-a", "big-b", "big-c"]), st.sampled_from(["{1}", "{2}", "{3}"])
)
UPDATE = st.tuples(st.just("update"), KEYS, VALUE, st.booleans())
CHANGE = st.one_of(
    st.tuples(st.just("insert"), KEYS, VALUE),
    UPDATE,
    UPDATE,
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("rekey"), KEYS, KEYS, VALUE, st.booleans()),
    st.tuples(st.just("swap"), KEYS, KEYS, st.booleans()),
    st.tuples(st.just("truncate")),
)
# How many records arrive, by which way they are written, how far ahead the source is while they are.
BATCH = st.tuples(st.integers(1, 12), st.sampled_from(["upsert", "replace"]), st.integers(0, 8))


@pytest.mark.parametrize("lossy", [False, True])
@settings(max_examples=700, deadline=None)
@given(
    loaded=st.dictionaries(KEYS, VALUE),
    changes=st.lists(CHANGE, min_size=4, max_size=24),
    batches=st.lists(BATCH, min_size=1, max_size=8),
)
def test_keyed(
    loaded: dict[int, Any], changes: list[Any], batches: list[tuple[int, str, int]], lossy: bool
) -> None:
    start = {key: (key, *value) for key, value in loaded.items()}
    width = 4 if lossy else 3
    source = Source(dict(start), lossy)
    target = Target({(key,): row[:width] for key, row in start.items()}, apply_of(keyed=True, lossy=lossy))
    for name, *arguments in changes:
        getattr(source, name)(*arguments)
    done = arrived = turn = 0
    while done < len(source.records):
        size, mode, ahead = batches[turn % len(batches)]
        turn += 1
        arrived = min(arrived + size, len(source.records))
        now = source.history[min(arrived - 1 + ahead, len(source.records) - 1)]
        done += target.take(source.records[done:arrived], now, mode)
    assert target.rows == {(key,): row[:width] for key, row in source.rows.items()}


ROW = st.tuples(st.integers(0, 1), st.none() | st.integers(0, 1), st.sampled_from(["a", "b"]))


@settings(max_examples=300, deadline=None)
@given(
    loaded=st.lists(ROW, max_size=4),
    changes=st.lists(st.tuples(st.sampled_from("cudt"), ROW, st.integers(0, 9)), max_size=20),
    sizes=st.lists(st.integers(1, 6), min_size=1),
)
def test_keyless(loaded: list[Row], changes: list[tuple[str, Row, int]], sizes: list[int]) -> None:
    rows, source = list(loaded), Source()
    for op, row, which in changes:
        if op == "c":
            rows.append(row)
            source.emit("c", None, row)
        elif op == "t":
            rows.clear()
            source.emit("t", None, None)
        elif rows:
            old = rows.pop(which % len(rows))
            rows += [row] if op == "u" else []
            source.emit(op, old, row if op == "u" else None)
    target, applier, done = Counter(loaded), apply_of(keyed=False), 0
    turn = 0
    while done < len(source.records):
        size = sizes[turn % len(sizes)]
        turn += 1
        take_keyless(target, applier, source.records[done : done + size])
        done += size
    assert +target == Counter(rows)
