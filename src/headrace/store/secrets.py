"""Encryption of secrets at rest: Fernet, with the key from the environment or a file only we can read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from headrace.errors import Invalid, Precondition
from headrace.secrecy import make_private

VARIABLE = "HEADRACE_SECRET_KEY"


class Cipher:
    """Encrypts with the first key, decrypts with any (put a new key first to rotate)."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = tuple(keys)
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise Invalid(
                "secret_key",
                f"The key in {VARIABLE} or the key file is not a Fernet key",
                "Make one: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'",
            ) from None

    def seal(self, secrets: Mapping[str, str]) -> str:
        """Encrypted text of some secrets."""
        return self._fernet.encrypt(json.dumps(dict(secrets)).encode()).decode()

    def open(self, sealed: str) -> dict[str, str]:
        """The secrets again; Precondition ``secret_key`` when no key fits."""
        try:
            opened: dict[str, str] = json.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken:
            raise Precondition(
                "secret_key",
                "The stored secrets were encrypted with another key",
                f"Put the key back (key file or {VARIABLE}; several are separated by commas), or store the "
                "connections anew.",
            ) from None
        return opened


def cipher(key_file: Path, env: Mapping[str, str] = os.environ) -> Cipher:
    """The cipher of this installation; makes the key file (mode 0600) where there is no key at all."""
    given = env.get(VARIABLE, "")
    text = given.replace(",", "\n") if given.strip() else _from_file(key_file)
    return Cipher([line.strip() for line in text.splitlines() if line.strip()])


def _from_file(path: Path) -> str:
    if not path.exists():
        create_private(path, Fernet.generate_key().decode() + "\n")
    make_private(path)
    return path.read_text(encoding="ascii")


def create_private(path: Path, content: str) -> None:
    """Write a file of mode 0600 unless it exists; complete or not at all, also with several writers."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
