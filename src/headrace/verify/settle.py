"""Judging single keys while both sides move.

A round reads the source, waits until the target has caught up, reads the target, and reads the source again.

*Equal*: the target's row is one that the source had since the round began.

*Different*: the target's row was not written anew between two rounds, and is not what the source had when it
was read in between. Since the target had to catch up with that read without touching its row, its row is what
it makes of it. A row that is absent has no such stamp: there the source's must be unchanged as well.

*Unsettled*: neither, after all rounds. Between rounds keys that move are watched: both sides are read in turn
for a moment, so that even a row which changes a thousand times a second is met in the same version twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.engines.compare import ABSENT, Found, Key, Pair, Version

_WATCHED = 1_000  # keys at most that are worth watching
_WATCH = 0.1  # seconds of the first watch; doubled every round
_LONGEST_WATCH = 10.0  # seconds


@dataclass(slots=True)
class Verdicts:
    """equal: key -> the version both sides had. different: key -> (source, target). unsettled: the rest."""

    equal: dict[Key, Version] = field(default_factory=dict)
    different: dict[Key, tuple[Version, Version]] = field(default_factory=dict)
    unsettled: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one round saw of a key: the source before and after, the target in between."""

    before: Found
    target: Found
    after: Found

    @property
    def equal(self) -> bool:
        return self.target.version in {self.before.version, self.after.version}

    def proves_difference(self, earlier: _Look | None) -> bool:
        """Given the look of the round before."""
        if earlier is None or self.equal or earlier.target != self.target:
            return False
        return bool(self.target.version) or earlier.before == earlier.after == self.before == self.after


def settle(
    pair: Pair,
    keys: Sequence[Key],
    caught_up: Callable[[], None],
    rounds: int,
    clock: Callable[[], float] = time.monotonic,
) -> Verdicts:
    """Judge each key in at most ``rounds`` rounds (two at least are needed to prove a difference)."""
    verdicts = Verdicts()
    looks: dict[Key, _Look] = {}
    pending = list(keys)
    before: dict[Key, Found] | None = None
    for number in range(rounds):
        start = clock()
        earlier, looks = looks, _round(pair, pending, before, caught_up)
        # The target shows what the source had about one such while ago.
        window = min(max(_WATCH * 2**number, 2 * (clock() - start)), _LONGEST_WATCH)
        pending = [k for k, look in looks.items() if not _judged(verdicts, k, look, earlier.get(k))]
        moving = [k for k in pending if looks[k].before != looks[k].after]
        before = {k: looks[k].after for k in pending}
        if 0 < len(moving) <= _WATCHED:
            met = _watch(pair, {k: looks[k] for k in moving}, clock() + window, clock)
            verdicts.equal.update(met)
            pending = [k for k in pending if k not in met]
            before = None
        if not pending:
            break
    verdicts.unsettled = pending
    return verdicts


def _round(
    pair: Pair, keys: list[Key], before: dict[Key, Found] | None, caught_up: Callable[[], None]
) -> dict[Key, _Look]:
    """before: a read of the source since the target was last read, which saves this round's own."""
    if before is None:
        before = pair.source.lookup(keys)
    caught_up()
    target = pair.target.lookup(keys)
    first = {key: before.get(key, ABSENT) for key in keys}
    open_keys = [k for k in keys if first[k].version != target.get(k, ABSENT).version]
    after = pair.source.lookup(open_keys)
    again = {**first, **{key: after.get(key, ABSENT) for key in open_keys}}
    return {key: _Look(first[key], target.get(key, ABSENT), again[key]) for key in keys}


def _judged(verdicts: Verdicts, key: Key, look: _Look, earlier: _Look | None) -> bool:
    if look.equal:
        verdicts.equal[key] = look.target.version
    elif look.proves_difference(earlier):
        verdicts.different[key] = look.before.version, look.target.version
    else:
        return False
    return True


def _watch(
    pair: Pair, looks: dict[Key, _Look], until: float, clock: Callable[[], float]
) -> dict[Key, Version]:
    """Read both sides in turn; a key is met when the target shows a version the source had in this round."""
    seen = {key: {look.before.version, look.after.version} for key, look in looks.items()}
    met: dict[Key, Version] = {}
    while seen:
        keys = list(seen)
        source, target = pair.source.lookup(keys), pair.target.lookup(keys)
        for key in keys:
            seen[key].add(source.get(key, ABSENT).version)
            shown = target.get(key, ABSENT).version
            if shown in seen[key]:
                met[key] = shown
                del seen[key]
        if clock() >= until:
            break
    return met
