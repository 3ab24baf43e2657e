"""``submission-builder dataset | kernels | models``: prepare folders for Kaggle's client, and send them if asked.

Each command checks everything first, writes a folder, and prints the client's own commands for it. ``--upload`` calls
them. Parts are imported when a command runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["add_publishing_commands"]

_DATASET_EXAMPLES = """examples:
  submission-builder dataset wheels --title "kaggle-notebook-utils" --owner YOU --license apache-2.0
  submission-builder dataset weights --title "Gemma 2 judge, nf4" --owner YOU --slug gemma-2-judge --out /tmp/judge
  submission-builder dataset weights --title "Gemma 2 judge, nf4" --owner YOU --slug gemma-2-judge --upload -m "epoch 2"
"""
_KERNELS_EXAMPLES = """examples:
  submission-builder kernels notebooks/llm20q_submission.ipynb --owner YOU
  submission-builder kernels notebooks/lmsys_deberta_kfold.ipynb --owner YOU --out kernels --upload --no-run
"""
_MODELS_EXAMPLES = """examples:
  submission-builder models weights --title "SmolLM2 nf4" --owner YOU --variation 135m-nf4 --license "Apache 2.0"
  submission-builder models weights --title "SmolLM2 nf4" --owner YOU --variation 135m-nf4 --license MIT --upload
"""


def add_publishing_commands(commands, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Register the three; ``command(commands, name, about, epilog)`` makes a parser with the common options."""
    dataset = command(commands, "dataset", "make a folder ready for `kaggle datasets create`", _DATASET_EXAMPLES)
    _add_folder_options(dataset)
    add = dataset.add_argument
    add("--slug", help="name in addresses, 6 to 50 of a-z, 0-9 and hyphens (default: made of the title)")
    add("--license", "--licence", dest="licence", default="other", help="Kaggle's name of it (default: %(default)s)")
    add("--subtitle", help="20 to 80 characters")
    add("--description", type=Path, metavar="FILE", help="Markdown file that describes it")
    add("--keyword", action="append", default=[], help="one of Kaggle's tags; may be repeated")
    add("--public", action="store_true", help="everybody may see it (default: only you)")
    add("--as", dest="how", choices=("auto", "create", "version"), default="auto",
        help="with --upload: auto asks Kaggle whether it exists (default)")  # fmt: skip
    dataset.set_defaults(run=_dataset)
    kernels = command(commands, "kernels", "make folders ready for `kaggle kernels push`", _KERNELS_EXAMPLES)
    _add_kernel_options(kernels)
    kernels.set_defaults(run=_kernels)
    models = command(commands, "models", "make a folder ready for `kaggle models create`", _MODELS_EXAMPLES)
    _add_folder_options(models)
    _add_model_options(models)
    models.set_defaults(run=_models)


def _add_folder_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, help="what it will hold")
    add("--title", required=True, help="6 to 50 characters")
    add("--owner", required=True, help="your user name, as in kaggle.com/NAME")
    add("--out", type=Path, help="folder to write (default: the slug, here); large files are hard linked into it")
    add("--folders", choices=("zip", "tar", "skip", "flatten"), default="zip",
        help="sub-folders: sent as one archive each (zip, or tar, which does not compress: for weights), left out, or "
             "their files put at the top as folder__file (default: %(default)s)")  # fmt: skip
    add("--exclude", action="append", default=[], metavar="PATTERN", help="names to leave out, such as 'original/*'")
    add("-m", "--message", default="new version", help="what a new version says about itself (default: %(default)s)")
    add("--upload", action="store_true", help="send it with the official client, which must be installed and logged in")


def _add_kernel_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help=".ipynb file")
    add("--owner", required=True, help="your user name, as in kaggle.com/NAME")
    add("--out", type=Path, default=Path("kernels"), help="a folder for each is written here (default: %(default)s)")
    add("--facts", type=Path, metavar="FILE", help="what each needs (default: kernels.json beside the first notebook)")
    add("--public", action="store_true", help="everybody may see them (default: only you)")
    add("--no-run", action="store_true", help="save them without running them (needs kaggle 2.2.5)")
    add("--upload", action="store_true", help="push them with the official client; unchanged ones are passed over")
    add("--again", action="store_true", help="push unchanged ones too")


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--slug", default="", help="name in addresses (default: made of the title)")
    add("--variation", required=True, help="name of these files among the model's, such as 2b-it-nf4")
    add("--license", "--licence", dest="licence", required=True, help="Kaggle's name of it, such as 'Apache 2.0'")
    add("--framework", default="transformers", help="Kaggle's name of it (default: %(default)s)")
    add("--subtitle", default="", help="one line about it")
    add("--description", type=Path, metavar="FILE", help="Markdown file that describes the model")
    add("--public", action="store_true", help="everybody may see it (default: only you)")


def _dataset(args: argparse.Namespace) -> int:
    from submission_builder.publishing.dataset import make_dataset
    from submission_builder.publishing.upload import upload_dataset

    prepared = make_dataset(
        args.folder, title=args.title, owner=args.owner, slug=args.slug, licence=args.licence, subtitle=args.subtitle,
        description=_text(args.description), keywords=args.keyword, out=args.out, folder_mode=args.folders,
        exclude=args.exclude, message=args.message, progress=not args.quiet,
    )  # fmt: skip
    _show([prepared], args)
    said = {}
    if args.upload:
        said = {prepared.reference: upload_dataset(prepared, _client(args), how=args.how, public=args.public)}
    return _finish([prepared], said, args)


def _kernels(args: argparse.Namespace) -> int:
    from submission_builder.publishing.kernels import make_kernels
    from submission_builder.publishing.upload import upload_kernels

    prepared = make_kernels(
        args.notebooks, owner=args.owner, out=args.out, facts=args.facts, public=args.public, run=not args.no_run
    )
    _show(prepared, args)
    return _finish(prepared, upload_kernels(prepared, _client(args), again=args.again) if args.upload else {}, args)


def _models(args: argparse.Namespace) -> int:
    from submission_builder.publishing.models import ModelPage, make_model
    from submission_builder.publishing.upload import upload_model

    page = ModelPage(
        args.title, args.owner, args.variation, args.licence, framework=args.framework, slug=args.slug,
        subtitle=args.subtitle, description=_text(args.description) or "", private=not args.public,
    )  # fmt: skip
    prepared = make_model(
        args.folder, page, out=args.out, folder_mode=args.folders, exclude=args.exclude, message=args.message,
        progress=not args.quiet,
    )  # fmt: skip
    _show([prepared], args)
    said = {prepared.reference: upload_model(prepared, _client(args))} if args.upload else {}
    return _finish([prepared], said, args)


def _text(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8")


def _client(args: argparse.Namespace):
    from submission_builder.publishing.client import find_client, is_progress

    def echo(line: str) -> None:
        if not is_progress(line):
            print(f"  kaggle | {line}", file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            print(f"  kaggle | {line}", end="\r", file=sys.stderr, flush=True)

    return find_client(echo=None if args.quiet or args.json else echo)


def _show(prepared: Sequence, args: argparse.Namespace) -> None:
    if not args.json:
        print("\n\n".join(item.to_text() for item in prepared), flush=True)


def _finish(prepared: Sequence, said: dict[str, str], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps([{**item.facts(), "uploaded": said.get(item.reference)} for item in prepared], indent=1))
    else:
        for reference, words in said.items():
            print(f"{reference}: {words}")
    return 0
