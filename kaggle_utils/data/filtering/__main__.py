"""``python -m kaggle_utils.data.filtering in.jsonl -o out.jsonl``: filter, and print the report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .runner import filter_files
from .settings import FilterSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kaggle_utils.data.filtering", description=__doc__)
    parser.add_argument("inputs", nargs="+", help=".jsonl, .ndjson or .parquet files")
    parser.add_argument("-o", "--output", required=True, help="the .jsonl to write")
    parser.add_argument("--field", action="append", help='a text to judge, such as "answer" or "messages.*.content"')
    parser.add_argument("--settings", type=Path, help="a JSON file of FilterSettings fields")
    parser.add_argument("--processes", type=int, help="default: one a core")
    parser.add_argument("--picture", type=Path, help="draw the report into this PNG")
    parser.add_argument("--restart", action="store_true", help="begin anew instead of resuming")
    args = parser.parse_args(arguments)
    try:
        values = json.loads(args.settings.read_text(encoding="utf-8")) if args.settings else {}
        report = filter_files(args.inputs, args.output, settings=FilterSettings.from_dict(values), fields=args.field,
                              processes=args.processes, resume=not args.restart)  # fmt: skip
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report.to_text(), end="")
    if args.picture:
        report.to_png(args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
