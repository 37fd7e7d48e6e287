"""Secrets of connectors: which values are some, where they lie instead of in the configuration, and masks over them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from headrace.errors import Invalid
from headrace.secrecy import MASK, known

_NAMED = re.compile(
    r"passw(or)?d|passphrase|secret|token(?!s?\.(validator|endpoint))|credential|private.?key|api.?key|access.?key"
    r"|jaas\.config|basic\.auth\.user\.info|sas$",
    re.IGNORECASE,
)
# These speak of secrets and are none.
_HARMLESS = re.compile(
    r"(^config\.providers)|\.(class|type|file|path|location|mode|enabled?|name)$", re.IGNORECASE
)
_REFERENCE = re.compile(r"\$\{[^{}:]+:[^{}]+\}")
_HERE = re.compile(r"\$\{dir:([^}]*)\}")
_LOGIN = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)(?=@)")
_PARAMETER = re.compile(r"(?i)((?:passw(?:or)?d|secret|token)=)([^&;\s]+)")
# Settings that decide where a secret goes, as whom, how safely, and what reads it. Drivers take a database's name for
# a piece of a URL, in which a host may stand.
_PLACE = re.compile(
    r"host|(?<![a-z])port(?![a-z])|ur[il]|server|endpoint|address|broker|proxy|user|dbname|driver|ssl|tls|protocol"
    r"|class$|^(transforms|predicates)\..*type$|^(key|value|header)\.converter$",
    re.IGNORECASE,
)
# What sees its own settings only.
_PART = re.compile(r"(key|value|header)\.converter(?=\.|$)|(transforms|predicates)\.[^.]+(?=\.)")
_PLAIN_FILE = re.compile(r"[A-Za-z0-9_-]{1,150}")


def is_reference(value: str) -> bool:
    """Whether a value is nothing but a reference that Connect resolves by a ConfigProvider."""
    return _REFERENCE.fullmatch(value) is not None


def is_here(value: str) -> bool:
    """Whether a value refers to a file that Connect's DirectoryConfigProvider may read."""
    return _HERE.search(value) is not None


def is_secret(key: str, passwords: Collection[str] = ()) -> bool:
    """Whether a setting's value is a secret. passwords: names that the plugin itself declares as such."""
    return key in passwords or (_NAMED.search(key) is not None and _HARMLESS.search(key) is None)


def plain_secrets(config: Mapping[str, str], passwords: Collection[str] = ()) -> dict[str, str]:
    """The settings whose values are secrets in clear."""
    return {
        k: v for k, v in config.items() if v and is_secret(k, passwords) and v != MASK and not is_reference(v)
    }


def masked(config: Mapping[str, str], passwords: Collection[str] = ()) -> dict[str, str]:
    """The configuration for display: secrets masked, references shown, credentials in URLs masked."""
    hidden = plain_secrets(config, passwords)
    return {k: MASK if k in hidden else unveiled(str(v)) for k, v in config.items()}


def unveiled(text: str) -> str:
    """A text without the secrets that are known, and without the credentials of URLs."""
    return _PARAMETER.sub(rf"\1{MASK}", _LOGIN.sub(rf"\1:{MASK}", known.without(text)))


def moved(
    kept: Collection[str],
    config: Mapping[str, str],
    before: Mapping[str, str],
    passwords: Collection[str] = (),
) -> list[str]:
    """The settings that decide where the secrets of the settings ``kept`` go, and are others than before."""
    parts = {_part(key) for key in kept}
    return sorted(
        key
        for key in {*config, *before}
        if config.get(key) != before.get(key)
        and _part(key) in parts
        and _PLACE.search(key)
        and not is_secret(key, passwords)
    )


def _part(key: str) -> str:
    found = _PART.match(key)
    return found[0] if found else ""


def redacted(text: str, secrets: Collection[str]) -> str:
    """A text of Connect's without these values, and without the credentials of URLs."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, MASK)
    return unveiled(text)


class Folder:
    """The folder that Connect's DirectoryConfigProvider may read: one file for each secret, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, connector: str, key: str, secret: str) -> str:
        """Keep a secret; the reference to it that goes into the configuration."""
        return f"${{dir:{self._path}:{self.keep(connector, key, secret.encode()).name}}}"

    def keep(self, connector: str, key: str, secret: bytes) -> Path:
        """Keep a secret that Connect reads as a file; where it lies."""
        file = self._path / f"{_stem(connector)}.{_stem(key)}"
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(secret)
        return draft.replace(file)

    def guard(
        self,
        config: Mapping[str, str],
        standing: Mapping[str, str] | None = None,
        passwords: Collection[str] = (),
    ) -> None:
        """Invalid ``secret_reference`` for references to what lies here, save those that stand in the same setting.

        standing: the connector's configuration as it is. Connect puts a secret wherever it is referred to: into the
        name of a topic, into a field of every record, into the login at a server of somebody's own.
        """
        for key, value in config.items():
            stands = (standing or {}).get(key) == value and is_secret(key, passwords)
            if not stands and is_here(value):
                raise Invalid(
                    "secret_reference",
                    f"{key} refers to a secret of another connector or setting, or would show one",
                    "Write the secret itself into a setting for secrets; Headrace puts it where Connect finds it.",
                    {"setting": key},
                )

    def drop(self, connector: str, keep: Collection[str] = ()) -> None:
        """Forget the secrets of a connector, but for those that a value of ``keep`` refers to."""
        for file in self._path.glob(f"{_stem(connector)}.*"):
            if not any(file.name in value for value in keep):
                file.unlink(missing_ok=True)


def _stem(name: str) -> str:
    # Names of connectors are free text; what is no plain name becomes one.
    return name if _PLAIN_FILE.fullmatch(name) else f"x{hashlib.sha256(name.encode()).hexdigest()[:40]}"
