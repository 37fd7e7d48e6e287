"""The local token: a file that only its owner can read."""

from __future__ import annotations

import secrets
from pathlib import Path

from headrace.errors import Denied
from headrace.secrecy import make_private
from headrace.store.secrets import create_private


def ensure_token(path: Path) -> str:
    """The token in the file, made (mode 0600) where there is none or an empty file; Denied ``token_unreadable``."""
    try:
        if path.exists() and not path.read_bytes().strip():
            # A disk that was full, or a power loss, can leave it so; it lets nobody in.
            path.unlink()
        if not path.exists():
            create_private(path, secrets.token_urlsafe(32) + "\n")
        make_private(path)
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Denied(
            "token_unreadable",
            f"The token file {path} cannot be read: {error.strerror}",
            "Run as the user who runs the server, or choose the data folder with --data.",
            {"file": str(path)},
        ) from None
