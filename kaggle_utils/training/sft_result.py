"""What a fine-tuning run leaves: its folder, its figures, its loss curve.

It draws and reads what is there and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.training.run_files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SftResult", "plot_loss", "read_sft", "save_loss_plot"]


@dataclass(frozen=True)
class SftResult:
    """A finished run; :func:`read_sft` reads it again."""

    folder: Path
    """Of the run."""
    model_folder: Path
    """The adapter (or, without LoRA, the model) with the tokenizer's files beside it."""
    is_adapter: bool
    """Whether :attr:`model_folder` needs its base model."""
    base: str
    """The model that training began with."""
    template: str | None
    """How rows were written; generate with the same."""
    steps: int
    """Optimizer steps done."""
    best_step: int | None
    """The step whose weights were kept; None: the last."""
    train_loss: float
    """Of the last logged steps."""
    eval_loss: float | None
    """The lowest one; None without evaluations."""
    history: Sequence[Mapping[str, Any]]
    """What was logged, by step."""
    data: Mapping[str, Any]
    """Reports on the rows: "train", and "eval" where there were any."""
    seconds: float
    """Time of training in the process that finished it."""
    tokens_per_second: float | None
    """Tokens of rows (no filler) trained on a second in that time; None where nothing was left to train."""
    attention: str
    """The attention implementation, and why."""
    peak_gib: float | None
    """Most GPU memory that was allocated; None on a CPU."""

    def to_text(self) -> str:
        """In one line."""
        evaluated = f", evaluation loss {self.eval_loss:.4f}" if self.eval_loss is not None else ""
        kept = f" (kept: step {self.best_step})" if self.best_step else ""
        return f"{self.steps} steps{kept}, training loss {self.train_loss:.4f}{evaluated}: {self.model_folder}"


def read_sft(folder: Path) -> SftResult | None:
    """Read the result in a run's folder; None where the run is not finished."""
    file = Path(folder) / "result.json"
    if not file.is_file():
        return None
    kept = read_json(file)
    name = kept.pop("model_folder")
    return SftResult(folder=Path(folder), model_folder=Path(folder) / name, **kept)


def plot_loss(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw training and evaluation loss by step."""
    figure = require("matplotlib.figure", extra="plots").Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, marker in (("loss", "training", ""), ("eval_loss", "evaluation", "o")):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="step", ylabel="loss a token", title="fine-tuning")
    if axes.get_lines():
        axes.legend()
    return figure


def save_loss_plot(history: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the curve as a PNG. Returns the path."""
    temporary = path.with_name(f".{path.name}.tmp")
    plot_loss(history).savefig(temporary, format="png", dpi=120)
    return temporary.replace(path)
