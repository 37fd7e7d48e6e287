"""What a command must not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = (
    "sqlalchemy",
    "alembic",
    "httpx",
    "rich",
    "fastapi",
    "pydantic",
    "psycopg",
    "cryptography",
    "confluent_kafka",
)


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["status", "--help"], ["start"]])
def test_nothing_slow_is_imported_for_what_needs_none_of_it(words: list[str]) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['headrace', *{words!r}]\n"
        "from headrace.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    print([m for m in {SLOW!r} if m in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr.splitlines()[-1] == "[]"
