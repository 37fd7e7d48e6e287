"""Every variable that the program reads stands in its documentation."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from headrace.settings import PARTS, Settings

ROOT = Path(__file__).resolve().parents[2]
# Handed by `headrace up` to what it starts; nobody else sets it.
OWN = {"HEADRACE_CONNECT_SECRETS"}


def read() -> set[str]:
    """Variables of the settings, and those that are named in the source."""
    settings = Settings(Path("/"))
    found = {f"HEADRACE_{f.name.upper()}" for f in fields(Settings) if f.name not in PARTS}
    for name, prefix in PARTS.items():
        found |= {prefix + f.name.upper() for f in fields(getattr(settings, name))}
    for file in (ROOT / "src").rglob("*.py"):
        found |= set(re.findall(r'"(HEADRACE_[A-Z_]*[A-Z])"', file.read_text("utf-8")))
    return found


def written() -> set[str]:
    """Variables in the pages; ``_CERT`` behind ``HEADRACE_KAFKA_CA`` is HEADRACE_KAFKA_CERT."""
    found: set[str] = set()
    for page in (
        ROOT / "README.md",
        *(ROOT / "docs" / "how-to").glob("*.md"),
        *(ROOT / "docs" / "reference").glob("*.md"),
    ):
        for line in page.read_text("utf-8").splitlines():
            whole = set(re.findall(r"\bHEADRACE_[A-Z_]*[A-Z]", line))
            short = re.findall(r"`(_[A-Z_]*[A-Z])`", line)
            prefixes = [p for p in PARTS.values() if any(w.startswith(p.rstrip("_")) for w in whole)]
            found |= whole | {p.rstrip("_") + s for p in prefixes for s in short}
    return found


def test_every_variable_is_documented() -> None:
    assert read() - written() - OWN == set()
