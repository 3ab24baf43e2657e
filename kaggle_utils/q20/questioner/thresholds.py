"""Which alphabetical threshold tells most: "does the keyword precede X?" for any X of a sorted list."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from kaggle_utils.q20.questioner.gain import gain_of_sums

__all__ = ["EXACT", "best_threshold"]

EXACT = 0.85
"""Slope of P(yes) from which on the answers count as exact."""
_LITTLE = 0.5  # bits
_TRIED = 65  # thresholds that are compared where answers are noisy, at equal steps of probability


def best_threshold(
    masses: np.ndarray, *, base: float, slope: float, closed: Set[int] = frozenset()
) -> tuple[int, float] | None:
    """Return (index of X, gain in bits) of the best threshold, None where none is left.

    Where answers are exact, a guess after each answer counts too: the threshold leaves the heavier side, without its
    best word, as light as possible, the best word of all thought away first.

    Args:
        masses: float64 [U] of the words in order; they need not sum to 1.
        base: P(yes) of a word that does not precede X.
        slope: how much likelier "yes" is for one that does.
        closed: indices of thresholds that were asked.

    >>> best_threshold(np.full(8, 0.125), base=0.0, slope=1.0)[0]
    4
    """
    total = masses.sum()
    alive = np.flatnonzero(masses > total * 1e-12)
    if len(alive) < 2 or total <= 0:
        return None
    weights = masses[alive] / total
    before = np.cumsum(weights) - weights
    ends = np.array([base]), np.array([slope])

    def best(places: np.ndarray, *, count: int | None = None) -> tuple[float, int]:
        open_places = [place for place in places.tolist() if place > 0 and int(alive[place]) not in closed][:count]
        if not open_places:
            return -1.0, 0
        gains = gain_of_sums(before[open_places], None, *ends)
        return float(gains.max()), open_places[int(np.argmax(gains))]

    if slope > EXACT:
        gain, place = best(_splitting(weights, spare=True), count=1)
        if gain < _LITTLE:  # at the very end, with two likely words, it is these that are to be told apart
            gain, place = max((gain, place), best(_splitting(weights, spare=False), count=1))
    else:
        gain, place = best(_quantiles(before))
    return (int(alive[place]), gain) if place else None


def _quantiles(before: np.ndarray) -> np.ndarray:
    return np.unique(np.searchsorted(before, np.linspace(0.02, 0.98, _TRIED)).clip(1, len(before) - 1))


def _splitting(weights: np.ndarray, *, spare: bool) -> np.ndarray:
    """Places that split best what is left after the next guesses, best first; a few, should the best be taken.

    ``spare``: the best word of all is thought away first.
    """
    if spare:
        weights = weights.copy()
        weights[np.argmax(weights)] = 0.0
    left = np.cumsum(weights) - np.maximum.accumulate(weights)
    right = (np.cumsum(weights[::-1]) - np.maximum.accumulate(weights[::-1]))[::-1]
    worse = np.maximum(left[:-1], right[1:])
    first = int(np.argmin(worse))
    near = np.arange(max(0, first - 20), min(len(worse), first + 21))
    order = near[np.argsort(worse[near], kind="stable")]
    return np.concatenate([[first], order[order != first]]) + 1
