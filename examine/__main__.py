"""``python -m examine``: code, audits, credentials; ``--strict`` fails for what was skipped too; ``--sbom`` writes the bill."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from examine.audits import Audit, audit_npm, audit_python
from examine.bill import LOCK, SBOM, bill
from examine.code import find_weak_code
from examine.credentials import find_credentials, known_files
from examine.packages import ROOT

PYPROJECT = ROOT / "pyproject.toml"
_WORDS = {"clean": "nothing known", "weak": "WEAK", "skipped": "SKIPPED", "broken": "FAILED"}


def main() -> int:
    """The exit code: 0 nothing found, 1 weak code, a known weakness, a credential, or an audit that did not work."""
    options = _options()
    if options.sbom:
        SBOM.write_text(bill(), encoding="utf-8")
        return 0
    with ThreadPoolExecutor() as pool:  # the audits wait for databases, bandit is a process of its own
        code = pool.submit(find_weak_code, ROOT / "src", PYPROJECT)
        audits = pool.map(lambda audit: audit(), _audits())
        found = [_show("Credentials in files", map(str, find_credentials(ROOT)))]
        found += [_show("Code, by bandit", code.result())]
        found += [_show_audit(audit, options.strict) for audit in audits]
    return 1 if any(found) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examine", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="what could not be audited fails too")
    parser.add_argument("--sbom", action="store_true", help="only write sbom.json")
    return parser.parse_args()


def _audits() -> Iterator[Callable[[], Audit]]:
    accepted = _accepted()
    yield partial(audit_python, LOCK, accepted, os.environ.get("HEADRACE_OSV_URL"))
    for name in known_files(ROOT):
        if name.rsplit("/", 1)[-1] == "package-lock.json":
            yield partial(audit_npm, ROOT / name, accepted)


def _accepted() -> list[str]:
    """Ids of the weaknesses that pyproject.toml says are lived with."""
    tools = tomllib.loads(PYPROJECT.read_text("utf-8"))["tool"]
    return list(tools.get("examine", {}).get("accepted", {}))


def _show(what: str, found: Iterable[str]) -> bool:
    lines = list(found)
    print(f"{what}: {'FOUND' if lines else 'nothing found'}")
    print("".join(f"  {line}\n" for line in lines), end="")
    return bool(lines)


def _show_audit(audit: Audit, strict: bool) -> bool:
    print(f"{audit.what}: {_WORDS[audit.end]}")
    print("".join(f"  {line}\n" for line in audit.lines), end="")
    return audit.fails(strict)


if __name__ == "__main__":
    sys.exit(main())
