"""Confidence intervals of win rates and of paired differences. Only numpy."""

from __future__ import annotations

import numpy as np

from kaggle_utils.q20.tournament.simulate import wilson

__all__ = ["paired_interval", "wilson_interval"]

_Z = 1.959963984540054  # 95 %


def wilson_interval(wins: int, games: int) -> tuple[float, float]:
    """Return the 95 % interval of a win rate (Wilson's, right also at 0 and 1).

    >>> [round(end, 3) for end in wilson_interval(0, 100)]
    [0.0, 0.037]
    """
    if games < 1 or not 0 <= wins <= games:
        raise ValueError(f"{wins} wins in {games} games; expected at least one game and no more wins than games")
    return wilson(wins, games, z=_Z)


def paired_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of ``second - first`` over the same games, bool [G] each, and the ends of its 95 % interval.

    >>> paired_interval(np.array([True, False]), np.array([True, False]))
    (0.0, 0.0, 0.0)
    """
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    half = _Z * difference.std() / max(len(difference), 1) ** 0.5
    return float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half)
