"""``python -m kaggle_utils doctor``: commands of the whole package; ``python -m kaggle_utils.q20`` has the game's."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = {
    "doctor": ("kaggle_utils.doctor.command", "what this machine has, and what each notebook would lack on it"),
    "score": ("kaggle_utils.inference.score_command", "answer pairs to probabilities: parquet files, a Ray cluster"),
    "q20": ("kaggle_utils.q20.__main__", "20 Questions: tournaments, a game in the terminal, replays, the table"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 for success, 2 for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils",
        description="Commands of kaggle_utils.",
        epilog="COMMAND --help says what it takes.",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (_, what) in _COMMANDS.items():
        commands.add_parser(name, help=what, add_help=False)
    if not words or words[0] not in _COMMANDS:
        parser.parse_args(words)  # prints the help, or what is wrong, and ends
        return 2
    command = importlib.import_module(_COMMANDS[words[0]][0])  # only this one
    try:
        return command.main(words[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
