"""How each question's answers go wrong, learned from finished games.

``AnswerChannel`` holds three rates a question. ``fit_channel`` learns them by empirical Bayes: each question's rate is
pulled towards its family's mean by as much as the data says that questions are alike, so even noise leaves them alike
and uneven noise tells them apart. Only numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np

__all__ = ["AnswerChannel", "Transcripts", "fit_channel"]

_FLOOR, _CEILING = 0.004, 0.49
_STRENGTHS = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 1e5])
_STEPS = 8  # expectation-maximisation over which side is right; soft tables need several, 0/1 tables one


@dataclass(frozen=True)
class AnswerChannel:
    """Rates of one kind of answerer."""

    false_yes: np.ndarray
    """P(yes | no is right), float32 [Q]."""
    false_no: np.ndarray
    """P(no | yes is right), float32 [Q]."""
    unsure: np.ndarray
    """P(no answer), float32 [Q]."""

    @classmethod
    def even(cls, questions: int, *, flip: float = 0.1, unsure: float = 0.0) -> AnswerChannel:
        """Return the same rates for all questions: what one assumes before any game.

        >>> AnswerChannel.even(2, flip=0.1).false_no
        array([0.1, 0.1], dtype=float32)
        """
        flips = np.full(questions, min(max(flip, _FLOOR), _CEILING), dtype=np.float32)
        return cls(flips, flips.copy(), np.full(questions, unsure, dtype=np.float32))

    def likelihood(self, theta: np.ndarray) -> np.ndarray:
        """Return P(yes | object, question) of what is heard, float32 like ``theta`` [N, Q]."""
        return (self.false_yes + (1.0 - self.false_no - self.false_yes) * theta).astype(np.float32)

    def take(self, questions: np.ndarray) -> AnswerChannel:
        """Return the channel of some of the questions, in that order; index -1 gives the mean question."""
        means = [np.append(rates, rates.mean()).astype(np.float32) for rates in self.arrays()]
        return AnswerChannel(*(rates[questions] for rates in means))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the three rates."""
        return self.false_yes, self.false_no, self.unsure


@dataclass
class Transcripts:
    """Answers about known objects, collected over games: what the channel is learned from."""

    theta: np.ndarray
    """P(yes) of right answers, float32 [N, Q]."""

    def __post_init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, truth: np.ndarray, questions: np.ndarray, answers: np.ndarray) -> None:
        """Add games: objects [G], questions [G, T], answers [G, T] (1, 0, -1)."""
        right = self.theta[np.asarray(truth)[:, None], questions]
        self._parts.append((np.ravel(questions), right.ravel(), np.ravel(answers)))

    @property
    def count(self) -> int:
        """Answers held."""
        return sum(len(part[0]) for part in self._parts)

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return question index, P(yes) of the right answer, and answer of everything added."""
        if not self._parts:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int8)
        self._parts = [tuple(np.concatenate(column) for column in zip(*self._parts, strict=True))]
        return self._parts[0]


def fit_channel(transcripts: Transcripts, prior: AnswerChannel, families: np.ndarray | None = None) -> AnswerChannel:
    """Learn the rates of every question.

    Args:
        transcripts: answers about known objects.
        prior: what was assumed; it counts as 20 answers a family, and wins where nothing was heard.
        families: int [Q], questions of one family share their mean; one family by default.

    Returns:
        Rates between .004 and .49, ``unsure`` between 0 and .95. Cost grows with the number of answers.
    """
    questions, right, answers = transcripts.columns()
    size = len(prior.unsure)
    families = np.zeros(size, dtype=np.int64) if families is None else np.asarray(families)
    all_count = np.bincount(questions, minlength=size).astype(np.float64)
    silent = np.bincount(questions[answers < 0], minlength=size).astype(np.float64)
    unsure = _shrunk(silent, all_count, prior.unsure, families)
    said = answers >= 0
    q, theta, yes = questions[said], right[said].astype(np.float64), answers[said] == 1
    false_yes, false_no = prior.false_yes, prior.false_no
    for _ in range(_STEPS if ((theta > 0.01) & (theta < 0.99)).any() else 1):
        positive = _side(theta, yes, false_yes[q], false_no[q])
        positives = np.bincount(q, positive, minlength=size)
        false_no = _rates(np.bincount(q, positive * ~yes, minlength=size), positives, prior.false_no, families)
        negatives = np.bincount(q, 1.0 - positive, minlength=size)
        false_yes = _rates(np.bincount(q, (1.0 - positive) * yes, minlength=size), negatives, prior.false_yes, families)
    return AnswerChannel(false_yes, false_no, np.clip(unsure, 0.0, 0.95).astype(np.float32))


def _side(theta: np.ndarray, yes: np.ndarray, false_yes: np.ndarray, false_no: np.ndarray) -> np.ndarray:
    """P(yes is right | the answer) for each answer."""
    positive = theta * np.where(yes, 1.0 - false_no, false_no)
    negative = (1.0 - theta) * np.where(yes, false_yes, 1.0 - false_yes)
    return positive / np.maximum(positive + negative, 1e-30)


def _rates(events: np.ndarray, trials: np.ndarray, prior: np.ndarray, families: np.ndarray) -> np.ndarray:
    return np.clip(_shrunk(events, trials, prior, families), _FLOOR, _CEILING).astype(np.float32)


def _shrunk(events: np.ndarray, trials: np.ndarray, prior: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Beta-binomial rates: each family's mean, and the strength that makes its questions' counts most probable."""
    rates = np.asarray(prior, dtype=np.float64).copy()
    for family in np.unique(families):
        members = families == family
        happened, tried = events[members], trials[members]
        mean = (happened.sum() + 20.0 * rates[members].mean()) / (tried.sum() + 20.0)
        if mean > 0.0:
            strength = max(_STRENGTHS, key=lambda value: _evidence(happened, tried, mean, value))
            rates[members] = (happened + strength * mean) / (tried + strength)
        else:
            rates[members] = 0.0
    return rates


def _evidence(events: np.ndarray, trials: np.ndarray, mean: float, strength: float) -> float:
    """Log-likelihood of the counts when rates ~ Beta(mean * strength, (1 - mean) * strength)."""
    a, b = mean * strength, (1.0 - mean) * strength
    seen = trials > 0
    k, n = events[seen], trials[seen]
    return float((_lgamma(k + a) + _lgamma(n - k + b) - _lgamma(n + strength)).sum()
                 + seen.sum() * (lgamma(strength) - lgamma(a) - lgamma(b)))  # fmt: skip


_lgamma = np.vectorize(lgamma, otypes=[np.float64])
