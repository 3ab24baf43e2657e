"""One picture of a scoring run: probabilities by class and, where labels exist, how well they are calibrated.

It draws what it is given and judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.probabilities import calibration_curve
from kaggle_utils.inference.ensemble import log_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_scores"]


def plot_scores(
    probabilities: np.ndarray, labels: np.ndarray | None = None, *, names: Sequence[str] = ("A wins", "B wins", "tie")
) -> Figure:
    """Draw the distribution of each class's probability and its calibration.

    Args:
        probabilities: float [N, C]; rows with a nan are left out.
        labels: int [N], class numbers, negative where unknown; None draws the distribution alone.
        names: of the classes; WSDM has two.
    """
    figure_class = require("matplotlib.figure", extra="plots").Figure
    probabilities = np.asarray(probabilities, dtype=np.float64)
    names = list(names)[: probabilities.shape[1]]
    whole = np.isfinite(probabilities).all(axis=1)
    known = whole & (np.asarray(labels) >= 0) if labels is not None else np.zeros(len(whole), dtype=bool)
    figure = figure_class(figsize=(10 if known.any() else 5, 4), layout="constrained")
    left, *right = figure.subplots(1, 2 if known.any() else 1, squeeze=False)[0]
    left.hist([probabilities[whole, c] for c in range(len(names))], bins=20, range=(0, 1), label=names)
    left.set(xlabel="probability", ylabel="rows", title=f"{whole.sum():,} rows")
    left.legend()
    if right:
        _draw_calibration(right[0], probabilities[known], np.asarray(labels)[known], names)
    return figure


def _draw_calibration(axes, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    for number, name in enumerate(names):
        means, shares, _ = calibration_curve(probabilities[:, number], labels == number)
        axes.plot(means, shares, marker="o", label=name)
    axes.set(xlabel="predicted", ylabel="happened", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"log loss {log_loss(probabilities, labels):.4f} on {len(labels):,} labelled rows")
    axes.legend()
