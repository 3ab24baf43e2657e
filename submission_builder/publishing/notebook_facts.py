"""What each notebook needs on Kaggle, read from one data file beside the notebooks (``kernels.json``).

The file is the only place where a notebook's competition, inputs, GPU, minutes and outputs stand; tables and metadata
are made of it. ``{owner}`` in a source stands for the user who attaches it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from submission_builder.publishing.metadata_error import MetadataError

__all__ = ["FACTS_NAME", "MACHINES", "NotebookFacts", "read_facts"]

FACTS_NAME = "kernels.json"

MACHINES: Mapping[str, str | None] = {
    "none": None,
    "T4 x2": "NvidiaTeslaT4",  # one T4 is no longer lent; NvidiaTeslaT4Highmem is for Kaggle's own staff
    "L4 x4": "NvidiaL4",
    "H100": "NvidiaH100",
    "RTX Pro 6000": "NvidiaRtxPro6000",
}
"""GPU as the notebook editor names it -> ``machine_shape``; those below T4 only in some competitions."""


@dataclass(frozen=True)
class NotebookFacts:
    """One notebook; sources as Kaggle writes them, with ``{owner}`` still in them."""

    title: str
    gpu: str = "none"
    """A key of MACHINES."""
    competition: str | None = None
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    """Notebooks whose output is an input."""
    internet: bool = False
    minutes: int | None = None
    """How long it takes there, about."""
    output: tuple[str, ...] = ()
    """Files that it writes to the working folder."""

    @classmethod
    def from_json(cls, name: str, found: object) -> tuple[NotebookFacts | None, list[str]]:
        """The facts, or what is wrong with them."""
        if not isinstance(found, dict):
            return None, [f"{name}: expected an object with its facts, found {type(found).__name__}"]
        known = {field.name for field in fields(cls)}
        problems = [f"{name}: {key!r} is unknown; there are {', '.join(sorted(known))}" for key in set(found) - known]
        problems += [
            f"{name}: {key!r} is {found[key]!r}, expected {what}"
            for key, (what, fits) in _SHAPES.items()
            if (key in found or key == "title") and not fits(found.get(key))
        ]
        if found.get("gpu", "none") not in MACHINES:
            problems.append(_gpu_problem(name, found["gpu"]))
        if problems:
            return None, problems
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}), []


def read_facts(path: Path) -> dict[str, NotebookFacts]:
    """File name of each notebook -> its facts.

    Raises:
        MetadataError: the file is absent, no JSON, or has wrong entries; all of them are named.
    """
    what = f"what {path} describes"
    if not path.is_file():
        raise MetadataError(what, [f"{path} does not exist; it says what each notebook needs (another: --facts)"])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MetadataError(what, [f"{path} is no JSON: {error}"]) from None
    notebooks = content.get("notebooks") if isinstance(content, dict) else None
    if not isinstance(notebooks, dict) or not notebooks:
        raise MetadataError(what, [f"{path} has no object 'notebooks' with an entry for each file"])
    read = {name: NotebookFacts.from_json(name, found) for name, found in notebooks.items()}
    problems = [problem for _, wrong in read.values() for problem in wrong]
    if problems:
        raise MetadataError(what, problems)
    return {name: facts for name, (facts, _) in read.items() if facts is not None}


def _gpu_problem(name: str, gpu: object) -> str:
    hint = "; P100 is retired, Kaggle gives two T4s instead" if "P100" in str(gpu) else ""
    return f"{name}: GPU {gpu!r} is unknown{hint}; there are {', '.join(MACHINES)}"


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text for text in value)


_SHAPES = {
    "title": ("a text", lambda value: isinstance(value, str)),
    "gpu": ("a text", lambda value: isinstance(value, str)),
    "competition": ("a text or null", lambda value: value is None or isinstance(value, str)),
    "internet": ("true or false", lambda value: isinstance(value, bool)),
    "minutes": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0),
    **dict.fromkeys(("datasets", "models", "kernels", "output"), ("a list of texts", _texts)),
}
