"""``python -m kaggle_utils.q20 arena|play|replay|table``: tournaments, a game in the terminal, replays, the table."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

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
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20",
        description="20 Questions: " + __doc__.split("``: ")[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (_, what) in _COMMANDS.items():
        commands.add_parser(name, help=what, add_help=False)
    if not words or words[0] not in _COMMANDS:
        parser.parse_args(words)  # prints the help, or what is wrong, and ends
        return 2
    command = importlib.import_module(_COMMANDS[words[0]][0])  # only this one: a replay needs no table
    try:
        return command.main(words[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
