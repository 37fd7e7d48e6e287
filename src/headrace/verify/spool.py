"""Keys waiting to be judged: in memory while few, in a temporary file when many."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from headrace.engines.compare import Key

_IN_MEMORY = 4_000_000  # bytes


class Spool:
    """Keys in the order they were added, any number of them in bounded memory."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, keys: Iterable[Key]) -> None:
        """Append keys."""
        lines = [json.dumps(key) + "\n" for key in keys]
        self._file.write("".join(lines).encode())
        self.count += len(lines)

    def batches(self, size: int) -> Iterator[list[Key]]:
        """All keys, ``size`` at a time. Nothing may be added any more."""
        self._file.seek(0)
        batch: list[Key] = []
        for line in self._file:
            batch.append(tuple(json.loads(line)))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
