"""``python -m PACKAGE COMMAND``: choose a command by its first word, import only that one, run it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

__all__ = ["run_command"]


def run_command(
    parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, str]], argv: Sequence[str] | None
) -> int:
    """Run the command that ``argv`` begins with and return its exit status: 0 for success, 2 for bad input.

    Args:
        parser: says what there is; its commands are added here.
        commands: name -> (module with a ``main`` that takes the other words, what it does).
        argv: the words; None: those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    choices = parser.add_subparsers(metavar="command", required=True)
    for name, (_, what) in commands.items():
        choices.add_parser(name, help=what, add_help=False)
    if not words or words[0] not in commands:
        parser.parse_args(words)  # prints the help, or what is wrong, and ends
        return 2
    command = importlib.import_module(commands[words[0]][0])  # only this one
    try:
        return command.main(words[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... | head`
        sys.stderr.close()
        return 0
