"""Looks for keys, tokens and passwords in the files that git knows: tracked ones, and new ones that it does not ignore.

The detectors are detect-secrets'. None of them asks anybody whether a key works: nothing leaves the machine. There is
no list of findings to keep: a line that only looks like a secret says so itself, ``# pragma: allowlist secret``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

# Passwords of servers that tests start and of examples: known to everybody, and of no use elsewhere.
_EXAMPLES = ("tests/", "docs/", "bench/", "README.md", "src/headrace/cli/example.yaml")
_EXAMPLE_KINDS = frozenset({"Secret Keyword", "Basic Auth Credentials"})
# Digests; lock files are left out by detect-secrets itself.
_DIGESTS = frozenset({"sbom.json", "bench/results.json"})
_DIGEST_KINDS = frozenset({"Hex High Entropy String", "Base64 High Entropy String"})
# It would leave out whole files for their name, the reference of the API among them.
_TOO_KIND = ("detect_secrets.filters.heuristic.is_swagger_file",)


@dataclass(frozen=True, slots=True, order=True)
class Credential:
    """Where something looks like a secret, and like which; never the secret itself."""

    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}; if it is none, say so: # pragma: allowlist secret"


def find_credentials(root: Path) -> list[Credential]:
    """Everything in the working tree below ``root`` that looks like a secret and is no example, in order.

    ``root`` is the top of a git working tree; CalledProcessError where it is none.
    """
    found = SecretsCollection(root=str(root))
    with default_settings() as settings:
        settings.disable_filters(*_TOO_KIND)
        for name in known_files(root):
            found.scan_file(name)
    return sorted(_judged(Credential(file, one.line_number, one.type) for file, one in found))


def known_files(root: Path) -> list[str]:
    """Paths below ``root`` that git tracks or would add."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=root, capture_output=True, check=True).stdout.split(b"\0")
    names = {os.fsdecode(name) for name in listed if name}
    return sorted(name for name in names if (root / name).is_file())


def _judged(found: Iterable[Credential]) -> Iterator[Credential]:
    for one in found:
        example = one.file.startswith(_EXAMPLES) and one.kind in _EXAMPLE_KINDS
        digest = one.file in _DIGESTS and one.kind in _DIGEST_KINDS
        if not example and not digest:
            yield one
