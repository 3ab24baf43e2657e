"""The most games that any questioner can win against answers that are flipped at random: what to measure win rates by.

Both bounds hold for every questioner and every set of questions, when the keyword is drawn from a known prior and each
answer is wrong independently with probability ``flip``. With the keyword fixed, the pattern of wrong answers and the
transcript determine each other; since a questioner's guess depends on the transcript alone, at most one keyword can be
right at each transcript. Counting transcripts bounds the patterns that can be won, and the best that can be done with
so many is to win the likeliest. They know nothing of a real answerer, whose errors repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from kaggle_utils.q20.protocol import ROUNDS

__all__ = ["final_guess_bound", "free_guess_bound"]


def final_guess_bound(objects: int | Sequence[float] | np.ndarray, flip: float, *, rounds: int = ROUNDS) -> float:
    """Return the highest win rate with one guess after ``rounds`` answers (sphere packing with feedback).

    There are ``2 ** rounds`` transcripts for all pairs of a keyword and a pattern of errors: the likeliest are won.
    Time O(rounds * D log) for D different weights.

    Args:
        objects: how many equally likely keywords, or the weights of unequal ones. Keywords that one guess tests
            together count once, with the sum of their weights.
        flip: share of wrong answers.
        rounds: answers before the guess.

    Raises:
        ValueError: no objects, no rounds, or a rate outside 0 to 1.

    >>> [round(final_guess_bound(1128, flip), 3) for flip in (0, 0.05, 0.1, 0.2)]
    [1.0, 0.962, 0.797, 0.336]
    """
    shares, counts, flip = _checked(objects, flip, rounds)
    errors = np.arange(rounds + 1)
    patterns = np.array([float(comb(rounds, k)) for k in errors])
    value = shares[:, None] * (flip**errors * (1 - flip) ** (rounds - errors))
    return min(1.0, float(np.sum(_likeliest(counts[:, None] * patterns, value, 2.0**rounds) * value)))


def free_guess_bound(objects: int | Sequence[float] | np.ndarray, flip: float, *, rounds: int = ROUNDS) -> float:
    """Return the highest win rate with a free guess after every answer, as on Kaggle; arguments as above.

    It is the value of a linear programme: the beginnings of error patterns, by length t and number of errors, that
    are won at t; no beginning of a won one is won itself, and at most ``2 ** t`` are won at each t. Taking the
    likeliest at every t in turn is optimal: let A and B be two of one length with probabilities a >= b. Winning B now
    and a share f of A's continuations later gives b + f * a; the other way round it is a + f * b, which is never less.
    Time O(rounds ** 2 * D log) for D different weights.

    >>> [round(free_guess_bound(1128, flip), 3) for flip in (0, 0.05, 0.1, 0.2)]
    [1.0, 0.996, 0.951, 0.648]
    """
    shares, counts, flip = _checked(objects, flip, rounds)
    open_, won = counts[:, None], 0.0  # beginnings that are not won yet, by weight of the keyword and number of errors
    for length in range(1, rounds + 1):
        open_ = np.pad(open_, ((0, 0), (0, 1))) + np.pad(open_, ((0, 0), (1, 0)))
        errors = np.arange(length + 1)
        value = shares[:, None] * (flip**errors * (1 - flip) ** (length - errors))
        taken = _likeliest(open_, value, 2.0**length)
        won += float(np.sum(taken * value))
        open_ = open_ - taken
    return min(1.0, won)


def _likeliest(there: np.ndarray, value: np.ndarray, room: float) -> np.ndarray:
    """How many of each kind are taken when ``room`` of them are, those of the highest value first."""
    order = np.argsort(-value, axis=None, kind="stable")
    taken = np.empty(there.size)
    taken[order] = np.diff(np.minimum(np.cumsum(there.ravel()[order]), room), prepend=0.0)
    return taken.reshape(there.shape)


def _checked(objects: object, flip: float, rounds: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Different shares of the keywords, how many have each, and the rate of the less likely answer.

    Answers that are wrong in 90 % of cases tell as much as 10 %.
    """
    weights = np.atleast_1d(np.asarray(objects, np.float64))
    number = np.ndim(objects) == 0
    problems = []
    if (
        weights.ndim != 1
        or not len(weights)
        or not np.isfinite(weights).all()
        or (weights < 0).any()
        or (not weights.sum() > 0 or (number and weights[0] < 1))
    ):
        problems.append(f"objects is {objects}, expected 1 or more, or weights of which none is negative")
    if not rounds >= 1:
        problems.append(f"rounds is {rounds}, expected 1 or more")
    if not 0 <= flip <= 1:
        problems.append(f"flip is {flip}, expected a probability from 0 to 1")
    if problems:
        raise ValueError("no bound: " + "; ".join(problems))
    if number:
        return 1 / weights, weights, min(flip, 1 - flip)
    values, counts = np.unique(weights / weights.sum(), return_counts=True)
    return values, counts.astype(np.float64), min(flip, 1 - flip)
