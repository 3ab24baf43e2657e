"""Kinds of answerers, and how probable a "yes" from each of them is.

A table says P(yes | object, question) of somebody who knows the world and answers carefully. A stranger adds his own
noise: he disagrees, says yes too often, says no when unsure, cannot spell. A profile describes one such stranger; the
questioner keeps a posterior over a small grid of them. Every P(yes) is affine in two fixed functions of the table's
entry, theta and theta * |2 theta - 1|, so that a grid of profiles costs a matrix product no more than one profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "BLIND_YES",
    "NOISES",
    "NOISE_FLOOR",
    "PROFILES",
    "SPELLING_FLOOR",
    "AnswererProfile",
    "Channel",
    "known_flip",
]

NOISE_FLOOR = 0.002
"""No answer about meaning is less probable than this."""

SPELLING_FLOOR = 1e-6
"""No answer about spelling of one who works it out by rule is less probable: a word of a third of a million can be
found in 19 answers only if hardly anything of each is given up."""

BLIND_YES = 0.4
"""P(yes) of an answerer who cannot spell, to any question about spelling."""

_HANDSHAKE_FROM = 0.97  # profiles that spell at least this well, and exactly, belong to players of the protocol


@dataclass(frozen=True)
class AnswererProfile:
    """One kind of answerer.

    >>> round(AnswererProfile(flip=0.1).p_yes(0.996), 3)
    0.895
    >>> round(AnswererProfile(flip=0.1, lexical=0).p_yes(1.0, lexical=True), 3)
    0.4
    """

    flip: float
    """Probability of answering the opposite of what the table's answerer would, in [0, 0.5)."""
    yes_bias: float = 0.0
    """Share of answers that are "yes" (above 0) or "no" (below 0) without regard to the question, in (-1, 1)."""
    unsure_is_no: float = 0.0
    """Share of doubtful cases that are answered "no", in [0, 1]."""
    lexical: float = 1.0
    """Share of questions about spelling that are understood, in [0, 1]; the rest is answered blindly."""
    spelling_flip: float | None = None
    """Flip rate of questions about spelling; None: as for all others. 0: spelling is worked out by rule."""
    weight: float = 1.0
    """Prior weight in a grid."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} {value!r} must lie in [{low}, {high}]"
            for name, value, low, high in (
                ("flip", self.flip, 0.0, 0.499),
                ("yes_bias", self.yes_bias, -0.99, 0.99),
                ("unsure_is_no", self.unsure_is_no, 0.0, 1.0),
                ("lexical", self.lexical, 0.0, 1.0),
                ("spelling_flip", self.spelling_flip or 0.0, 0.0, 0.499),
                ("weight", self.weight, 0.0, np.inf),
            )
            if not (isinstance(value, (int, float)) and low <= value <= high)
        ]
        if problems:
            raise ValueError("no such answerer: " + "; ".join(problems))

    def p_yes(self, theta: float, *, lexical: bool = False) -> float:
        """Return P(answer "yes") where the table says ``theta``."""
        return float(Channel([self]).p_yes(np.array([theta], dtype=np.float64), lexical=lexical)[0, 0])

    @property
    def handshake_yes(self) -> float:
        """P("yes") to the handshake: players of the alphabetical protocol spell by rule and confirm it."""
        plays = self.lexical >= _HANDSHAKE_FROM and self.spelling_flip == 0.0
        return 0.97 if plays else 0.01


class Channel:
    """The likelihoods of a grid of profiles, as coefficients: P(yes) = base + slope * theta + doubt * theta|2theta-1|.

    Arrays are float64 [K], once for questions about meaning and once for questions about spelling.
    """

    def __init__(self, profiles: Sequence[AnswererProfile], *, floor: float = NOISE_FLOOR) -> None:
        """Take the grid; ValueError if it is empty, weighs nothing, or the floor is no small probability."""
        self.profiles = tuple(profiles)
        if not self.profiles or not 0 < sum(p.weight for p in self.profiles) < np.inf or not 0 < floor < 0.5:
            raise ValueError(
                f"{len(self.profiles)} profiles, floor {floor}: expected at least one with a weight, floor in (0, 0.5)"
            )
        flip, bias, unsure, spells, spelling = (
            np.array(values, dtype=np.float64)
            for values in zip(
                *(
                    (
                        p.flip,
                        p.yes_bias,
                        p.unsure_is_no,
                        p.lexical,
                        p.flip if p.spelling_flip is None else p.spelling_flip,
                    )
                    for p in self.profiles
                ),
                strict=True,
            )
        )
        weights = np.array([p.weight for p in self.profiles], dtype=np.float64)
        self.prior = weights / weights.sum()
        span = (1 - np.abs(bias)) * (1 - 2 * flip) * (1 - 2 * floor)
        self.base = floor + (1 - 2 * floor) * (np.maximum(bias, 0) + (1 - np.abs(bias)) * flip)
        self.slope, self.doubt = span * (1 - unsure), span * unsure
        floors = np.array([SPELLING_FLOOR if p.spelling_flip == 0.0 else floor for p in self.profiles])
        self.lexical_base = floors + (1 - 2 * floors) * (spells * spelling + (1 - spells) * BLIND_YES)
        self.lexical_slope = (1 - 2 * floors) * spells * (1 - 2 * spelling)
        self.handshake = np.array([p.handshake_yes for p in self.profiles], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.profiles)

    def p_yes(self, theta: np.ndarray, *, lexical: bool = False) -> np.ndarray:
        """Return P(yes), [K, *theta.shape] in theta's own floating type."""
        shape = (-1,) + (1,) * theta.ndim
        base, slope = (self.lexical_base, self.lexical_slope) if lexical else (self.base, self.slope)
        result = slope.reshape(shape).astype(theta.dtype) * theta
        result += base.reshape(shape).astype(theta.dtype)
        if not lexical and self.doubt.any():
            result += self.doubt.reshape(shape).astype(theta.dtype) * (theta * np.abs(2 * theta - 1))
        return result


