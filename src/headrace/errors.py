"""The one tree of errors.

Every failure that a user can meet is one of these: a stable ``code``, a kind (the class), a message that
says what happened, guidance that says what to do next, and structured context. Faces translate the kind:
the API to an HTTP status, the command line to an exit code. Driver errors become one of these once, in
the room that owns the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a preflight check.

    code: stable snake_case word, e.g. ``wal_level``. severity ``error`` blocks a start.
    side: ``source``, ``target``, ``kafka``, ``connect`` or ``spec``. subject: what it is about, e.g. a table.
    fix: the SQL (or command) that mends it, ready to paste; None where there is none.
    """

    code: str
    severity: Severity
    side: str
    message: str
    guidance: str = ""
    fix: str | None = None
    subject: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class HeadraceError(Exception):
    """Base of everything Headrace raises on purpose."""

    code: str
    message: str
    guidance: str = ""
    context: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "bug"

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.message, self.guidance, self.context)

    def as_dict(self) -> dict[str, Any]:
        """The form that API answers, ``--json`` and the store carry."""
        return {
            "code": self.code,
            "kind": self.kind,
            "message": self.message,
            "guidance": self.guidance,
            "context": self.context,
        }


class Invalid(HeadraceError):
    """What was asked for is malformed; asking again will not help."""

    kind = "invalid"


class NotFound(HeadraceError):
    """The thing named does not exist."""

    kind = "not_found"


class Conflict(HeadraceError):
    """The thing exists already, or something else holds it."""

    kind = "conflict"


class Precondition(HeadraceError):
    """The world is not ready for it; ``findings`` in the context say what to mend."""

    kind = "precondition"


class Denied(HeadraceError):
    """A credential or a right is missing."""

    kind = "denied"


class Unavailable(HeadraceError):
    """Something cannot be reached now; trying again later may help."""

    kind = "unavailable"


class TooMany(HeadraceError):
    """Asked too often; ``retry_after`` in the context says in how many seconds to ask again."""

    kind = "too_many"


class Bug(HeadraceError):
    """Headrace itself is wrong; nothing the user can mend."""

    kind = "bug"


KINDS: dict[str, type[HeadraceError]] = {
    c.kind: c for c in (Invalid, NotFound, Conflict, Precondition, Denied, Unavailable, TooMany, Bug)
}


def from_dict(raw: dict[str, Any]) -> HeadraceError:
    """Rebuild an error from ``as_dict`` (the command line does it with the API's answers)."""
    return KINDS.get(str(raw.get("kind")), Bug)(
        str(raw.get("code", "unknown")),
        str(raw.get("message", "")),
        str(raw.get("guidance", "")),
        dict(raw.get("context") or {}),
    )


def not_running(name: str) -> Conflict:
    """Conflict ``not_running``: it was asked for what only a running pipeline does."""
    return Conflict("not_running", f"{name} is not running", f"Start it: headrace start {name}")


def preflight_failed(findings: list[Finding]) -> Precondition:
    """The error that a start with blocking findings ends in."""
    blocking = [f for f in findings if f.severity == "error"]
    return Precondition(
        "preflight",
        "; ".join(f.message for f in blocking),
        "Mend each finding (run `headrace check` for the SQL), then try again.",
        {"findings": [f.as_dict() for f in findings]},
    )
