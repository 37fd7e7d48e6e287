"""Writes what is generated: openapi.json, docs/reference/cli.md, docs/reference/spec.md, the Python part of NOTICE.

``python docs/generate.py`` writes; with ``--check`` it only says what is stale (exit 1), which tests/unit/test_house.py
does on every run.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from headrace.api.app import bare_app
from headrace.cli.app import app
from headrace.spec.models import SUPPORTED, SpecFile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from examine.packages import licences  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
NOTICE = ROOT / "NOTICE"
BEGIN, END = "--- Python packages: begin ---", "--- Python packages: end ---"
PACKAGES = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
MADE = "<!-- Made by docs/generate.py; change the code it comes from. -->\n"


# -- the command line -------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments and options."""
    parts = [
        f"# Command line\n\n{MADE}\n",
        "Exit codes: 0 done, 1 failed, 2 wrong usage or invalid spec, 3 not found, 4 precondition or missing right"
        " (findings are printed), 5 unavailable, 6 verification found differences.\n",
    ]
    parts += [
        _command(words, command) for words, command in _commands("headrace", typer.main.get_command(app))
    ]
    return "\n".join(parts)


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "commands", None):
            yield from _commands(f"{words} {name}", child)
        else:
            yield f"{words} {name}", child


def _command(words: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(
        [words, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments), "[OPTIONS]"]
    )
    lines = [f"## {words}\n", f"`{usage}`\n", " ".join((command.help or "").split()) + "\n"]
    rows = [(f"`{p.name.upper()}`", _said(p)) for p in arguments]
    rows += [(", ".join(f"`{o}`" for o in [*p.opts, *p.secondary_opts]), _said(p)) for p in options]
    return "\n".join([*lines, *_table(("", ""), rows)]) + "\n"


def _said(parameter: Any) -> str:
    words = [" ".join((getattr(parameter, "help", None) or "").split())]
    if parameter.required:
        words.append("Required.")
    elif isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, bool):
        words.append(
            f"Default: `{parameter.default:g}`." if _number(parameter) else f"Default: `{parameter.default}`."
        )
    if envvar := getattr(parameter, "envvar", None):
        words.append(f"Also `{envvar}`.")
    return " ".join(filter(None, words))


def _number(parameter: Any) -> bool:
    return isinstance(parameter.default, int | float)


# -- the spec ---------------------------------------------------------------------------------------------


def spec_page() -> str:
    """Every block of a spec with its keys."""
    schema = SpecFile.model_json_schema()
    blocks = {"SpecFile": schema, **schema["$defs"]}
    order = ["SpecFile", "ConnectionSpec", "PipelineSpec", *sorted(blocks)]
    parts = [
        f"# Spec\n\n{MADE}\n",
        "A spec is YAML. Unknown keys, wrong types and missing references are errors that name file, line and the"
        " accepted values; nothing is changed by a spec that does not validate in full. `headrace init` writes a"
        " commented one to start from.\n",
    ]
    parts += [_block(name, blocks[name]) for name in dict.fromkeys(order) if "properties" in blocks[name]]
    return "\n".join(parts)


def _block(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{key}`", _type(value), _default(key in required, value), _later(name, key))
        for key, value in schema["properties"].items()
    ]
    text = " ".join(schema.get("description", "").replace("``", "`").split())
    return (
        "\n".join([f"## {_title(name)}\n", f"{text}\n", *_table(("key", "value", "default", ""), rows)])
        + "\n"
    )


def _title(name: str) -> str:
    return (
        "The file"
        if name == "SpecFile"
        else re.sub(r"(?<!^)([A-Z])", r" \1", name.removesuffix("Spec")).capitalize()
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = _title(schema["$ref"].rsplit("/", 1)[-1])
        return f"[{name}](#{name.lower().replace(' ', '-')})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties", {})]
            named = ", ".join(f"`{one}`" for one in schema.get("propertyNames", {}).get("enum", ()))
            return f"map {f'of {named} ' if named else ''}to {_type(values[0])}"
        case "integer" | "number" as word:
            return word + _limits(schema)
        case "string" if schema.get("format") == "password":
            return "string, or `${env:NAME}`, or `${file:/path}`"
        case "string" if "pattern" in schema:
            return f"string like `{schema['pattern']}`".replace("|", "\\|")
        case None:
            return "any"
        case word:
            return str(word)


def _limits(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    return f", at least {low}" if low is not None else ""


def _default(required: bool, schema: Mapping[str, Any]) -> str:
    if required:
        return "required"
    default = schema.get("default")
    if schema.get("format") == "password" or default in (None, {}, [], ""):
        return ""
    if isinstance(default, list) and all(isinstance(one, dict) and "name" in one for one in default):
        return ", ".join(f"`{one['name']}`" for one in default)
    if isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _later(block: str, key: str) -> str:
    if block == "ConnectionSpec" and key == "engine":
        return "this release: `postgres`"
    if block == "ApplySpec" and key == "every":
        return "this release: `0s`"
    if block == "PipelineSpec" and key in SUPPORTED:
        words = (
            f"`{str(one).lower() if isinstance(one, bool) else one}`"
            for one in SUPPORTED[key]
            if one is not None
        )
        return f"this release: {', '.join(words) or 'none'}"
    return ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


# -- NOTICE -----------------------------------------------------------------------------------------------


def notice() -> str:
    """NOTICE with its Python part made anew."""
    lines = "".join(f"{name:<22} {words}\n" for name, words in licences().items())
    return PACKAGES.sub(lambda _: f"{BEGIN}\n{lines}{END}", NOTICE.read_text(encoding="utf-8"))


def unlisted() -> list[str]:
    """Packages that NOTICE does not name and that an installation has on some supported Python and platform."""
    part = PACKAGES.search(NOTICE.read_text(encoding="utf-8"))
    listed = {line.split()[0] for line in part[0].splitlines()} if part else set()
    return [name for name in licences() if name not in listed]


# -- both -------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """The generated pages: path and what it should hold."""
    return {
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "spec.md": spec_page(),
        ROOT / "openapi.json": json.dumps(bare_app().openapi(), indent=1, ensure_ascii=False) + "\n",
    }


def stale() -> list[str]:
    """What is not as it would be generated now."""
    wanted = {**pages(), NOTICE: notice()}
    return [
        path.name for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text
    ]


def main() -> int:
    """Write, or with ``--check`` say what is stale; the exit code."""
    if "--check" in sys.argv:
        found = stale()
        print("\n".join([*found, "Run: python docs/generate.py"]) if found else "Nothing is stale.")
        return 1 if found else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    NOTICE.write_text(notice(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