def known_flip(flip: float) -> tuple[AnswererProfile, ...]:
    """Return the grid for an answerer whose flip rate is known, for questions of every kind."""
    return (AnswererProfile(flip),)


_FLIPS = ((0.01, 0.16), (0.05, 0.22), (0.10, 0.24), (0.20, 0.24), (0.30, 0.14))

NOISES: tuple[AnswererProfile, ...] = tuple(
    AnswererProfile(flip, weight=weight)
    for flip, weight in ((0.002, 0.1), (0.03, 0.15), (0.07, 0.2), (0.12, 0.2), (0.2, 0.2), (0.3, 0.15))
)
"""Answerers who are equally noisy in everything, and nobody knows how noisy."""

PROFILES: tuple[AnswererProfile, ...] = (
    *(AnswererProfile(flip, weight=0.30 * share) for flip, share in _FLIPS),  # equally noisy in everything
    *(AnswererProfile(flip, spelling_flip=0.0, weight=0.12) for flip in (0.05, 0.15, 0.30)),  # play the protocol
    *(AnswererProfile(flip, spelling_flip=0.01, weight=0.03) for flip in (0.15, 0.42)),  # spell by rule all the same
    *(AnswererProfile(flip, lexical=0.4, weight=0.05) for flip in (0.05, 0.15)),  # spell like a language model
    *(AnswererProfile(flip, lexical=0.05, weight=0.05) for flip in (0.05, 0.12, 0.25)),  # cannot spell
    AnswererProfile(0.08, yes_bias=0.2, weight=0.02),
    AnswererProfile(0.08, yes_bias=-0.2, weight=0.03),
    AnswererProfile(0.05, unsure_is_no=0.8, lexical=0.6, weight=0.03),
)
"""Strangers as they come: most disagree with a table in 5 to 30 % of the answers, and a third plays the protocol."""
