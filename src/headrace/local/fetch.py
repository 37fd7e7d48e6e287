"""Download what the lock lists, verify it, unpack it. Nothing is resolved here.

Safe beside other processes doing the same: one file lock per cache, and a file appears under its final name only
when its digest is right. Interrupted downloads go on where they stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from headrace.errors import Unavailable
from headrace.local import download
from headrace.local.artifacts import ENGINE, Artifact, cache_folder, file_of, of_groups, unpacked
from headrace.local.progress import progress

PARALLEL = 4


def fetch(groups: Iterable[str] = ENGINE) -> list[Path]:
    """Make every file of the groups present and verified; the paths, in the lock's order.

    Raises Unavailable (no network, file refused by its digest), NotFound (unknown group).
    """
    artifacts = of_groups(groups)
    if not all(intact(a) for a in artifacts):
        with cache_lock():
            _download([a for a in artifacts if not intact(a)])
    return [file_of(a) for a in artifacts]


def plugins(groups: Iterable[str] = ("debezium-postgres",)) -> list[Path]:
    """Folders for Connect's ``plugin.path``, one per archive of the groups, fetched and unpacked."""
    groups = tuple(groups)
    fetch(groups)
    return [_unpack_once(a, _untar) for a in of_groups(groups)]


def postgres_home(major: str) -> Path:
    """Folder with ``bin``, ``lib`` and ``share`` of a PostgreSQL major (13 to 18) from the lock."""
    group = f"postgres-{major}"
    fetch([group])
    return _unpack_once(of_groups([group])[0], _untar_inner)


def base_address() -> str:
    """Base address of the Maven repository: ``HEADRACE_MAVEN_MIRROR``, else Maven Central as jgo knows it."""
    mirror = os.environ.get("HEADRACE_MAVEN_MIRROR")
    if mirror:
        return mirror.rstrip("/")
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL).rstrip("/")


def intact(artifact: Artifact) -> bool:
    """Whether the file is in the cache with the right size and digest."""
    path = file_of(artifact)
    try:
        if path.stat().st_size != artifact.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
    except FileNotFoundError:
        return False


@contextmanager
def cache_lock() -> Iterator[None]:
    """Hold the cache alone; other processes wait."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise Unavailable(
            "cache_unwritable",
            f"The cache folder {folder} cannot be written: {error.strerror}.",
            "Point HEADRACE_CACHE at a folder that you may write.",
        ) from error


def _download(artifacts: list[Artifact]) -> None:
    base = base_address()
    tls = httpx.create_ssl_context()
    tls.load_default_certs()
    with (
        httpx.Client(verify=tls, timeout=60, follow_redirects=True) as client,
        progress("Fetching the engine", sum(a.size for a in artifacts)) as advance,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        waiting = [
            pool.submit(
                download.download,
                client,
                f"{base}/{a.path}",
                file_of(a),
                size=a.size,
                sha256=a.sha256,
                advance=advance,
            )
            for a in artifacts
        ]
        try:
            for result in waiting:
                result.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _unpack_once(artifact: Artifact, unpack: Callable[[Path, Path], None]) -> Path:
    target = unpacked(artifact)
    if target.is_dir():
        return target
    with cache_lock():
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
        try:
            unpack(file_of(artifact), scratch)
            scratch.chmod(0o755)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        _extract(tar, folder)


def _untar_inner(jar: Path, folder: Path) -> None:
    """The PostgreSQL artifacts are jars around one ``.txz``."""
    with zipfile.ZipFile(jar) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(inner) as stream, tarfile.open(fileobj=stream, mode="r:xz") as tar:
            _extract(tar, folder)


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """With the safe filter where Python has one (Debian 12's 3.11.2 does not); the digest vouches for the rest."""
    if hasattr(tarfile, "data_filter"):
        tar.extraction_filter = tarfile.data_filter
    tar.extractall(folder)  # nosec B202  # the digest was verified


def main() -> None:
    """Fetch and unpack what ``headrace up`` needs (``make setup`` runs this)."""
    fetch()
    plugins()


if __name__ == "__main__":
    main()
