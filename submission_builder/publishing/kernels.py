"""Notebooks as Kaggle kernels: a folder for each, with the notebook and its ``kernel-metadata.json``.

A folder is needed for each because the client reads one metadata file per folder. What a notebook needs comes from the
facts beside it; that its sources exist, and may be used by you, only Kaggle knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from submission_builder.publishing.folder_writer import out_problems, write_folder
from submission_builder.publishing.metadata_error import MetadataError
from submission_builder.publishing.names import (
    competition_problems,
    dataset_source_problems,
    kernel_source_problems,
    length_problems,
    model_source_problems,
    owner_problems,
    slug_problems,
    slugify,
)
from submission_builder.publishing.notebook_facts import FACTS_NAME, MACHINES, NotebookFacts, read_facts
from submission_builder.publishing.prepared import Command, Prepared
from submission_builder.publishing.upload_files import UploadFile

__all__ = ["KERNEL_METADATA", "kernel_metadata", "make_kernels", "metadata_problems"]

KERNEL_METADATA = "kernel-metadata.json"
"""The file that the client reads."""


def make_kernels(
    notebooks: Sequence[str | os.PathLike],
    *,
    owner: str,
    out: str | os.PathLike = "kernels",
    facts: str | os.PathLike | None = None,
    public: bool = False,
    run: bool = True,
) -> list[Prepared]:
    """Check all notebooks and their facts, then write a folder for each below ``out``, named by its slug.

    Args:
        notebooks: .ipynb files.
        owner: your user name; it also takes the place of ``{owner}`` in the facts.
        out: the folder of folders; made if it is missing.
        facts: their data file (default: ``kernels.json`` beside the first notebook).
        public: everybody may see them.
        run: the printed command runs the notebook after saving it, as the client does by default.

    Raises:
        MetadataError: with all problems of all notebooks at once.
    """
    paths, place = [Path(notebook) for notebook in notebooks], Path(out).absolute()
    if not paths:
        raise MetadataError("nothing", ["no notebook was given"])
    known = read_facts(Path(facts) if facts else paths[0].parent / FACTS_NAME)
    problems, documents = owner_problems(owner), {}
    for path in paths:
        problems += _notebook_problems(path)
        if path.name not in known:
            problems.append(f"{path.name} has no facts; there are some for {', '.join(sorted(known))}")
            continue
        documents[path] = kernel_metadata(path.name, known[path.name], owner=owner, public=public)
        problems += [f"{path.name}: {problem}" for problem in metadata_problems(documents[path])]
    ids = [str(document["id"]) for document in documents.values()]
    problems += [f"{name} is the id of several notebooks; change a title" for name in set(ids) if ids.count(name) > 1]
    if not problems:
        place.mkdir(parents=True, exist_ok=True)
        targets = {path: place / str(document["id"]).split("/")[1] for path, document in documents.items()}
        for path, target in targets.items():
            problems += out_problems(target, path, [_as_file(path)], marker=KERNEL_METADATA)
    if problems:
        raise MetadataError("the notebooks", problems)
    return [_write(path, targets[path], documents[path], run=run) for path in documents]


def kernel_metadata(name: str, facts: NotebookFacts, *, owner: str, public: bool = False) -> dict[str, object]:
    """The metadata of one notebook file.

    >>> found = kernel_metadata("a.ipynb", NotebookFacts("My agent", gpu="T4 x2", datasets=("{owner}/w",)), owner="ada")
    >>> found["id"], found["enable_gpu"], found["machine_shape"], found["dataset_sources"]
    ('ada/my-agent', True, 'NvidiaTeslaT4', ['ada/w'])
    """
    machine = MACHINES[facts.gpu]

    def owned(sources: Sequence[str]) -> list[str]:
        return [source.replace("{owner}", owner) for source in sources]

    return {
        "id": f"{owner}/{slugify(facts.title)}",
        "title": facts.title,
        "code_file": name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": not public,
        "enable_gpu": machine is not None,
        "enable_tpu": False,
        "enable_internet": facts.internet,
        **({"machine_shape": machine} if machine else {}),
        "dataset_sources": owned(facts.datasets),
        "competition_sources": [facts.competition] if facts.competition else [],
        "kernel_sources": owned(facts.kernels),
        "model_sources": owned(facts.models),
    }


def metadata_problems(metadata: dict[str, object]) -> list[str]:
    """Everything in a notebook's metadata that the client or Kaggle refuses."""
    slug = str(metadata["id"]).partition("/")[2]
    problems = length_problems("title", str(metadata["title"]), lowest=5, highest=50)
    problems += slug_problems(slug, lowest=5)
    checks = {
        "dataset_sources": dataset_source_problems,
        "competition_sources": competition_problems,
        "kernel_sources": kernel_source_problems,
        "model_sources": model_source_problems,
    }
    for key, check in checks.items():
        sources = list(metadata[key])
        problems += [problem for source in sources for problem in check(source)]
        problems += [f"{key} names {source!r} twice" for source in set(sources) if sources.count(source) > 1]
    return problems


def _notebook_problems(path: Path) -> list[str]:
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.ipynb")) if path.parent.is_dir() else []
        return [f"notebook {path} does not exist; its folder holds {', '.join(near[:6]) or 'no notebook'}"]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"notebook {path} is no JSON: {error}; save it again as .ipynb"]
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list) or content.get("nbformat") != 4:
        return [f"notebook {path} is not in nbformat 4 (it has no list of cells); save it again as .ipynb"]
    kernel = (content.get("metadata") or {}).get("kernelspec") or {}
    language = kernel.get("language", "python")
    return [f"notebook {path} is written in {language!r}, expected 'python'"] if language != "python" else []


def _as_file(path: Path) -> UploadFile:
    found = path.stat()
    return UploadFile(path.name, path, found.st_size, found.st_mtime_ns)


def _write(path: Path, target: Path, metadata: dict[str, object], *, run: bool) -> Prepared:
    file = _as_file(path)
    written = write_folder([file], target, documents={KERNEL_METADATA: metadata}, progress=False)
    how = () if run else ("--no-run",)
    when = "which also runs it and uses your weekly hours" if run and metadata["enable_gpu"] else "each time"
    command = Command(when, ("kernels", "push", "-p", str(target), *how))
    return Prepared(
        "notebook", str(metadata["id"]), target, 1, file.size, (command,), (), written.linked, written.copied
    )  # fmt: skip
