"""The door of the room: text or plain data in, a checked ``SpecFile`` out, or one error with every problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from headrace.errors import Invalid
from headrace.spec import problems
from headrace.spec.document import read
from headrace.spec.models import ConnectionSpec, PipelineSpec, SpecFile
from headrace.spec.problems import Path, Problem


def load_spec(text: str, filename: str) -> SpecFile:
    """The spec in a YAML text; Invalid ``invalid_spec`` lists all problems with file and line."""
    document = read(text)
    return _checked(document.data, filename, document.lines, document.problems)


def spec_from(data: Any, filename: str = "request") -> SpecFile:
    """The spec in plain data (an API body); the same checks, without lines."""
    return _checked(data, filename, {}, [])


def connection_from(data: Any, path: str = "connection") -> ConnectionSpec:
    """One connection from plain data; Invalid ``invalid_spec``."""
    try:
        return ConnectionSpec.model_validate(data)
    except ValidationError as error:
        raise problems.invalid(problems.of(error, ConnectionSpec), path, {}) from None


def pipeline_from(data: Any, path: str = "pipeline") -> PipelineSpec:
    """One pipeline from plain data; Invalid ``invalid_spec``."""
    try:
        return PipelineSpec.model_validate(data)
    except ValidationError as error:
        raise problems.invalid(problems.of(error, PipelineSpec), path, {}) from None


def _checked(data: Any, filename: str, lines: Mapping[Path, int], found: list[Problem]) -> SpecFile:
    if found and data is None:
        raise problems.invalid(found, filename, lines)
    spec: SpecFile | None = None
    try:
        spec = SpecFile.model_validate(data if data is not None else {})
    except ValidationError as error:
        found = found + problems.of(error, SpecFile)
    found = _without_foreign_keys(found + _missing_references(data))
    if spec is not None:
        found = found or _same_places(spec)
        if not (spec.connections or spec.pipelines):
            found.append(Problem((), "The spec is empty", "empty", ("connections", "pipelines")))
    if found or spec is None:
        raise problems.invalid(found, filename, lines)
    return spec


def _missing_references(data: Any) -> list[Problem]:
    connections, pipelines = _block(data, "connections"), _block(data, "pipelines")
    return [
        Problem(
            ("pipelines", name, side),
            f"No connection is named {asked}",
            "missing_connection",
            tuple(connections),
        )
        for name, pipeline in pipelines.items()
        for side in ("source", "target")
        if isinstance(pipeline, dict)
        and isinstance(asked := pipeline.get(side), str)
        and asked not in connections
    ]


def _block(data: Any, name: str) -> dict[str, Any]:
    block = data.get(name) if isinstance(data, dict) else None
    return block if isinstance(block, dict) else {}


def _without_foreign_keys(found: list[Problem]) -> list[Problem]:
    # The keys of an engine that cannot be used yet are no mistakes of the user's.
    refused = {p.path[:2] for p in found if p.code == "engine_not_yet"}
    return [p for p in found if p.code == "engine_not_yet" or p.path[:2] not in refused]


def _same_places(spec: SpecFile) -> list[Problem]:
    return [
        Problem(("pipelines", name, "target"), "source and target are the same database", "same_database")
        for name, pipeline in spec.pipelines.items()
        if spec.connections[pipeline.source].address == spec.connections[pipeline.target].address
    ]


def same_database(source: ConnectionSpec, target: ConnectionSpec) -> Invalid | None:
    """The error for two connections to one place, None when they differ."""
    if source.address != target.address:
        return None
    return Invalid("same_database", "source and target are the same database", "Choose another target.", {})
