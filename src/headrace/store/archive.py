"""The file of a backup: a zip with a manifest and one file of JSON lines per table; knows nothing of databases.

The manifest holds a digest of every file, and a seal for every key of the installation (an HMAC, by a key derived from
it): who has none of the keys cannot make a backup that is believed. The keys themselves are not in it.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import Invalid, Precondition

FORMAT = 1
_MANIFEST = "manifest.json"
# No manifest and no row of ours is longer; a line without an end would fill the memory.
_MOST_MANIFEST = 1 << 20
_MOST_LINE = 256 << 20
_CHUNK = 1 << 20
_PRIVATE = 0o600 << 16

Row = Mapping[str, Any]


class Part(BaseModel):
    """One table: its rows, the size of its file in bytes, and that file's digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What is in a backup. revision: of the shape. seals: short hash of a key -> HMAC of the rest by that key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    headrace: str
    revision: str
    created_at: datetime
    tables: dict[str, Part]
    seals: dict[str, str] = {}

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return sum(part.rows for part in self.tables.values())

    def sealed(self, keys: Sequence[str]) -> Manifest:
        """The same with a seal by each key."""
        return self.model_copy(update={"seals": {key_id(key): self._seal(key) for key in keys}})

    def believed(self, keys: Sequence[str]) -> bool | None:
        """Whether the seal of a key of ours fits; None when none of our keys has sealed it."""
        for key in keys:
            if given := self.seals.get(key_id(key)):
                return hmac.compare_digest(given.encode(), self._seal(key).encode())
        return None

    def _seal(self, key: str) -> str:
        said = json.dumps(self.model_dump(mode="json", exclude={"seals"}), sort_keys=True)
        derived = hashlib.sha256(b"headrace backup seal " + key.encode()).digest()
        return hmac.new(derived, said.encode(), hashlib.sha256).hexdigest()


def key_id(key: str) -> str:
    """A short hash that tells keys apart; a key cannot be found from it."""
    return hashlib.sha256(b"headrace backup key " + key.encode()).hexdigest()[:16]


class Writer:
    """Writes a backup to a stream, which needs no seeking; a context manager."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = _Forward(out)
        self._zip = zipfile.ZipFile(cast(IO[bytes], self._out), "w")
        self._parts: dict[str, Part] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            # The zip wants to write its end, whatever has happened.
            self._out.drop()
        self._zip.close()

    def table(self, name: str, rows: Iterable[Row]) -> None:
        """Write the rows of a table as they come."""
        digest, count, size = hashlib.sha256(), 0, 0
        with self._zip.open(_info(_file(name)), "w", force_zip64=True) as file:
            for row in rows:
                line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
                file.write(line)
                digest.update(line)
                count, size = count + 1, size + len(line)
        self._parts[name] = Part(rows=count, bytes=size, sha256=digest.hexdigest())

    def finish(self, version: str, revision: str, created_at: datetime, keys: Sequence[str]) -> Manifest:
        """Write the manifest, after all tables."""
        said = {"format": FORMAT, "headrace": version, "revision": revision, "created_at": created_at}
        manifest = Manifest.model_validate({**said, "tables": self._parts}).sealed(keys)
        self._zip.writestr(_info(_MANIFEST), manifest.model_dump_json(indent=1))
        return manifest


class Reader:
    """A backup whose manifest is believed.

    Invalid ``bad_backup`` for anything else; Precondition ``newer_backup``, ``secret_key`` when none of our keys sealed it.
    """

    def __init__(self, file: IO[bytes], keys: Sequence[str]) -> None:
        with _readable():
            self._zip = zipfile.ZipFile(file)
            self.manifest = _manifest(self._zip)
        _judge(self.manifest, keys)
        self._check_files()

    def check(self) -> None:
        """Read everything once: digests, sizes, counts. Invalid ``bad_backup``."""
        for name in self.manifest.tables:
            for _ in self._lines(name):
                pass

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table; their digest is checked again at the end."""
        for line in self._lines(table):
            with _readable():
                row = json.loads(line)
            if not isinstance(row, dict):
                raise bad_backup(f"{_file(table)} holds something that is no row")
            yield row

    def _check_files(self) -> None:
        found = {info.filename: info.file_size for info in self._zip.infolist() if info.filename != _MANIFEST}
        wanted = {_file(name): part.bytes for name, part in self.manifest.tables.items()}
        if found != wanted or len(self._zip.infolist()) != len(wanted) + 1:
            wrong = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))
            raise bad_backup(f"{', '.join(wrong) or 'a file'} is not as the manifest says")

    def _lines(self, table: str) -> Iterator[bytes]:
        part = self.manifest.tables[table]
        digest, count = hashlib.sha256(), 0
        with _readable(), self._zip.open(_file(table)) as packed:
            file = io.BufferedReader(cast(io.RawIOBase, packed), _CHUNK)
            while line := file.readline(_MOST_LINE):
                digest.update(line)
                count += 1
                yield line
        if (count, digest.hexdigest()) != (part.rows, part.sha256):
            raise bad_backup(f"{_file(table)} was changed or damaged")


def bad_backup(why: str) -> Invalid:
    """The error for a file that is no backup, or no longer one."""
    return Invalid(
        "bad_backup",
        f"That is no whole backup of Headrace: {why}",
        "Nothing was changed. Take another backup, or copy this one again from where it was made.",
    )


def _judge(manifest: Manifest, keys: Sequence[str]) -> None:
    believed = manifest.believed(keys)
    if believed is None:
        raise Precondition(
            "secret_key",
            "The secrets in this backup were encrypted with another key than the one here",
            "Put the secret.key that was kept with the backup into the data folder, or set HEADRACE_SECRET_KEY to it.",
            {"wanted": list(manifest.seals), "here": [key_id(key) for key in keys]},
        )
    if not believed:
        raise bad_backup("its manifest was changed after it was made")


def newer_backup(version: str) -> Precondition:
    """The error for a backup that a later Headrace made."""
    return Precondition(
        "newer_backup",
        f"This backup was made by Headrace {version}, and this program does not know its shape",
        f"Restore it with Headrace {version} or later.",
        {"headrace": version},
    )


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    with archive.open(_MANIFEST) as file:
        text = file.read(_MOST_MANIFEST)
    found = json.loads(text)
    # What a later format holds beside these is not ours to judge.
    if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise newer_backup(str(found.get("headrace", "of a later version")))
    return Manifest.model_validate_json(text)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except KeyError:
        raise bad_backup("it has no manifest") from None
    except ValidationError:
        raise bad_backup("its manifest is not one of ours") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise bad_backup(f"it is damaged or cut off ({error})") from None


def _file(table: str) -> str:
    return f"tables/{table}.jsonl"


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, _PRIVATE
    return info


class _Forward:
    """A stream that is only written on: where it is a file, the zip would otherwise seek back in it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out: IO[bytes] | None = out

    def write(self, data: bytes) -> int:
        return self._out.write(data) if self._out else len(data)

    def flush(self) -> None:
        if self._out:
            self._out.flush()

    def drop(self) -> None:
        self._out = None
