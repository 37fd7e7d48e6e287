"""From pydantic's errors to problems that a user can act on: path, line, message, accepted values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.errors import Invalid

Path = tuple[str | int, ...]

_GUIDANCE = "Mend each problem; `headrace init` writes a commented spec with every key."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec. accepted: the values or keys that would be right, where they can be listed."""

    path: Path
    message: str
    code: str
    accepted: tuple[Any, ...] = ()
    line: int | None = field(default=None)

    def as_dict(self, filename: str, lines: Mapping[Path, int]) -> dict[str, Any]:
        """JSON-able form with its line looked up."""
        return {
            "file": filename,
            "line": self.line if self.line is not None else _line(self.path, lines),
            "path": shown(self.path),
            "message": self.message,
            "accepted": list(self.accepted),
            "code": self.code,
        }


def invalid(problems: Sequence[Problem], filename: str, lines: Mapping[Path, int]) -> Invalid:
    """The one error for all problems of a spec, in the order of their lines."""
    listed = [p.as_dict(filename, lines) for p in dict.fromkeys(problems)]
    listed.sort(key=lambda p: p["line"] or 0)
    return Invalid("invalid_spec", "\n".join(_said(p) for p in listed), _GUIDANCE, {"problems": listed})


def of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems in a validation error of ``model``."""
    return from_details(error.errors(include_url=False), model)


def from_details(details: Sequence[ErrorDetails], model: type[BaseModel] | None) -> list[Problem]:
    """The problems in pydantic's details; without a model the accepted keys stay unsaid."""
    inner = {d["loc"][:end] for d in details for end in range(len(d["loc"]))}
    # A list whose items are all wrong is "too short" as well; its items say it better.
    kept = [d for d in details if not (d["type"] == "too_short" and d["loc"] in inner)]
    return [_problem(detail, model) for detail in kept]


def shown(path: Path) -> str:
    """``pipelines.shop.tables[1].mask``."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def _said(problem: Mapping[str, Any]) -> str:
    where = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
    accepted = ", ".join(
        "null" if a is None else str(a).lower() if a is False else str(a) for a in problem["accepted"]
    )
    at = f"{problem['path']}: " if problem["path"] else ""
    return f"{where}: {at}{problem['message']}" + (f" (accepted: {accepted})" if accepted else "")


def _line(path: Path, lines: Mapping[Path, int]) -> int | None:
    for end in range(len(path), -1, -1):
        if (found := lines.get(path[:end])) is not None:
            return found
    return None


def _problem(detail: ErrorDetails, model: type[BaseModel] | None) -> Problem:
    kind, context, path = detail["type"], detail.get("ctx") or {}, tuple(detail["loc"])
    match kind:
        case "extra_forbidden":
            known = _keys(model, path[:-1])
            return Problem(path, _unknown_key(str(path[-1]), known), "unknown_key", tuple(known))
        case "missing":
            return Problem(path, "The key is missing", "missing_key")
        case "string_pattern_mismatch" if path[-1] in ("[key]", "name", "source", "target"):
            message = "Not a name: small letters, digits, - and _ only, at most 63, a letter or digit first"
            return Problem(path[:-1] if path[-1] == "[key]" else path, message, "bad_name")
        case "literal_error":
            words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            return Problem(path, "Not one of the accepted values", "bad_value", tuple(words))
        case "json_invalid":
            return Problem((), f"Not JSON at character {path[-1]}: {context.get('error')}", "bad_value")
        case "same_database":
            return Problem((*path, "target"), detail["msg"], kind)
        case "string_type":
            return Problem(path, "A text is wanted here (put a number in quotes)", "wrong_type", ("text",))
        case "too_short":
            return Problem(path, "At least one entry is wanted (leave the key out for the default)", "empty")
        case "model_type" | "model_attributes_type" | "dict_type":
            return Problem(
                path, "A mapping of keys to values is wanted here", "wrong_type", tuple(_keys(model, path))
            )
        case _ if "accepted" in context:
            return Problem(path, detail["msg"], kind, tuple(context["accepted"]))
        case _:
            wrong = kind.endswith(("_type", "_parsing"))
            return Problem(path, detail["msg"], "wrong_type" if wrong else "bad_value")


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"Unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")


def _keys(model: type[BaseModel] | None, path: Path) -> list[str]:
    kind: Any = model
    for step in path:
        kind = _step(kind, step)
    inner = _model_in(kind)
    return [f.alias or name for name, f in inner.model_fields.items()] if inner else []


def _step(kind: Any, step: str | int) -> Any:
    model = _model_in(kind, through_collections=False)
    if model is not None:
        known = model.model_fields.get(str(step))
        return known.annotation if known else None
    collection = next((a for a in (kind, *get_args(kind)) if get_origin(a) in (dict, tuple)), None)
    if collection is None:
        return None
    return get_args(collection)[1 if get_origin(collection) is dict else 0]


def _model_in(kind: Any, *, through_collections: bool = True) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (dict, tuple) and not through_collections:
        return None
    return next((a for a in get_args(kind) if isinstance(a, type) and issubclass(a, BaseModel)), None)
