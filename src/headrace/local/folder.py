"""The data folder of an installation: private, with a random token for the local command line."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import Denied
from headrace.secrecy import make_private


def prepare(data: Path) -> None:
    """Create the folder (0700), its secrets and logs folders and its token (0600); what exists stays, an empty token does not.

    Files of secrets that others could read are mended. Denied ``data_unwritable``.
    """
    make(data)
    with writable(data):
        for folder in (data / "connect-secrets", data / "logs"):
            folder.mkdir(mode=0o700, exist_ok=True)
        _token(data / "token")
    for name in ("token", "secret.key", "headrace.db"):
        make_private(data / name)


def make(data: Path) -> None:
    """Create the folder (0700) where there is none. Denied ``data_unwritable``."""
    with writable(data):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(data, os.W_OK):
            why = errno.EROFS if os.statvfs(data).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(why, os.strerror(why))


@contextlib.contextmanager
def writable(data: Path) -> Iterator[None]:
    """What is written into the folder within is, or Denied ``data_unwritable`` says why not."""
    try:
        yield
    except OSError as error:
        raise Denied(
            "data_unwritable",
            f"The data folder {data} cannot be written: {error.strerror}.",
            "Choose another with --data or HEADRACE_DATA, or mend its owner, its file system or the space on it.",
            {"data": str(data)},
        ) from error


def _token(path: Path) -> None:
    made = secrets.token_urlsafe(32)
    try:
        write_new(path, made)
    except FileExistsError:
        # A disk that was full, or a power loss, can leave an empty one, which lets nobody in.
        if not path.read_bytes().strip():
            write_over(path, made)


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
