"""What the handshake is worth: it tells nothing of the keyword, but what all later questions will tell."""

from __future__ import annotations

import numpy as np

from kaggle_utils.q20.questioner.gain import gain_of_sums
from kaggle_utils.q20.questioner.posterior import Posterior

__all__ = ["handshake_worth"]

_LASTING = 0.85  # later questions tell less than the first


def handshake_worth(posterior: Posterior, *, needed: float, left: int, semantic: float, now: float) -> float:
    """Return by how much asking the handshake raises the chance to win; below 0 it costs a round for nothing.

    The chance to win is taken to be 2 to the power of minus the bits that will be missing at the end. With a partner
    who spells, each later question halves the words; with others, it tells what the best question about meaning does.

    Args:
        posterior: what is believed of the answerer.
        needed: entropy of the keyword in bits.
        left: questions left, the handshake included.
        semantic: gain in bits of the best question about meaning.
        now: gain in bits of the best question of any kind.
    """
    channel, mass = posterior.channel, posterior.profiles
    slopes = channel.slope + channel.doubt
    later = 0.0
    for p in (channel.handshake, 1 - channel.handshake):
        given = mass * p / (mass @ p)
        ends = np.array([given @ channel.lexical_base]), np.array([given @ channel.lexical_slope])
        spelled = float(gain_of_sums(np.array([0.5]), None, *ends)[0])
        about = min(1.0, semantic * float((given @ slopes) / (mass @ slopes)) ** 2)
        later += float(mass @ p) * _chance(needed, (left - 1) * max(spelled, about))
    return later - _chance(needed, left * now)


def _chance(needed: float, told: float) -> float:
    """The chance to win when ``needed`` bits are missing and the next question's gain promises ``told`` in all."""
    return 2.0 ** -max(0.0, needed - _LASTING * told)
