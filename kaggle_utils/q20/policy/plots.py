"""One picture of training runs: win rate against games played."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.training import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_curves"]

_COLUMNS = 3
_LEAST_WIDTH = 7.0  # inches: the legend of three lines fits under a single panel


def plot_curves(curves: Mapping[str, Curve], *, title: str = "") -> Figure:
    """Draw one panel a run: sampled training games, greedy validation games, and the lines to compare with.

    Args:
        curves: title of the panel -> curve.
        title: over all panels.

    Returns:
        The figure; ``figure.savefig("curves.png", dpi=120)`` writes it.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not curves:
        raise ValueError("no curves to draw; give at least one, by its title")
    figure_class = require("matplotlib.figure", extra="plots").Figure
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure = figure_class(figsize=(max(_LEAST_WIDTH, 4.6 * columns), 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, curve) in zip(panels, curves.items(), strict=False):
        _draw(axes, name, curve)
    low = min(rate for c in curves.values() for rate in (*c.validation, *c.training[1:], *c.lines.values()))
    panels[0].set_ylim(max(-0.02, low - 0.1), 1.02)  # shared by all panels
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    handles = {label: h for axes in panels for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def _draw(axes, name: str, curve: Curve) -> None:
    axes.plot(curve.games, curve.training, color="tab:blue", alpha=0.5, label="training, sampled questions")
    axes.plot(curve.games, curve.validation, color="tab:blue", marker="o", markersize=3, label="validation")
    for number, (label, value) in enumerate(curve.lines.items()):
        axes.axhline(value, color=f"C{number + 1}", linestyle="--", label=label)
    axes.set(title=name, xlabel="games played", ylabel="win rate")
    axes.grid(alpha=0.3)
