"""``python -m kaggle_utils.q20 arena|play|replay|table``: tournaments, a game in the terminal, replays, the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kaggle_utils._commands import run_command

__all__ = ["main"]

_COMMANDS = {
    "arena": ("kaggle_utils.q20.commands.arena", "play a tournament against strangers and print the ratings"),
    "play": ("kaggle_utils.q20.commands.play", "play against the computer, as guesser or as answerer"),
    "replay": ("kaggle_utils.q20.commands.replay", "make a web page of an episode, or of a game that arena saved"),
    "table": ("kaggle_utils.q20.commands.table", "look into the knowledge table"),
}


_EXAMPLES = """examples:
  python -m kaggle_utils.q20 play answerer           # think of something, it asks
  python -m kaggle_utils.q20 arena --games 40        # our player among strangers
  python -m kaggle_utils.q20 arena --help            # what else a command takes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 for success, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20",
        description="20 Questions: " + __doc__.split("``: ")[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return run_command(parser, _COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
