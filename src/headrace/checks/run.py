"""Running the checks of all sides at once and gathering what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from headrace.errors import Finding, HeadraceError

Thunk = Callable[[], Iterable[Finding]]

_ORDER = {"error": 0, "warning": 1, "info": 2}


def at(side: str, thunk: Callable[[], Iterable[Finding] | Finding | None]) -> Thunk:
    """The thunk with its side: a HeadraceError becomes an error finding of that side.

    thunk: may give findings, one finding, or None.
    """

    def checked() -> list[Finding]:
        try:
            found = thunk()
        except HeadraceError as error:
            return [Finding(error.code, "error", side, error.message, error.guidance)]
        if found is None:
            return []
        return [found] if isinstance(found, Finding) else list(found)

    return checked


def collect(*thunks: Thunk) -> list[Finding]:
    """All findings of all thunks, each once, errors first, else in the order of the thunks.

    They run side by side, so that one unreachable server costs its time-out once. A thunk that is not wrapped
    by ``at`` and raises HeadraceError gives a finding of side ``spec``.
    """
    if not thunks:
        return []
    with ThreadPoolExecutor(len(thunks), thread_name_prefix="check") as pool:
        found = list(pool.map(lambda thunk: at("spec", thunk)(), thunks))
    once = dict.fromkeys(finding for findings in found for finding in findings)
    return sorted(once, key=lambda finding: _ORDER[finding.severity])
