"""``submission-builder wheelhouse``: the functions of this folder on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from submission_builder.wheels.images import image_names

__all__ = ["add_wheelhouse_command", "run_wheelhouse"]

_EXAMPLES = """examples:
  submission-builder wheelhouse --image kaggle-2026 --out wheelhouse
  submission-builder wheelhouse --image kaggle-2026 --out wheelhouse --extras llm,game,filter
  submission-builder wheelhouse --image my-freeze.txt --python 3.12 --out wheelhouse --extras retrieval \\
      --replace sentence-transformers
  submission-builder wheelhouse check wheelhouse
on Kaggle, with the folder attached as a dataset and the internet off:
  pip install --no-deps -r /kaggle/input/wheelhouse/requirements.txt
"""


def add_wheelhouse_command(commands, new_command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``wheelhouse``, which builds, and ``wheelhouse check``; ``new_command(commands, name, about, epilog)``."""
    about = "our wheel and exactly those that a Kaggle image lacks, for notebooks without network"
    parser = new_command(commands, "wheelhouse", about, _EXAMPLES)
    parser.set_defaults(run=run_wheelhouse)
    add = parser.add_argument
    add("--image", metavar="NAME|FILE", default="kaggle-2026",
        help=f"{', '.join(image_names())}, or a file that pip freeze wrote there (default: %(default)s)")  # fmt: skip
    add("--out", metavar="FOLDER", help="folder to write")
    add("--extras", default="llm", metavar="A,B", help="extras of our package (default: %(default)s; '' for none)")
    add("--python", metavar="VERSION", help="Python there, such as 3.12 (default: the image's)")
    add("--platform", metavar="TAG", help="newest platform tag there (default: the image's, manylinux_2_35_x86_64)")
    add("--replace", action="append", default=[], metavar="PACKAGE",
        help="package of the image that may be replaced; may be repeated")  # fmt: skip
    add("--also", action="append", default=[], metavar="NAME==VERSION",
        help="further package, without what it asks for; may be repeated")  # fmt: skip
    _add_sources(parser)
    actions = parser.add_subparsers(dest="action", metavar="check")
    check = actions.add_parser("check", help="try a wheelhouse: digests, completeness, installation, imports")
    check.add_argument("folder", help="what this command wrote")
    check.add_argument("--interpreter", metavar="PATH", help="Python to install for (default: one of that version)")
    check.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    check.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    _add_sources(check, default=argparse.SUPPRESS)


def _add_sources(parser: argparse.ArgumentParser, **options) -> None:
    add = parser.add_argument
    add("--find-links", action="append", metavar="FOLDER", help="further place of wheels; may be repeated", **options)
    add("--index-url", metavar="URL", help="index instead of the one that pip is configured for", **options)
    add("--no-index", action="store_true", help="use --find-links only", **options)


def run_wheelhouse(args: argparse.Namespace) -> int:
    """Build or check; returns the exit status."""
    from submission_builder.wheels.image_pip import PipSources

    sources = PipSources(args.index_url, tuple(args.find_links or ()), args.no_index)
    if args.action == "check":
        from submission_builder.wheels.check import check_wheelhouse

        report = check_wheelhouse(args.folder, python=args.interpreter, sources=sources)
        print(json.dumps({"ok": report.ok, **asdict(report)}, indent=1) if args.json else report.to_text())
        return 0 if report.ok else 1
    if not args.out:
        raise ValueError("say where to write the wheels: --out FOLDER")
    from submission_builder.wheels.images import load_image
    from submission_builder.wheels.wheelhouse import build_wheelhouse

    image = load_image(args.image)
    manifest = build_wheelhouse(
        image, args.out, extras=args.extras.split(","), python=args.python, platform=args.platform,
        replace=args.replace, also=args.also, sources=sources, progress=not args.quiet and sys.stderr.isatty(),
    )  # fmt: skip
    if args.json:
        print(manifest.to_json(), end="")
        return 0
    print(manifest.to_text())
    for note in image.notes:
        print(f"note: {note}")
    print(f"\n{args.out} is ready. Try it: submission-builder wheelhouse check {args.out}")
    return 0
