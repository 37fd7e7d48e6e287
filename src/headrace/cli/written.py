"""Files that a command writes: complete or not at all, and for nobody else to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headrace.errors import Conflict, Invalid


@contextmanager
def written(file: str, force: bool) -> Iterator[IO[bytes]]:
    """A stream that is in the file once all went well; ``-`` is standard output.

    Conflict ``file_exists`` unless forced, Invalid ``unwritable``.
    """
    if file == "-":
        with _standard_output() as stream:
            yield stream
        return
    path = Path(file)
    if not force and os.path.lexists(path):
        raise _exists(file)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _put(draft, path, force)
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise Invalid("unwritable", f"{file}: {error.strerror}", "Name another file.") from None
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, path: Path, force: bool) -> None:
    if force or not _linked(draft, path):
        draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _linked(draft: Path, path: Path) -> bool:
    """Give it its name unless that has appeared meanwhile; False on file systems without links."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


@contextmanager
def _standard_output() -> Iterator[IO[bytes]]:
    if sys.stdout.isatty():
        raise Invalid("terminal", "That is nothing to read on a terminal", "Send it into a file or a pipe.")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        # Or the interpreter tries once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Invalid("unwritable", f"standard output: {error.strerror}", "See what reads it.") from None


def _exists(file: str) -> Conflict:
    return Conflict("file_exists", f"{file} is there already", "Name another file, or use --force.")
