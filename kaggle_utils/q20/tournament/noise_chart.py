"""One picture: how often players win as answers get noisier, under the line that nobody can pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.tournament.bounds import final_guess_bound, free_guess_bound

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kaggle_utils.q20.tournament.simulate import Simulation

__all__ = ["noise_chart"]


def noise_chart(
    results: Mapping[str, Mapping[float, Simulation]], *, objects: int, free_guess: bool = True, title: str = ""
) -> Figure:
    """Draw win rates with their 95 % intervals over the flip rate, and the physical bound.

    Args:
        results: player -> flip rate -> its games.
        objects: equally likely keywords, for the bound.
        free_guess: the protocol that was played.
        title: over the picture.

    Returns:
        A matplotlib figure of its own; nothing is shown.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(results.values()):
        raise ValueError("no results to draw; give at least one player with one flip rate")
    figure = require("matplotlib.figure", extra="plots").Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    _bound(axes, max(flip for cells in results.values() for flip in cells), objects, free_guess)
    for (name, cells), marker in zip(results.items(), "osD^vP*X" * len(results), strict=False):
        flips = sorted(cells)
        rates = np.array([cells[flip].win_rate for flip in flips])
        low, high = np.array([cells[flip].interval for flip in flips]).T
        errors = np.maximum(0, [rates - low, high - rates])
        axes.errorbar(flips, rates, yerr=errors, marker=marker, capsize=3, linewidth=1.4, label=name)
    axes.set(xlabel="share of answers that are wrong", ylabel="games won", ylim=(0, 1.03), title=title)
    axes.set_xticks(sorted({flip for cells in results.values() for flip in cells}))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False)
    return figure


def _bound(axes, highest: float, objects: int, free_guess: bool) -> None:
    bound: Sequence[float]
    flips = np.linspace(0, max(highest, 0.01), 25)
    bound = [(free_guess_bound if free_guess else final_guess_bound)(objects, float(flip)) for flip in flips]
    axes.fill_between(flips, bound, 1.03, color="0.9", zorder=0)
    axes.plot(flips, bound, color="0.35", linestyle="--", linewidth=1.2, label=f"bound, {objects:,} keywords")
