"""A real disk of a few megabytes, in memory, that can be filled to the brim and given room again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MB = 1024 * 1024
NOBODY = 65534


class SmallDisk:
    """A mounted file system of its own. folder: where; owned by the user that test servers run as."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def free(self) -> int:
        """Bytes left."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int) -> None:
        """Take all room but ``leave`` bytes."""
        with open(self._ballast, "ab") as file:
            while (more := self.free() - leave) > 0:
                file.write(bytes(min(more, MB)))
                file.flush()

    def make_room(self) -> None:
        """Give back what ``fill`` took."""
        self._ballast.unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A disk of that size, unmounted at the end; skips the test where mounting is not allowed."""
    # Not pytest's tmp_path, whose parents are closed to the user that servers run as.
    folder = Path(tempfile.mkdtemp(prefix="headrace-disk-"))
    if os.getuid() != 0 or shutil.which("mount") is None:
        folder.rmdir()
        pytest.skip("a disk of its own takes root and mount")
    options = f"size={megabytes}m,mode=0755,uid={NOBODY},gid={NOBODY}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
