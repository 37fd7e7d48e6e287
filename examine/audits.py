"""Asks advisory databases about locked packages: pip-audit for requirements.lock, npm for each package-lock.json.

A database that cannot be reached, or that knows none of the packages (as mirrors of an index do), is no finding: it is
said and passed over. A known weakness fails, unless pyproject.toml accepts it by its id with a reason
(``[tool.examine.accepted]``). ``HEADRACE_OSV_URL`` asks a database that speaks OSV in place of PyPI's; npm asks the
registry that it is set up with.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SECONDS = 10  # for one answer of a database
_ALL_SECONDS = 60  # for one audit

# How pip-audit ends when a database does not answer, or not in its own words.
_UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceError|HTTPError|SSLError|ProxyError|JSONDecodeError"
)

End = Literal["clean", "weak", "skipped", "broken"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was audited and how it ended; ``lines`` name the weaknesses, or why there is no answer."""

    what: str
    end: End
    lines: tuple[str, ...] = ()

    def fails(self, strict: bool) -> bool:
        """Whether a check fails for it; a strict one does without an answer too."""
        return self.end in ("weak", "broken") or (strict and self.end == "skipped")


def audit_python(lock: Path, accepted: Iterable[str] = (), osv_url: str | None = None) -> Audit:
    """Known weaknesses of a requirements file with every version pinned (and hashed, or not)."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    words += ["--format", "json", "--progress-spinner", "off", "--timeout", str(SECONDS)]
    words += [word for one in accepted for word in ("--ignore-vuln", one)]
    words += ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    return _audit(f"Python packages of {lock.name}", words, lock.parent, of_pip_audit)


def audit_npm(lock: Path, accepted: Iterable[str] = (), registry: str | None = None) -> Audit:
    """Known weaknesses of a package-lock.json; skipped where this machine has no npm."""
    what = f"npm packages of {lock.parent.name}/{lock.name}"
    if (npm := shutil.which("npm")) is None:
        return Audit(what, "skipped", ("there is no npm on this machine",))
    words = [npm, "audit", "--json", "--package-lock-only", "--fetch-retries=0"]
    words += [f"--fetch-timeout={SECONDS * 1000}", *([f"--registry={registry}"] if registry else [])]
    return _audit(what, words, lock.parent, lambda said: _of_npm(said, frozenset(accepted)))


def _audit(
    what: str, words: Sequence[str], folder: Path, read: Callable[[Any], tuple[End, list[str]]]
) -> Audit:
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=_ALL_SECONDS, check=False, env=_quiet()
        )
    except subprocess.TimeoutExpired:
        return Audit(what, "skipped", (f"no answer in {_ALL_SECONDS} s",))
    try:
        end, lines = read(json.loads(done.stdout))
    except (ValueError, KeyError):
        end, lines = _of_failure(done.stderr)
    return Audit(what, end, tuple(lines))


def _quiet() -> dict[str, str]:
    return {**os.environ, "NO_UPDATE_NOTIFIER": "1", "npm_config_update_notifier": "false"}


def _of_failure(errors: str) -> tuple[End, list[str]]:
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    return ("skipped" if _UNREACHABLE.search(errors) else "broken"), [last]


def of_pip_audit(said: Any) -> tuple[End, list[str]]:
    """What pip-audit's JSON comes to; KeyError when it is none of its."""
    packages = said["dependencies"]
    known = [one for one in packages if "skip_reason" not in one]
    if packages and not known:
        return "skipped", [f"the database that answered knows none of the {len(packages)} packages"]
    weak = [_weak_python(one, each) for one in known for each in one["vulns"]]
    unknown = [f"{one['name']}: unknown to the database" for one in packages if "skip_reason" in one]
    return ("weak" if weak else "clean"), [*weak, *unknown]


def _weak_python(package: Mapping[str, Any], weakness: Mapping[str, Any]) -> str:
    names = ", ".join([weakness["id"], *weakness.get("aliases", ())])
    mended = ", ".join(weakness.get("fix_versions", ())) or "none yet"
    return f"{package['name']} {package['version']}: {names}; mended in: {mended}"


def _of_npm(said: Any, accepted: frozenset[str]) -> tuple[End, list[str]]:
    if "vulnerabilities" not in said:
        # Without a message it is not the registry's answer but npm's own trouble, with the lock for example.
        trouble = [str(said.get("message") or said["error"]["summary"]).strip()]
        return ("skipped" if "message" in said else "broken"), trouble
    weak = {
        f"{each['name']} {each['range']}: {each['severity']}, {each['url']} ({each['title']})"
        for one in said["vulnerabilities"].values()
        for each in one["via"]
        if isinstance(each, dict) and each["url"].rsplit("/", 1)[-1] not in accepted
    }
    return ("weak" if weak else "clean"), sorted(weak)
