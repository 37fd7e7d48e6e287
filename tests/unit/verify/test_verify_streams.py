"""Merging ordered streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.compare import StreamRow, weight
from headrace.verify.report import Totals
from headrace.verify.streams import windows

Row = tuple[str, str, int]
HASHES = [f"{n:032x}" for n in (1 << 100, 2 << 90, 3 << 80)]

row = st.tuples(st.text(alphabet="abÄ😀", max_size=3), st.sampled_from(HASHES), st.integers(1, 2))


def blocks(rows: list[Row], size: int) -> Iterator[list[StreamRow]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


@given(st.lists(row), st.lists(row), st.integers(1, 4), st.integers(1, 4))
def test_every_key_is_agreed_or_differs(ours: list[Row], theirs: list[Row], one: int, other: int) -> None:
    ours, theirs = (sorted(rows, key=lambda r: r[0].encode()) for rows in (ours, theirs))
    total, differing = Totals(), set()
    for window in windows(blocks(ours, one), blocks(theirs, other)):
        total.add(window.agreed.rows, window.agreed.checksum)
        assert not differing & window.differing
        differing |= window.differing
    left, right = Counter(ours), Counter(theirs)
    for key in {r[0] for r in (*ours, *theirs)}:
        same = {r: n for r, n in left.items() if r[0] == key} == {
            r: n for r, n in right.items() if r[0] == key
        }
        # A key that stands for several rows may be looked at without need, never the other way round.
        assert same or (key,) in differing
        if same and sum(n for r, n in left.items() if r[0] == key) == 1:
            assert (key,) not in differing
    agreed = [r for r in ours if (r[0],) not in differing]
    assert total == Totals(sum(r[2] for r in agreed), sum(weight(r[1]) * r[2] for r in agreed))


def test_only_two_blocks_are_held() -> None:
    served = [0, 0]

    def stream(side: int) -> Iterator[list[StreamRow]]:
        for start in range(0, 1000, 10):
            served[side] += 1
            yield [(f"{n:04}", HASHES[0], 1) for n in range(start, start + 10)]

    for number, window in enumerate(windows(stream(0), stream(1))):
        assert not window.differing
        assert max(served) <= number + 2
