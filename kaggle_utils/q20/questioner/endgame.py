"""The last rounds before a single guess: what counts is the chance to guess right, no longer the bits.

With r questions left, at most 2**r of the pairs (object, noise pattern) can still be told apart, so the mass of the
2**r heaviest pairs bounds the chance to win (sphere packing). A question is worth what that bound is expected to be
after its answer; with no question left it is the mass of the best object, so the last question is chosen exactly.
"""

from __future__ import annotations

import numpy as np

__all__ = ["expected_win"]


def expected_win(weights: np.ndarray, p_yes: np.ndarray, *, flip: float, left: int) -> np.ndarray:
    """Return the expected bound on winning after each question, [..., T].

    Args:
        weights: [..., M] posterior of the likeliest objects.
        p_yes: [..., T, M] P(yes) for each question and object.
        flip: flip rate to expect of the later answers.
        left: number of questions left after this one; cost grows as M * 2**left.

    >>> weights, p_yes = np.array([0.5, 0.3, 0.2]), np.array([[0.9, 0.1, 0.1], [0.9, 0.9, 0.1]])
    >>> expected_win(weights, p_yes, flip=0.1, left=0).round(2).tolist()
    [0.72, 0.63]
    """
    yes = weights[..., None, :] * p_yes
    no = weights[..., None, :] - yes
    patterns = np.ones(1)
    for _ in range(left):
        patterns = np.concatenate([patterns * (1 - flip), patterns * flip])
    patterns = patterns.astype(weights.dtype)
    return _heaviest(yes, patterns) + _heaviest(no, patterns)


def _heaviest(values: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Mass of the len(patterns) heaviest products of a value and a pattern."""
    count = len(patterns)
    if count == 1:
        return values.max(axis=-1)
    pairs = (values[..., :, None] * patterns).reshape(*values.shape[:-1], -1)
    kth = pairs.shape[-1] - count
    return np.partition(pairs, kth, axis=-1)[..., kth:].sum(axis=-1)
