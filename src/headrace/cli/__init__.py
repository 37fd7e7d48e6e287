"""The command line: ``headrace``.

What enters: arguments, spec files, the environment. What leaves: calls of the HTTP API, tables for people or
JSON for programs, and an exit code: 0 done, 1 failed, 2 wrong usage or invalid spec, 3 not found,
4 precondition or missing right, 5 unavailable, 6 verification found differences. It never prompts when
standard input is no terminal, shows no traceback, and touches no databases itself, and of the metadata only the whole
(backup, restore).
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the program."""
    import sys

    from headrace.cli.app import app
    from headrace.cli.command import failing_well

    # Commands of our own fail well by themselves; this is for those that other rooms register.
    with failing_well("--json" in sys.argv):
        app(prog_name="headrace")


__all__ = ["main"]
