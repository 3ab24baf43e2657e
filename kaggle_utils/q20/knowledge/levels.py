"""Probabilities as one byte: the scale on which a table stores P(yes).

The steps are equal in log-odds, so that .99 and .98 differ as .6 and .5 do not; no level is 0 or 1.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LEVELS", "encode"]

_END = float(np.log(0.996 / 0.004))
LEVELS = (1 / (1 + np.exp(-np.concatenate([np.linspace(-_END, 0, 129), np.linspace(0, _END, 128)[1:]])))).astype(
    np.float32
)
"""float32 [256]: the probability of each code, rising from .004 to .996; code 128 is exactly a half."""
LEVELS.setflags(write=False)


def encode(theta: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """Return the codes, uint8 of the same shape, whose levels are nearest to probabilities.

    >>> encode(np.array([0.0, 0.004, 0.5, 1.0])).tolist(), LEVELS[encode(np.array([0.3]))].round(2).tolist()
    ([0, 0, 128, 255], [0.30...])

    Raises:
        ValueError: a value is no probability.
    """
    theta = np.asarray(theta)
    if theta.size and not (np.isfinite(theta).all() and theta.min() >= 0 and theta.max() <= 1):
        raise ValueError(f"expected probabilities from 0 to 1, got values from {np.min(theta)} to {np.max(theta)}")
    edges = (np.asarray(levels)[1:] + np.asarray(levels)[:-1]) / 2
    return np.searchsorted(edges, theta, side="right").astype(np.uint8)
