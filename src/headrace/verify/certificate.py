"""The handoff certificate: which cut joined load and stream, and what the last verification counted.

Pure: it states what it is given and seals it. The seal shows that nothing was altered since; it is no
signature, for whoever can write the file can seal it anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.engines.model import Cut, TableName

FORMAT = "headrace-certificate/1"

# Only these facts of a pipeline go in, so that no secret can.
_PIPELINE = ("name", "id", "mode", "source", "target", "generation", "versions", "created_at", "started_at")


@dataclass(frozen=True, slots=True)
class CertifiedTable:
    """What is stored about one table. cut: None before its load began (or with ``cdc_only``).

    verification: the table's part of the last report (``TableReport.as_dict``), None before any.
    """

    source: TableName
    target: TableName
    state: str
    generation: str
    rows_loaded: int | None = None
    cut: Cut | None = None
    loaded_at: str | None = None
    verification: Mapping[str, Any] | None = None


def build(
    pipeline: Mapping[str, Any],
    tables: Sequence[CertifiedTable],
    *,
    issued_at: str,
) -> dict[str, Any]:
    """The certificate as JSON-able data.

    pipeline: name, id, mode, source, target, generation, versions (component -> version), created_at,
    started_at, as far as known; other entries are left out. issued_at: ISO 8601. ``equal`` is None until every
    table was verified.
    """
    verified = [t.verification for t in tables if t.verification is not None]
    whole = bool(tables) and len(verified) == len(tables)
    body: dict[str, Any] = {
        "format": FORMAT,
        "issued_at": issued_at,
        "pipeline": {name: pipeline[name] for name in _PIPELINE if name in pipeline},
        "verified_at": max((str(v["finished_at"]) for v in verified), default=None),
        "equal": all(v["equal"] for v in verified) if whole else None,
        "tables": [_table(table) for table in tables],
    }
    return {**body, "seal": seal(body)}


def seal(body: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the canonical JSON of everything but ``seal``: sorted keys, no blanks, UTF-8."""
    unsealed = {name: value for name, value in body.items() if name != "seal"}
    canonical = json.dumps(
        unsealed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_seal(certificate: Mapping[str, Any]) -> bool:
    """Whether the certificate is as it was issued."""
    given = certificate.get("seal")
    return isinstance(given, str) and hmac.compare_digest(given.encode(), seal(certificate).encode())


def lsn(position: int) -> str:
    """A WAL position as PostgreSQL writes it (``16/B374D848``)."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _table(table: CertifiedTable) -> dict[str, Any]:
    return {
        "source": str(table.source),
        "target": str(table.target),
        "state": table.state,
        "generation": table.generation,
        "cut": _cut(table.cut),
        "rows_loaded": table.rows_loaded,
        "loaded_at": table.loaded_at,
        "verification": _verification(table.verification),
    }


def _cut(cut: Cut | None) -> dict[str, str] | None:
    if cut is None:
        return None
    return {
        "snapshot": cut.snapshot,
        "position": lsn(cut.position),
        "server": cut.server,
        "taken_at": cut.taken_at,
    }


def _verification(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = (
        "equal",
        "settled",
        "source_rows",
        "target_rows",
        "source_checksum",
        "target_checksum",
        "differences_total",
        "unsettled_total",
        "error",
        "finished_at",
    )
    return {name: found.get(name) for name in names}
