"""What answers say: what one depends on, what it was, what it is expected to tell.

An ``Effect`` is a question as the posterior sees it. All works on plain arrays; texts are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kaggle_utils.q20.questioner.gain import entropy

if TYPE_CHECKING:
    from kaggle_utils.q20.questioner.lexicon import OutsideWords
    from kaggle_utils.q20.questioner.posterior import Posterior
    from kaggle_utils.q20.questioner.profiles import Channel

__all__ = ["Effect", "Heard", "expected_drop", "log_ratios", "slot_p_yes"]


class Effect(NamedTuple):
    """What the answer to a question depends on."""

    lexical: bool
    """It is about spelling."""
    theta: np.ndarray
    """P(yes) of the table's objects, [N]."""
    unknown: float | np.ndarray
    """P(yes) of a word outside the table, one for all profiles or [K]."""
    truth: np.ndarray | None = None
    """bool [U]: the answers of the words outside, where these are known one by one."""


class Heard(NamedTuple):
    """An answer that was taken in."""

    question: str
    lexical: bool
    unknown: float | np.ndarray
    """P(yes) of a word outside the table at that time, one for all profiles or [K]."""
    answer: bool


def log_ratios(channel: Channel, heard: Sequence[Heard], theta: np.ndarray) -> np.ndarray:
    """Return by how much better n words explain the answers than any unknown word does: log ratios, float64 [K, n].

    Args:
        channel: of the K profiles.
        heard: answers.
        theta: [n, len(heard)] P(yes) of the words.
    """
    log = np.zeros((len(channel), len(theta)))
    for column, one in zip(np.asarray(theta, dtype=np.float64).T, heard, strict=True):
        own = channel.p_yes(column, lexical=one.lexical)
        other = slot_p_yes(channel, one.unknown, lexical=one.lexical)[:, None]
        log += np.log(own / other if one.answer else (1 - own) / (1 - other))
    return log


def slot_p_yes(channel: Channel, unknown: float | np.ndarray, *, lexical: bool) -> np.ndarray:
    """Return P(yes) of a word outside the table for each profile, float64 [K]."""
    share = np.broadcast_to(np.asarray(unknown, dtype=np.float64), (len(channel),))
    return np.diagonal(channel.p_yes(share, lexical=lexical))


def expected_drop(posterior: Posterior, outside: OutsideWords | None, effect: Effect) -> float:
    """Return by how many bits the answer is expected to lower the entropy of the keyword; never below 0.

    Exact, over objects, profiles and, where their spelling decides, single words outside: two passes over all of them.
    """
    channel = posterior.channel
    inside = channel.p_yes(np.asarray(effect.theta, dtype=np.float64), lexical=effect.lexical)
    slot = slot_p_yes(channel, effect.unknown, lexical=effect.lexical)
    ends = channel.p_yes(np.array([0.0, 1.0]), lexical=True).T if effect.truth is not None else None
    now, later = _masses(posterior, outside, effect, None, None, None), 0.0
    for yes in (True, False):
        parts = [part if yes or part is None else 1 - part for part in (inside, slot, ends)]
        masses = _masses(posterior, outside, effect, *parts)
        later += masses.sum() * entropy(masses)
    return max(0.0, entropy(now) - float(later))


def _masses(
    posterior: Posterior,
    outside: OutsideWords | None,
    effect: Effect,
    inside: np.ndarray | None,
    slot: np.ndarray | None,
    ends: np.ndarray | None,
) -> np.ndarray:
    """Probabilities of an answer together with each keyword; of the keywords alone where the answer's are None."""
    weights, size = posterior.weights, len(effect.theta)
    one = np.ones(len(weights))
    slot = one if slot is None else slot
    known = (weights[:, :size] * (one[:, None] if inside is None else inside)).sum(axis=0)
    guests, left = slot @ weights[:, size:-1], weights[:, -1]
    if outside is None:
        rest = np.array([left @ slot])
    elif ends is None:
        rest = outside.weights(left * slot)
    else:
        rest = np.where(effect.truth, outside.weights(left * ends[1]), outside.weights(left * ends[0]))
    return np.concatenate([known, guests, rest])
