"""``python -m kaggle_utils doctor``: commands of the whole package; ``python -m kaggle_utils.q20`` has the game's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kaggle_utils._commands import run_command

__all__ = ["main"]

_COMMANDS = {
    "doctor": ("kaggle_utils.doctor.command", "what this machine has, and what each notebook would lack on it"),
    "score": ("kaggle_utils.inference.score_command", "answer pairs to probabilities: parquet files, a Ray cluster"),
    "q20": ("kaggle_utils.q20.__main__", "20 Questions: tournaments, a game in the terminal, replays, the table"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 for success, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils",
        description="Commands of kaggle_utils.",
        epilog="COMMAND --help says what it takes.",
    )
    return run_command(parser, _COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
