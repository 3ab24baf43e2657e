"""A folder of weights as a Kaggle model: its files, ``model-metadata.json`` and ``model-instance-metadata.json``.

A model is a page; its variation (the client's "instance") holds the files. Both metadata files lie in one folder, since
the client sends neither. Source of the rules: the official client's documentation and checks (kaggle 2.2).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from submission_builder.publishing.folder_writer import out_problems, write_folder
from submission_builder.publishing.licences import FRAMEWORKS, MODEL_LICENCES, named_problems
from submission_builder.publishing.metadata_error import MetadataError
from submission_builder.publishing.names import length_problems, owner_problems, slug_problems, slugify
from submission_builder.publishing.prepared import Command, Prepared
from submission_builder.publishing.upload_files import find_files

__all__ = ["INSTANCE_METADATA", "MODEL_METADATA", "ModelPage", "make_model", "model_commands"]

MODEL_METADATA = "model-metadata.json"
INSTANCE_METADATA = "model-instance-metadata.json"
_NO_LICENCE = (
    "Kaggle's list has no terms of Gemma or Llama: weights derived from those go up as a private dataset with the "
    "licence 'other' (submission-builder dataset)"
)


@dataclass(frozen=True)
class ModelPage:
    """What a model and its variation say about themselves."""

    title: str
    owner: str
    variation: str
    """Slug of the files, such as "nf4"."""
    licence: str
    """One of MODEL_LICENCES."""
    framework: str = "transformers"
    """One of FRAMEWORKS."""
    slug: str = ""
    """Made of the title if empty."""
    subtitle: str = ""
    description: str = ""
    """Markdown, of the model."""
    usage: str = ""
    """Markdown, of the variation."""
    private: bool = True

    @property
    def model(self) -> str:
        """``owner/slug``."""
        return f"{self.owner}/{self.slug or slugify(self.title)}"

    @property
    def reference(self) -> str:
        """``owner/slug/framework/variation``, to which Kaggle adds the number of the version."""
        return f"{self.model}/{self.framework}/{self.variation}"

    def problems(self) -> list[str]:
        """Everything that the client or Kaggle refuses, in words."""
        problems = length_problems("title", self.title, lowest=3, highest=50) + owner_problems(self.owner)
        problems += slug_problems(self.model.partition("/")[2], lowest=3)
        problems += slug_problems(self.variation, lowest=1, what="variation")
        problems += named_problems("framework", self.framework, FRAMEWORKS)
        licence = named_problems("licence", self.licence, MODEL_LICENCES)
        return problems + [f"{problem}. {_NO_LICENCE}" for problem in licence]

    def documents(self) -> dict[str, dict[str, object]]:
        """Both metadata files by name."""
        slug = self.model.partition("/")[2]
        model = {
            "ownerSlug": self.owner, "title": self.title, "slug": slug, "subtitle": self.subtitle,
            "isPrivate": self.private, "description": self.description, "publishTime": "", "provenanceSources": "",
        }  # fmt: skip
        instance = {
            "ownerSlug": self.owner, "modelSlug": slug, "instanceSlug": self.variation, "framework": self.framework,
            "overview": self.subtitle, "usage": self.usage, "licenseName": self.licence, "fineTunable": True,
            "trainingData": [], "modelInstanceType": "Unspecified", "baseModelInstance": "", "externalBaseModelUrl": "",
        }  # fmt: skip
        return {MODEL_METADATA: model, INSTANCE_METADATA: instance}


def make_model(
    folder: str | os.PathLike,
    page: ModelPage,
    *,
    out: str | os.PathLike | None = None,
    folder_mode: str = "zip",
    exclude: Sequence[str] = (),
    message: str = "new version",
    progress: bool = True,
) -> Prepared:
    """Check everything, then write the folder; files are hard linked where they lie on the same disk.

    Args:
        folder: the weights, as ``save_pretrained`` or ``quantize_and_save`` left them.
        page: names, licence and texts.
        out: where to write (default: the model's slug, in the current folder); an earlier one is replaced.
        folder_mode: what happens to sub-folders, see ``upload_files.find_files``.
        exclude: shell patterns over names in the folder.
        message: what a new version says about itself.
        progress: show a bar while files are copied.

    Raises:
        MetadataError: with all problems at once.
    """
    source = Path(folder)
    target = Path(out or page.model.partition("/")[2] or "model").absolute()
    found = find_files(source, folder_mode=folder_mode, exclude=exclude)
    problems = page.problems() + ([] if message.strip() else ["the message of a version is empty; say what is new"])
    problems += found.problems or out_problems(target, source, found.files, marker=INSTANCE_METADATA)
    if problems:
        raise MetadataError(f"model {page.reference}", problems)
    written = write_folder(found.files, target, documents=page.documents(), progress=progress)
    return Prepared(
        "model", page.reference, target, len(found.files), found.size,
        model_commands(target, page.reference, found.dir_mode, message), found.dir_mode, written.linked,
        written.copied, tuple(found.warnings),
    )  # fmt: skip


def model_commands(path: Path, reference: str, dir_mode: Sequence[str], message: str) -> tuple[Command, ...]:
    """The client's calls: the page, the first files, later versions of them."""
    where = ("-p", str(path))
    variations = ("models", "variations")
    return (
        Command("the page, once", ("models", "create", *where)),
        Command("the files, the first time", (*variations, "create", *where, *dir_mode)),
        Command(
            "as a new version", (*variations, "versions", "create", reference, *where, *dir_mode, "-n", message)
        ),
    )  # fmt: skip
