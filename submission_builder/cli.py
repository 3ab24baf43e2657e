"""``submission-builder COMMAND``: the functions of this package on the command line.

The exit status is 0 only if the result is good, 1 if it is not, 2 for wrong arguments, 130 after Ctrl-C. Errors are
sentences; ``--debug`` shows where they come from. Each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from submission_builder.packing.units import parse_size
from submission_builder.profiles import PROFILES, custom_profile
from submission_builder.publishing.commands import add_publishing_commands
from submission_builder.wheels.command import add_wheelhouse_command

__all__ = ["build_parser", "main"]

_EXAMPLES = """examples:
  submission-builder plan --include model=/kaggle/input/gemma/transformers/2b-it/1
  submission-builder build --main main.py --include model=weights --package kaggle_utils --output submission.tar.gz
  submission-builder build --main main.py --include model=weights --exclude 'model/original/*' --limit 5GB
  submission-builder verify submission.tar.gz --games 2 --keyword tiger --keyword france
"""
_VERIFY_EXAMPLES = """examples:
  submission-builder verify submission.tar.gz
  submission-builder verify submission.tar.gz --games 4 --keyword tiger --memory-gib 12 --work-dir /tmp/verify
  submission-builder verify submission.tar.gz --json > verify.json
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, which takes the arguments and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="submission-builder", description="Pack an agent and its weights for Kaggle, and check that they play.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    plan = _command(commands, "plan", "say what goes in, its size and what is wrong; writes nothing", _EXAMPLES)
    _add_plan_options(plan)
    plan.set_defaults(run=_plan)
    build = _command(commands, "build", "plan, then write the archive", _EXAMPLES)
    _add_plan_options(build)
    build.add_argument("--threads", type=int, help="compression threads (default: the cores there are, at most 8)")
    build.add_argument("--no-hash", action="store_true", help="leave the SHA-256 digests out")
    build.add_argument("--report", type=Path, metavar="FILE", help="also write sizes and digests as JSON")
    build.set_defaults(run=_build)
    _add_verify_options(_command(commands, "verify", "unpack the archive and play games with it", _VERIFY_EXAMPLES))
    add_publishing_commands(commands, _command)
    add_wheelhouse_command(commands, _command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = build_parser().parse_args(argv)
    level = logging.DEBUG if args.debug else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted; what was there before is as it was, nothing partial is left", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if args.debug:
            raise
        expected = isinstance(error, (ValueError, OSError, RuntimeError, ModuleNotFoundError))
        print(f"error: {error}" if expected else f"error: {type(error).__name__}: {error}", file=sys.stderr)
        if not expected:
            print("this was not expected; run again with --debug to see where it happened", file=sys.stderr)
        return 1


def _command(commands, name: str, about: str, epilog: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=about, description=about, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error and more log lines")
    return parser


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--main", type=Path, help="file that defines the agent; becomes main.py at the top level (default: the ready "
        "agent for LLM 20 Questions, with the package kaggle_utils)")  # fmt: skip
    add("--include", action="append", default=[], type=_named_path, metavar="NAME=PATH",
        help="file or folder and its name in the archive; may be repeated")  # fmt: skip
    add(
        "--package", action="append", default=[], metavar="NAME", help="importable package (or folder) to copy as files"
    )
    add("--exclude", action="append", default=[], metavar="PATTERN", help="archive names to leave out, such as '*.bin'")
    add("--output", type=Path, default=Path("submission.tar.gz"), help="archive to write (default: %(default)s)")
    add("--compress", choices=("auto", "always", "never"), default="auto",
        help="auto stores what does not shrink (default)")  # fmt: skip
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--profile", choices=sorted(PROFILES), default="llm-20-questions",
                       help="size limits of the competition (default: %(default)s)")  # fmt: skip
    limit.add_argument("--limit", type=_size, metavar="SIZE", help="own limit of the archive, such as 5GB or 197.7MiB")


def _add_verify_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("archive", type=Path, help="the submission.tar.gz")
    add("--keyword", action="append", metavar="WORD", help="keyword of a game; may be repeated (default: chosen)")
    add("--games", type=_count, default=2, help="whole games to play (default: %(default)s)")
    add("--act-timeout", type=float, default=60.0, metavar="SECONDS", help="clock of one turn (default: %(default)s)")
    add("--overage", type=float, default=300.0, metavar="SECONDS", help="extra time of one game (default: %(default)s)")
    add("--memory-gib", type=float, default=16.0, metavar="GIB", help="memory cap of each seat (default: %(default)s)")
    add("--min-wins", type=int, default=0, metavar="N", help="games in which the keyword must be found (default: 0)")
    add("--no-probe", action="store_true", help="leave out the single free-form turns that exercise the model")
    add("--start", choices=("auto", "fork", "spawn"), default="auto", help="how seats start (default: %(default)s)")
    add("--work-dir", type=Path, help="keep the games' records here")
    parser.set_defaults(run=_verify)


def _plan(args: argparse.Namespace) -> int:
    plan = _make_plan(args)
    print(json.dumps(_plan_facts(plan), indent=1) if args.json else plan.to_text())
    return 0


def _build(args: argparse.Namespace) -> int:
    from submission_builder.archive import build_archive

    plan = _make_plan(args)
    if not args.json:
        print(plan.to_text() + "\n", flush=True)
    report = build_archive(plan, progress=not args.quiet, hash=not args.no_hash, threads=args.threads)
    if args.report:
        args.report.write_text(report.to_json() + "\n", encoding="utf-8")
    print(report.to_json() if args.json else report.to_text())
    return 0


def _verify(args: argparse.Namespace) -> int:
    from submission_builder.verify import verify_archive

    report = verify_archive(
        args.archive, keywords=args.keyword, games=args.games, act_timeout=args.act_timeout, overage=args.overage,
        memory_limit=int(args.memory_gib * 2**30), work_dir=args.work_dir, progress=not args.quiet,
        min_wins=args.min_wins, probe=not args.no_probe, start=args.start,
    )  # fmt: skip
    if args.json:
        result = report.to_json()
        print(result if isinstance(result, str) else json.dumps(result, indent=1))
    else:
        print(report.to_text())
    return 0 if report.ok else 1


def _make_plan(args: argparse.Namespace):
    from submission_builder.plan import PlanError, make_plan
    from submission_builder.template import template_main

    names = [name for name, _ in args.include]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"--include names {', '.join(repeated)} more than once; give each thing its own name")
    main = args.main or template_main()
    packages = args.package if args.main else list(dict.fromkeys(["kaggle_utils", *args.package]))
    try:
        return make_plan(
            main, include=dict(args.include), packages=packages, exclude=args.exclude, output=args.output,
            profile=custom_profile(args.limit) if args.limit else args.profile, compress=args.compress,
        )  # fmt: skip
    except PlanError as error:
        if error.plan is not None and error.plan.files and not args.json:
            print(error.plan.to_text() + "\n", flush=True)
        raise


def _plan_facts(plan) -> dict:
    return {
        "output": str(plan.output),
        "profile": plan.profile.name,
        "predicted_size": plan.predicted_size,
        "stored_size": plan.stored_size,
        "unpacked_size": plan.unpacked_size,
        "free_bytes": plan.free_bytes,
        "warnings": list(plan.warnings),
        "files": [{"name": f.name, "source": str(f.source), "size": f.size, "stored": f.stored} for f in plan.files],
    }


def _named_path(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, such as model=/kaggle/input/gemma")
    return name, Path(path)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
