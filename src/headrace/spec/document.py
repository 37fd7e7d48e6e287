"""YAML to plain data, remembering the line of every key; syntax errors and duplicate keys become problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from headrace.spec.problems import Path, Problem

_DEEPEST = 40


@dataclass(slots=True)
class Document:
    """Plain data, the line (from 1) of every path in it, and what was wrong with its form."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(text: str) -> Document:
    """The document of a YAML text; never raises, problems are listed."""
    document = Document()
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            document.data = _value(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(p for p in (error.context, error.problem) if p)
        document.problems.append(
            Problem((), f"Not YAML: {why}", "yaml", line=mark.line + 1 if mark else None)
        )
    except yaml.YAMLError as error:
        document.problems.append(Problem((), f"Not YAML: {error}", "yaml"))
    return document


def _value(loader: yaml.SafeLoader, node: yaml.Node, path: Path, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _DEEPEST:
        raise yaml.YAMLError("nested too deeply (an alias that holds itself?)")
    match node:
        case yaml.MappingNode():
            return dict(_items(loader, node, path, document))
        case yaml.SequenceNode():
            return [_value(loader, item, (*path, i), document) for i, item in enumerate(node.value)]
        case _:
            # PyYAML constructs scalars through the constructor registered for their tag.
            return loader.construct_object(node, deep=True)


def _items(
    loader: yaml.SafeLoader, node: yaml.MappingNode, path: Path, document: Document
) -> Iterator[tuple[str, Any]]:
    _refuse_duplicates(node, path, document)
    loader.flatten_mapping(node)
    for key, value in node.value:
        name = str(getattr(key, "value", key))
        document.lines[(*path, name)] = key.start_mark.line + 1
        yield name, _value(loader, value, (*path, name), document)


def _refuse_duplicates(node: yaml.MappingNode, path: Path, document: Document) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        name, line = str(getattr(key, "value", key)), key.start_mark.line + 1
        if name in seen and name != "<<":
            message = f"The key {name} stands twice (first on line {seen[name]})"
            document.problems.append(Problem((*path, name), message, "duplicate_key", line=line))
        seen.setdefault(name, line)
