"""A folder as a Kaggle dataset: its files and ``dataset-metadata.json``, ready for ``kaggle datasets create``.

Source of the rules: the official client's documentation and checks (kaggle 2.2). Whether the slug is free, and how much
of an account's private space is left, only Kaggle knows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from submission_builder.publishing.folder_writer import out_problems, write_folder
from submission_builder.publishing.licences import DATASET_LICENCES, named_problems
from submission_builder.publishing.metadata_error import MetadataError
from submission_builder.publishing.names import length_problems, owner_problems, slug_problems, slugify
from submission_builder.publishing.prepared import Command, Prepared
from submission_builder.publishing.upload_files import find_files

__all__ = ["DATASET_METADATA", "dataset_commands", "make_dataset"]

DATASET_METADATA = "dataset-metadata.json"
"""The file that the client reads."""


def make_dataset(
    folder: str | os.PathLike,
    *,
    title: str,
    owner: str,
    slug: str | None = None,
    licence: str = "other",
    subtitle: str | None = None,
    description: str | None = None,
    keywords: Sequence[str] = (),
    out: str | os.PathLike | None = None,
    folder_mode: str = "zip",
    exclude: Sequence[str] = (),
    message: str = "new version",
    progress: bool = True,
) -> Prepared:
    """Check everything, then write the folder; files are hard linked where they lie on the same disk.

    Args:
        folder: what the dataset will hold.
        title: 6 to 50 characters.
        owner: your user name, or an organisation's, as in addresses.
        slug: 6 to 50 of a-z, 0-9 and hyphens (default: made of the title).
        licence: one of DATASET_LICENCES.
        subtitle: 20 to 80 characters, or None.
        description: Markdown, or None.
        keywords: Kaggle's tags; unknown ones are ignored there.
        out: where to write (default: the slug, in the current folder); an earlier one is replaced.
        folder_mode: what happens to sub-folders, see ``find_files``.
        exclude: shell patterns over names in the folder.
        message: what a new version says about itself.
        progress: show a bar while files are copied.

    Raises:
        MetadataError: with all problems at once.
    """
    slug = slugify(title) if slug is None else slug
    source, target = Path(folder), Path(out or slug or "dataset").absolute()
    found = find_files(source, folder_mode=folder_mode, exclude=exclude)
    problems = length_problems("title", title, lowest=6, highest=50) + owner_problems(owner)
    problems += slug_problems(slug, lowest=6) + named_problems("licence", licence, DATASET_LICENCES)
    if subtitle is not None:
        problems += length_problems("subtitle", subtitle, lowest=20, highest=80)
    problems += [f"keyword {word!r} is no tag; give a word such as nlp" for word in keywords if not word.strip()]
    problems += [] if message.strip() else ["the message of a version is empty; say what is new"]
    problems += found.problems or out_problems(target, source, found.files, marker=DATASET_METADATA)
    if problems:
        raise MetadataError(f"dataset {owner}/{slug}", problems)
    further = {"subtitle": subtitle, "description": description, "keywords": list(keywords)}
    metadata = {"title": title, "id": f"{owner}/{slug}", "licenses": [{"name": licence}]}
    metadata.update({key: value for key, value in further.items() if value})
    written = write_folder(found.files, target, documents={DATASET_METADATA: metadata}, progress=progress)
    return Prepared(
        "dataset", f"{owner}/{slug}", target, len(found.files), found.size,
        dataset_commands(target, found.dir_mode, message), found.dir_mode, written.linked, written.copied,
        tuple(found.warnings),
    )  # fmt: skip


def dataset_commands(path: Path, dir_mode: Sequence[str], message: str) -> tuple[Command, ...]:
    """The client's calls for a dataset: create it, later add a version.

    >>> [str(command) for command in dataset_commands(Path("out"), ("-r", "zip"), "new weights")]
    ['kaggle datasets create -p out -r zip', "kaggle datasets version -p out -r zip -m 'new weights'"]
    """
    where = ("-p", str(path), *dir_mode)
    return (
        Command("the first time", ("datasets", "create", *where)),
        Command("as a new version", ("datasets", "version", *where, "-m", message)),
    )
