"""Start a supervisor that stays when we leave, and hear from it whether it came up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, Unavailable, from_dict
from headrace.local.folder import prepare
from headrace.local.process import tail
from headrace.local.supervise import Options, up


def up_detached(options: Options) -> None:
    """Start an installation in the background and return once it is ready; its failure is raised here."""
    prepare(options.data)
    log = options.data / "logs" / "up.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "headrace.local.detach", _encode(options)],  # nosec B603  # our own program, no shell
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    assert child.stdout is not None
    with child.stdout as answer:
        said = answer.readline()
    if not said:
        raise Unavailable(
            "up_failed", "The supervisor ended without a word.", f"Read {log}.", {"log": tail(log)}
        )
    result = json.loads(said)
    if result.get("error"):
        child.wait(30)
        raise from_dict(result["error"])
    child.returncode = 0  # it goes on without us; keeps Popen from warning about that


def _encode(options: Options) -> str:
    return json.dumps(asdict(options) | {"data": str(options.data)})


def _decode(text: str) -> Options:
    raw = json.loads(text)
    return Options(**raw | {"data": Path(raw["data"])})


def _say(result: dict[str, Any]) -> None:
    """Answer the one who started us, then let go of the pipe, also towards children to come."""
    with os.fdopen(os.dup(1), "w") as pipe:
        pipe.write(json.dumps(result) + "\n")
    os.dup2(2, 1)


def main() -> int:
    """The supervisor's side: options as JSON in, one line of JSON out."""
    try:
        up(_decode(sys.argv[1]), on_ready=lambda: _say({"error": None}))
    except HeadraceError as error:
        _say({"error": error.as_dict()})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
