"""Bound the files that take what children print: the children keep them open, so content moves, not the file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

LIMIT_BYTES = 10 << 20


def rotate(files: Iterable[Path], limit: int = LIMIT_BYTES) -> None:
    """Move the content of each file above ``limit`` bytes to ``<file>.1``, replacing what was there."""
    for file in files:
        with contextlib.suppress(OSError):
            if file.stat().st_size > limit:
                shutil.copyfile(file, file.with_name(file.name + ".1"))
                with file.open("r+b") as opened:
                    opened.truncate(0)
