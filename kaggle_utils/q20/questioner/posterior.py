"""What a game has told so far: a posterior over objects x answerers, with one slot for words not in the table.

The posterior only ever weighs: no object is deleted but those whose class was guessed. It knows neither texts nor
rounds; a question is a column of P(yes), an answer True, False or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kaggle_utils.q20.questioner.profiles import PROFILES, AnswererProfile, Channel

__all__ = ["Posterior", "View"]

_LEAST = 1e-290  # of a weight that is not 0: what answers speak against may come back, whatever the answers


class View(NamedTuple):
    """The posterior as questions of one kind see it: objects weighted by how much the answers depend on them."""

    weights: np.ndarray
    """float32 [N + 1], sum 1; the last is the out-of-vocabulary slot together with the words that joined."""
    base: float
    """Mean P(yes) of the channel where theta is 0."""
    slope: float
    doubt: float


class Posterior:
    """Weights of K profiles x (N objects + words that joined + the out-of-vocabulary slot).

    To answers, words that joined are unknown words; ``reweigh_guest`` tells them apart.

    >>> posterior = Posterior(np.array([0.5, 0.5]), [AnswererProfile(0.1)], out_of_vocabulary=0.0)
    >>> posterior.update(np.array([0.996, 0.004]), 0.5, lexical=False, answer=True)
    >>> posterior.objects.round(2).tolist()
    [0.9, 0.1]
    """

    def __init__(
        self,
        prior: np.ndarray,
        profiles: Sequence[AnswererProfile] = PROFILES,
        *,
        out_of_vocabulary: float | np.ndarray = 0.1,
    ) -> None:
        """Take the prior.

        Args:
            prior: float [N], or [K, N] where it depends on the answerer; each row is normalised.
            profiles: grid of answerers with their prior weights.
            out_of_vocabulary: prior probability of words that are none of the objects, one for all or [K].
        """
        self.channel = Channel(profiles)
        prior = np.atleast_2d(np.asarray(prior, dtype=np.float64))
        if prior.ndim != 2 or len(prior) not in (1, len(self.channel)) or not (prior >= 0).all() or not prior.any():
            raise ValueError(
                f"prior {prior.shape} must be [N] or [{len(self.channel)}, N], none negative, one positive"
            )
        outside = np.broadcast_to(np.asarray(out_of_vocabulary, dtype=np.float64), (len(self.channel),))
        if not ((outside >= 0) & (outside < 1)).all():
            raise ValueError(f"out_of_vocabulary {out_of_vocabulary!r} must lie in [0, 1)")
        inside = np.maximum(prior / prior.sum(axis=1, keepdims=True), 1e-12) * (1 - outside)[:, None]
        self._weights = np.concatenate(
            [np.broadcast_to(inside, (len(outside), inside.shape[1])), outside[:, None]], axis=1
        )
        self._weights *= self.channel.prior[:, None]
        self._size, self._sums = inside.shape[1], False

    def update(self, theta: np.ndarray, unknown: float | np.ndarray, *, lexical: bool, answer: bool | None) -> None:
        """Take an answer; None changes nothing.

        Args:
            theta: [N] P(yes | object) of the table's answerer.
            unknown: P(yes) of a word that is not in the table, one for all or [K] by profile.
            lexical: the question is about spelling.
            answer: True for yes, False for no.
        """
        if answer is None:
            return
        channel, p = self.channel, np.empty_like(self._weights)
        p[:, : self._size] = channel.p_yes(np.asarray(theta, dtype=np.float64), lexical=lexical)
        slot = np.broadcast_to(np.asarray(unknown, dtype=np.float64), (len(channel),))
        p[:, self._size :] = np.diagonal(channel.p_yes(slot, lexical=lexical))[:, None]
        self._weigh(p if answer else np.subtract(1, p, out=p))

    def confirm(self, answer: bool | None) -> None:
        """Take the answer to the handshake: it tells about the answerer alone."""
        if answer is not None:
            p = self.channel.handshake
            self._weigh((p if answer else 1 - p)[:, None])

    def exclude(self, objects: np.ndarray) -> None:
        """Rule out objects that were guessed: indices, or bool [N]; words that joined have the numbers after N."""
        self._weights[:, :-1][:, objects] = 0.0
        self._sums = False

    def insert_guests(self, log: np.ndarray) -> None:
        """Let words join with exp(``log``) [K, m] times what the slot weighs, which itself stays as it is."""
        slot = self._weights[:, -1:]
        self._weights = np.concatenate([self._weights[:, :-1], slot * np.exp(log), slot], axis=1)
        self._sums = False

    def reweigh_guest(self, number: int, log: np.ndarray) -> None:
        """Multiply a word that joined by exp(``log``) [K]; one that was ruled out stays so."""
        self._weights[:, self._size + number] *= np.exp(log)
        self._sums = False

    def shrink_outside(self, share: np.ndarray) -> None:
        """Multiply the out-of-vocabulary slot by ``share`` [K], after a guess of a word that is not in the table."""
        self._weights[:, -1] *= np.maximum(share, 0.0)
        self._sums = False

    @property
    def weights(self) -> np.ndarray:
        """Posterior, float64 [K, N + m + 1], sum 1; not to be written to, nor to be kept: it changes with the game."""
        if not self._sums:
            self._weights /= max(self._weights.sum(), 1e-300)
            self._sums = True
        return self._weights

    @property
    def objects(self) -> np.ndarray:
        """Posterior of the objects, float64 [N]; with ``guests`` and ``out_of_vocabulary`` it sums to 1."""
        return self.weights[:, : self._size].sum(axis=0)

    @property
    def guests(self) -> np.ndarray:
        """Posterior of the words that joined, float64 [m]."""
        return self.weights[:, self._size : -1].sum(axis=0)

    @property
    def out_of_vocabulary(self) -> float:
        """Posterior probability that the keyword is none of the objects and none of the words that joined."""
        return float(self.weights[:, -1].sum())

    @property
    def profiles(self) -> np.ndarray:
        """Posterior of the answerer's profile, float64 [K]."""
        return self.weights.sum(axis=1)

    def view(self, *, lexical: bool) -> View:
        """Return the posterior as questions about spelling, or about meaning, see it."""
        channel, mass = self.channel, self.profiles
        base, slope, doubt = (
            (channel.lexical_base, channel.lexical_slope, np.zeros(len(channel)))
            if lexical
            else (channel.base, channel.slope, channel.doubt)
        )
        weights = (slope + doubt) @ self.weights
        if len(weights) > self._size + 1:
            weights = np.append(weights[: self._size], weights[self._size :].sum())
        weights /= max(weights.sum(), 1e-300)
        return View(weights.astype(np.float32), float(mass @ base), float(mass @ slope), float(mass @ doubt))

    def _weigh(self, likelihood: np.ndarray) -> None:
        gone = self._weights == 0.0
        self._weights *= likelihood
        self._weights /= self._weights.max()
        np.maximum(self._weights, _LEAST, out=self._weights)
        self._weights[gone] = 0.0
        self._sums = False
