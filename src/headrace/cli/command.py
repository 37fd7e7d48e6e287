"""How a command is made: ``--json``, ``--server`` and ``--data`` on every one, errors said well, exit codes."""

from __future__ import annotations

import functools
import inspect
import json as jsonlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.locate import locate
from headrace.errors import Bug, HeadraceError
from headrace.settings import Settings, from_environment

if TYPE_CHECKING:
    from headrace.cli.client import Client

EXIT = {
    "invalid": 2,
    "not_found": 3,
    "precondition": 4,
    "denied": 4,
    "unavailable": 5,
    "too_many": 5,
    "conflict": 1,
    "bug": 1,
}
DIFFERENT = 6

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", envvar="HEADRACE_SERVER", help="Talk to this API, not the local one."),
]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="HEADRACE_DATA", help="Data folder of the installation.")
]
_COMMON: dict[str, Any] = {"json": Json, "server": ServerUrl, "data": Data}
_DEFAULTS: dict[str, Any] = {"json": False, "server": None, "data": None}


@dataclass(frozen=True)
class Session:
    """One run of a command: how it answers and whom it talks to."""

    json: bool
    server: str | None
    data: Path | None

    @functools.cached_property
    def api(self) -> Client:
        """The client of the server that was meant."""
        # Late: help and usage errors need no HTTP.
        from headrace.cli.client import Client

        return Client(locate(self.server, self.data, os.environ))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        # A cached property shows in the instance only once it was asked for.
        if "api" in self.__dict__:
            self.api.close()

    @property
    def settings(self) -> Settings:
        """The settings of a process of our own."""
        return from_environment(os.environ, self.data)

    def answer(self, data: Any, human: Callable[[Any], None]) -> None:
        """Print the answer: as JSON, or by the function for people."""
        if self.json:
            print_json(data)
        else:
            human(data)


def print_json(data: Any) -> None:
    """JSON on standard output."""
    sys.stdout.write(jsonlib.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function ``(session, its own parameters)`` as a command with the common options."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=a, default=_DEFAULTS[n])
            for n, a in _COMMON.items()
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + common

        def invoke(**given: Any) -> None:
            session = Session(**{n: given.pop(n) for n in _COMMON})
            with failing_well(session.json), session:
                run(session, **given)

        described: Any = invoke
        described.__name__, described.__doc__ = run.__name__, run.__doc__
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name or run.__name__.replace("_", "-"))(described)
        return run

    return register


def group(app: typer.Typer, name: str, help_text: str, **commands: Callable[..., None]) -> None:
    """Register functions as the commands of a group: ``headrace name word``."""
    made = typer.Typer(name=name, help=help_text, no_args_is_help=True)
    for word, run in commands.items():
        command(made, word)(run)
    app.add_typer(made)


@contextmanager
def failing_well(json: bool) -> Iterator[None]:
    """Say an error (message and guidance on stderr, or JSON on stdout) and leave with its exit code."""
    try:
        yield
    except HeadraceError as error:
        _say(error, json)
        raise SystemExit(EXIT[error.kind]) from None
    except (typer.Exit, typer.Abort, KeyboardInterrupt, SystemExit):
        raise
    except BrokenPipeError:
        # The reader of our output has seen enough (`headrace logs | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        said = Bug(
            "unexpected", f"{type(error).__name__}: {error}", "Run again with HEADRACE_DEBUG=1; report it."
        )
        _say(said, json)
        raise SystemExit(EXIT[said.kind]) from None


def _say(error: HeadraceError, json: bool) -> None:
    if json:
        print_json({"error": error.as_dict()})
    else:
        show.error(error)


def blocked(findings: list[Mapping[str, Any]]) -> bool:
    """Whether one of the findings forbids a start."""
    return any(f["severity"] == "error" for f in findings)
