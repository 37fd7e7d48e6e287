"""``python -m bench``: run, write ``results.json``, print the table; ``--readme`` only renders what was measured."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import report
from bench.ground import Ground, Wrong
from bench.starting import Start
from bench.works import Latency, Load, Run, Stream

MADE: Mapping[str, Callable[[Ground, float], Load | Stream | Latency]] = {
    "load": Load,
    "stream": Stream,
    "latency": Latency,
}
WORKS = (*MADE, "start")


def main() -> int:
    """The exit code: 0 done, 1 when a run went wrong."""
    options = _options()
    if options.readme:
        report.readme(report.read(options.out))
        return 0
    try:
        runs = list(_runs(options.only, options.scale, options.repeat))
    except Wrong as wrong:
        print(f"The bench has failed: {wrong}", file=sys.stderr)
        return 1
    found = report.merge(report.rows(runs, options.scale), report.read(options.out))
    report.write(options.out, found)
    report.show(found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of rows")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each system; the median counts")
    parser.add_argument("--only", type=lambda text: text.split(","), default=WORKS, help=",".join(WORKS))
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="results file to write (and add to)")
    parser.add_argument("--readme", action="store_true", help="put the results file's figures into README.md")
    options = parser.parse_args()
    if unknown := set(options.only) - set(WORKS):
        parser.error(f"unknown work {', '.join(sorted(unknown))}")
    return options


def _runs(only: list[str], scale: float, repeat: int) -> Iterator[Run]:
    """Every system once, then all of them again: what slows the machine for a while slows none alone."""
    with ExitStack() as stack:
        ground = stack.enter_context(Ground()) if set(only) - {"start"} else None
        if ground is not None:
            for work in (make(ground, scale) for name, make in MADE.items() if name in only):
                for number in range(repeat):
                    yield from _told(work.runs(number), number)
    if "start" in only:
        # Alone on the machine: the other installation would be in its way.
        start = Start(scale)
        for number in range(repeat):
            yield from _told(start.runs(number), number)


def _told(runs: Iterator[Run], number: int) -> Iterator[Run]:
    for run in runs:
        more = " ".join(f"{name}={value:g}" for name, value in run.more.items())
        print(
            f"{time.strftime('%H:%M:%S')} {run.work} #{number + 1} {run.system}: {run.seconds:.3f} s {more}",
            flush=True,
        )
        yield run


if __name__ == "__main__":
    sys.exit(main())
