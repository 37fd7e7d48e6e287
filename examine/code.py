"""bandit over the program's own code, without its remarks on comments that it has honoured.

A finding is mended, or the line says why it is none: ``# nosec B603  # our own words, no shell``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def find_weak_code(folder: Path, config: Path) -> list[str]:
    """Every finding below ``folder`` as ``file:line: test, what``; also a file that could not be read.

    config: a pyproject.toml with ``[tool.bandit]``. RuntimeError when bandit did not work.
    """
    words = [sys.executable, "-m", "bandit", "--quiet", "--format", "json"]
    words += ["--configfile", str(config), "--recursive", os.path.relpath(folder, config.parent)]
    done = subprocess.run(words, cwd=config.parent, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"bandit did not work: {done.stderr.strip()}")
    return sorted(_said(json.loads(done.stdout)))


def _said(answer: dict[str, list[dict[str, str]]]) -> Iterator[str]:
    for one in answer["results"]:
        yield f"{one['filename']}:{one['line_number']}: {one['test_id']}, {one['issue_text']}"
    for one in answer["errors"]:
        yield f"{one['filename']}: {one['reason']}"
