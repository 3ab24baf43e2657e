"""What a game has told so far: a log-posterior over objects x answerers, with one slot for words not in the table.

The posterior only ever weighs: no object is deleted but those whose class was guessed. It knows neither texts nor
rounds; a question is a column of P(yes), an answer True, False or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kaggle_utils.q20.questioner.profiles import PROFILES, AnswererProfile, Channel

__all__ = ["Posterior", "View"]

_GONE = -1e30  # log-weight of what was guessed; finite, so that no sum is ever NaN


class View(NamedTuple):
    """The posterior as questions of one kind see it: objects weighted by how much the answers depend on them."""

    weights: np.ndarray
    """float32 [N + 1], sum 1; the last is the out-of-vocabulary slot."""
    base: float
    """Mean P(yes) of the channel where theta is 0."""
    slope: float
    doubt: float


class Posterior:
    """Log-weights of K profiles x (N objects + the out-of-vocabulary slot).

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
        inside = np.log(np.maximum(prior / prior.sum(axis=1, keepdims=True), 1e-12)) + np.log1p(-outside)[:, None]
        slot = np.where(outside > 0, np.log(np.maximum(outside, 1e-300)), _GONE)
        self._log = np.log(self.channel.prior)[:, None] + np.concatenate([inside, slot[:, None]], axis=1)
        self._weights: np.ndarray | None = None

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
        channel, k = self.channel, len(self.channel)
        p = np.empty((k, len(theta) + 1))
        p[:, :-1] = channel.p_yes(np.asarray(theta, dtype=np.float64), lexical=lexical)
        slot = np.broadcast_to(np.asarray(unknown, dtype=np.float64), (k,))
        p[:, -1] = np.diagonal(channel.p_yes(slot, lexical=lexical))
        self._add(np.log(p if answer else 1 - p))

    def confirm(self, answer: bool | None) -> None:
        """Take the answer to the handshake: it tells about the answerer alone."""
        if answer is not None:
            p = self.channel.handshake
            self._add(np.log(p if answer else 1 - p)[:, None])

    def exclude(self, objects: np.ndarray) -> None:
        """Rule out objects that were guessed: indices, or bool [N]."""
        self._log[:, :-1][:, objects] = _GONE
        self._weights = None

    def shrink_outside(self, share: np.ndarray) -> None:
        """Multiply the out-of-vocabulary slot by ``share`` [K], after a guess of a word that is not in the table."""
        self._log[:, -1] += np.log(np.maximum(share, 1e-300))
        self._weights = None

    @property
    def weights(self) -> np.ndarray:
        """Posterior, float64 [K, N + 1], sum 1; not to be written to."""
        if self._weights is None:
            weights = np.exp(self._log - self._log.max())
            self._weights = weights / weights.sum()
        return self._weights

    @property
    def objects(self) -> np.ndarray:
        """Posterior of the objects, float64 [N]; with ``out_of_vocabulary`` it sums to 1."""
        return self.weights[:, :-1].sum(axis=0)

    @property
    def out_of_vocabulary(self) -> float:
        """Posterior probability that the keyword is none of the objects."""
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
        weights /= max(weights.sum(), 1e-300)
        return View(weights.astype(np.float32), float(mass @ base), float(mass @ slope), float(mass @ doubt))

    def _add(self, log: np.ndarray) -> None:
        self._log += log
        self._log -= self._log.max()
        np.maximum(self._log, _GONE, out=self._log)
        self._weights = None
