"""The data folder of an installation: private, with a random token for the local command line."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from headrace.errors import Denied


def prepare(data: Path) -> None:
    """Create the folder (0700), its secrets and logs folders and its token (0600); what exists stays."""
    try:
        for folder in (data, data / "connect-secrets", data / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            write_new(data / "token", secrets.token_urlsafe(32))
    except PermissionError as error:
        raise Denied(
            "data_unwritable",
            f"The data folder {data} cannot be written: {error.strerror}.",
            "Choose another with --data or HEADRACE_DATA, or mend its owner.",
            {"data": str(data)},
        ) from error


def write_new(path: Path, text: str) -> None:
    """Create a private file; FileExistsError when there is one. Never seen half written."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(scratch, path)
    finally:
        scratch.unlink()


def write_over(path: Path, text: str) -> None:
    """Replace a private file in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)
