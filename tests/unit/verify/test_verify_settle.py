"""Verdicts on keys, against a source that moves by a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from headrace.engines.compare import Found, Key, Pair, Side
from headrace.verify.settle import settle

KEY: Key = ("1",)


class Scripted:
    """Answers each lookup with the next (value, stamp) of a script; the last one stays."""

    def __init__(self, *script: tuple[str, int] | None) -> None:
        self.script = list(script)
        self.looks = 0

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Found]:
        self.looks += 1
        state = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return {k: Found(((state[0], 1),), state[1]) for k in keys} if state and keys else {}


def judged(
    source: Scripted, target: Scripted, rounds: int = 5, caught_up: Callable[[], None] = lambda: None
) -> Any:
    ticks: Iterator[float] = iter(range(10**9))
    pair = Pair(cast(Side, source), cast(Side, target), ("v",), ("id",), True)
    verdicts = settle(pair, [KEY], caught_up, rounds, lambda: next(ticks))
    if KEY in verdicts.equal:
        return "equal"
    return verdicts.different.get(KEY, "unsettled")


def test_same_is_equal_after_one_look() -> None:
    source = Scripted(("a", 1))
    assert judged(source, Scripted(("a", 9))) == "equal"


def test_one_look_never_proves_a_difference() -> None:
    # The source was at b for a moment and is at a again with another stamp: the target was right.
    assert judged(Scripted(("a", 1), ("a", 3)), Scripted(("b", 9), ("a", 10))) == "equal"


def test_what_rests_and_differs_is_different() -> None:
    assert judged(Scripted(("a", 1)), Scripted(("b", 9))) == ((("a", 1),), (("b", 1),))
    assert judged(Scripted(("a", 1)), Scripted(None)) == ((("a", 1),), ())
    assert judged(Scripted(None), Scripted(("a", 9))) == ((), (("a", 1),))


def test_a_target_row_that_is_not_rewritten_is_different_although_the_source_moves() -> None:
    moving = Scripted(*((f"v{n}", n) for n in range(1, 1000)))
    assert judged(moving, Scripted(("old", 9)))[1] == (("old", 1),)


def test_an_absent_target_row_is_no_proof_while_the_source_moves() -> None:
    # Inserted and deleted all the time: the target may be right whenever it shows nothing.
    moving = Scripted(*((f"v{n}", n) for n in range(1, 1000)))
    assert judged(moving, Scripted(None)) == "unsettled"


def test_a_row_written_anew_on_the_target_is_no_proof() -> None:
    assert judged(Scripted(("a", 1)), Scripted(*(("b", n) for n in range(9, 99)))) == "unsettled"


def test_what_always_moves_is_unsettled() -> None:
    source = Scripted(*((f"v{n}", n) for n in range(1, 1000)))
    target = Scripted(*((f"w{n}", n) for n in range(1, 1000)))
    assert judged(source, target) == "unsettled"


def test_a_hot_row_is_met_by_watching() -> None:
    # The target is six looks behind, so no single round ever sees the two in step.
    source = Scripted(*((f"v{n}", n) for n in range(1, 1000)))
    target = Scripted(*((f"v{n}", n) for n in range(1, 1000)))
    source.script = source.script[6:]
    target.script = [*target.script[:1], *target.script[6:]]
    assert judged(source, target) == "equal"


def test_the_target_is_waited_for_in_every_round() -> None:
    waits: list[None] = []
    judged(Scripted(("a", 1)), Scripted(("b", 9)), caught_up=lambda: waits.append(None))
    assert len(waits) == 2
