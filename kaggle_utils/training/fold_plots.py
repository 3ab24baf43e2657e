"""Pictures of a k-fold run: loss curves of the folds, out-of-fold calibration, confusion.

It draws what it is given and judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.probabilities import calibration_curve
from kaggle_utils.training.kfold_result import KFoldResult
from kaggle_utils.training.metrics import log_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_losses", "plot_out_of_fold", "save_plots"]

_NAMES = ("A wins", "B wins", "tie")


def plot_losses(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw training loss and evaluations by step, one colour a fold.

    Args:
        histories: of :class:`~kaggle_utils.training.kfold_result.KFoldResult`: by fold, what was logged.
    """
    figure = require("matplotlib.figure", extra="plots").Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for fold, history in sorted(histories.items()):
        colour = f"C{fold % 10}"
        steps, losses = _points(history, "loss")
        left.plot(steps, losses, color=colour, alpha=0.25, linewidth=1)
        left.plot(steps, _smooth(losses), color=colour, label=f"fold {fold}")
        steps, losses = _points(history, "eval_log_loss")
        right.plot(steps, losses, marker="o", color=colour, label=f"fold {fold}")
        if len(losses):
            best = int(np.argmin(losses))
            right.plot(steps[best], losses[best], marker="*", markersize=15, color=colour)
    left.set(xlabel="step", ylabel="training loss", title="training (bold: running mean)")
    right.set(xlabel="step", ylabel="log loss", title="evaluations on held-out rows (star: lowest)")
    for axes in (left, right):
        if axes.get_lines():
            axes.legend(fontsize="small")
    return figure


def plot_out_of_fold(probabilities: np.ndarray, labels: np.ndarray, *, names: Sequence[str] | None = None) -> Figure:
    """Draw calibration by class and the confusion of labels and likeliest classes.

    Args:
        probabilities: float [N, C]; rows with a nan (folds that were not run) are left out.
        labels: int [N].
        names: of the classes; None: A wins, B wins, tie, where there are at most three.
    """
    figure = require("matplotlib.figure", extra="plots").Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = np.isfinite(probabilities).all(axis=1)
    probabilities, labels = np.asarray(probabilities)[known], np.asarray(labels)[known]
    classes = probabilities.shape[1]
    names = list(names or (_NAMES if classes <= len(_NAMES) else map(str, range(classes))))[:classes]
    _draw_calibration(left, probabilities, labels, names)
    _draw_confusion(right, probabilities.argmax(axis=1), labels, names)
    return figure


def save_plots(result: KFoldResult, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write ``losses.png`` and ``out_of_fold.png``; returns their paths.

    Args:
        result: of a run with at least one fold done.
        folder: where to; None: the run's own.
    """
    place = Path(folder) if folder is not None else result.folder
    figures = {
        "losses.png": plot_losses(result.histories),
        "out_of_fold.png": plot_out_of_fold(result.probabilities, result.labels),
    }
    for name, figure in figures.items():
        temporary = place / f".{name}.tmp"
        figure.savefig(temporary, format="png", dpi=120)
        temporary.replace(place / name)
    return [place / name for name in figures]


def _points(history: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(entry["step"], entry[name]) for entry in history if name in entry and "step" in entry]
    return np.array([step for step, _ in found]), np.array([value for _, value in found], dtype=np.float64)


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of each value and its neighbours, a tenth of all to either side."""
    reach = max(1, len(values) // 10)
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def _draw_calibration(axes: Any, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    for number, name in enumerate(names):
        predicted, happened, _ = calibration_curve(probabilities[:, number], labels == number)
        axes.plot(predicted, happened, marker="o", label=name)
    axes.set(xlabel="predicted", ylabel="happened", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"log loss {log_loss(probabilities, labels):.4f} on {len(labels):,} rows")
    axes.legend(fontsize="small")


def _draw_confusion(axes: Any, chosen: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    count = len(names)
    table = np.bincount(labels * count + chosen, minlength=count * count).reshape(count, count)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(count):
        for column in range(count):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{shares[row, column]:.0%}\n{table[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    axes.set(xlabel="likeliest class", ylabel="label", title=f"accuracy {np.trace(table) / max(1, table.sum()):.1%}")
