"""The command line of the doctor."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kaggle_utils.doctor.report import examine

__all__ = ["main"]

_EXAMPLES = """examples:
  python -m kaggle_utils doctor                                     # this machine, and what all notebooks lack on it
  python -m kaggle_utils doctor --notebook llm20q_submission        # one notebook; exit status 0: nothing lacks
  python -m kaggle_utils doctor --json | python -m json.tool        # for scripts
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page; returns 0 if the notebooks asked for lack nothing, 1 if they do, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils doctor",
        description="One page on this machine: versions, GPUs and what they support, memory, disk, inputs, and what "
        "each notebook would lack, with the remedy.",
        epilog=_EXAMPLES
        + "\nexit status: 0 nothing lacks for the notebooks asked for, 1 something does, 2 wrong arguments",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--notebook",
        action="append",
        metavar="NAME",
        help="look after this notebook only; may be repeated (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="show what the notebooks find, too, not only what they lack")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS",
        help="how long torch and bitsandbytes may take (default: %(default)g)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    try:
        report = examine(args.notebook, timeout=args.timeout)
    except ValueError as error:  # an unknown notebook
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.to_json() if args.json else report.to_text(whole=args.all))
    return 0 if report.ok else 1
