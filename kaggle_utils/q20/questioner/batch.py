"""Thousands of games at once: one Bayesian questioner per game, worked out together by matrix products.

Each game keeps a log-posterior over objects x profiles of answerers. Nothing is ever deleted but classes that were
guessed. Games whose transcripts are the same so far are thought through once: without noise that is most of them in
the first ten rounds. A question costs O(G * N * Q) multiplications and O(K * G * N) logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.protocol import ROUNDS
from kaggle_utils.q20.questioner.choice import pick
from kaggle_utils.q20.questioner.dense import dense_table
from kaggle_utils.q20.questioner.endgame import expected_win
from kaggle_utils.q20.questioner.gain import binary_entropy, gain_of_sums
from kaggle_utils.q20.questioner.profiles import NOISES, AnswererProfile, Channel, known_flip

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["BatchQuestioner"]

_GONE = np.float32(-1e30)  # log-weight of what was guessed; finite, so that no sum is ever NaN
_TEMPER = 0.8  # measured: 1 point more at 10 % noise than 1, 2 more than 0.6
_ENOUGH = 1.1
_ENDGAME = 5  # rounds before a single guess in which the chance to win decides among the best questions
_COMPARED, _LIKELIEST = 20, 20  # so many questions over so many objects
_WINNING = 100.0  # bits for a certain win: it goes before every gain


class BatchQuestioner:
    """Questioners of ``games`` games over one table; the calls per round are ask, hear, guess."""

    def __init__(
        self,
        table: KnowledgeTable,
        *,
        games: int,
        flip: float | None = None,
        profiles: Sequence[AnswererProfile] | None = None,
        prior: np.ndarray | None = None,
        out_of_vocabulary: float = 0.0,
        free_guess: bool = True,
        variety: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Set up the games.

        Args:
            table: what is known; the whole of it is held as float32 [N, Q].
            games: how many.
            flip: the answerers' flip rate where it is known; else the grid ``profiles`` is learned in each game.
            profiles: grid of answerers, by default ``NOISES``; ``PROFILES`` for strangers of all kinds.
            prior: float [N] prior of the objects, by default the table's.
            out_of_vocabulary: prior probability that the keyword is none of the objects.
            free_guess: a guess follows every answer; otherwise there is one guess, at the end.
            variety: bits of gain that may be lost for asking something else than the best; 0 always asks the best.
            seed: for that choice.

        Raises:
            ValueError: no games, or fewer askable questions than the 20 that a game needs.
        """
        if games < 1 or not 0 <= out_of_vocabulary < 1:
            raise ValueError(
                f"{games} games with out_of_vocabulary {out_of_vocabulary}: expected at least 1, and [0, 1)"
            )
        self.table, self.games, self.free_guess, self.variety = table, games, free_guess, variety
        self.channel = Channel(known_flip(flip) if flip is not None else profiles or NOISES)
        self._random = np.random.default_rng(seed)
        self._dense = dense_table(table, prior, out_of_vocabulary)
        self._log = np.empty((len(self.channel), games, len(self._dense.prior)), dtype=np.float32)
        self._log[:] = (np.log(self.channel.prior)[:, None] + np.log(self._dense.prior)[None, :])[:, None, :]
        self._closed = np.repeat(self._dense.unfit[None], games, axis=0)
        self._key = np.zeros(games, dtype=np.uint64)
        self._round = 0
        self._asked = np.full(games, -1, dtype=np.int32)
        self._answers = np.zeros(games, dtype=np.int64)
        self.active = np.ones(games, dtype=bool)
        """Games that still go on; set others to False and they cost nothing more."""
        self.gains = np.zeros(games, dtype=np.float32)
        """Expected gain in bits of the questions asked last."""

    def ask(self) -> np.ndarray:
        """Return the index of each game's next question, int32 [G]; -1 for a game that is over."""
        games = np.flatnonzero(self.active)
        result = np.full(self.games, -1, dtype=np.int32)
        if len(games):
            _, first, inverse = np.unique(self._key[games], return_index=True, return_inverse=True)
            leaders = games[first]
            gains = self._gains(leaders)
            gains[self._closed[leaders]] = -np.inf
            scores = gains
            if not self.free_guess and ROUNDS - _ENDGAME <= self._round < ROUNDS:
                scores = self._winning_first(gains, leaders)
            if self.variety > 0:
                chosen = pick(scores[inverse], variety=self.variety, random=self._random)
            else:
                chosen = np.argmax(scores, axis=1)[inverse]
            result[games] = chosen
            self.gains[games] = gains[inverse, chosen]
            if not np.isfinite(self.gains[games]).all():
                raise ValueError(
                    f"a game has asked all of its {int((~self._dense.unfit).sum())} questions; the table needs more"
                )
            self._close(games, chosen)
        self._asked = result
        self._round += 1
        return result

    def hear(self, answers: np.ndarray) -> None:
        """Take the answers to the questions asked last, int [G]: 1 yes, 0 no, -1 nothing was said."""
        answers = np.asarray(answers)
        for value in (0, 1):
            games = np.flatnonzero((answers == value) & self.active & (self._asked >= 0))
            for lexical in (False, True):
                some = games[self._dense.lexical[self._asked[games]] == lexical]
                if len(some):
                    p = self.channel.p_yes(self._dense.columns[self._asked[some]], lexical=lexical)
                    np.subtract(1, p, out=p) if value == 0 else None
                    self._log[:, some] += np.log(p, out=p)
        heard = self._asked.astype(np.int64) * 4 + answers + 2
        self._key = _mixed(self._key, heard)

    def guess(self) -> np.ndarray:
        """Return each game's most probable object whose class was not guessed yet, int32 [G], and mark its class."""
        games = np.flatnonzero(self.active)
        result = np.full(self.games, -1, dtype=np.int32)
        _, first, inverse = np.unique(self._key[games], return_index=True, return_inverse=True)
        objects = self._dense.classes.best(self._marginal(games[first])[:, : self._dense.size])
        result[games] = objects[inverse]
        self.exclude(result)
        return result

    def exclude(self, objects: np.ndarray) -> None:
        """Rule out the class of one object per game, int [G]; -1 rules out nothing."""
        games = np.flatnonzero(np.asarray(objects) >= 0)
        members = self._dense.classes.members[self._dense.classes.number[objects[games]]]
        for column in members.T:
            real = column >= 0
            self._log[:, games[real], column[real]] = _GONE
        self._key = _mixed(self._key, np.asarray(objects).astype(np.int64) * 4 + 1)

    @property
    def objects(self) -> np.ndarray:
        """Posterior of the objects, float32 [G, N]; rows sum to 1 less the out-of-vocabulary mass."""
        return self._marginal(np.arange(self.games))[:, : self._dense.size]

    @property
    def out_of_vocabulary(self) -> np.ndarray:
        """Posterior probability that the keyword is none of the objects, float32 [G]."""
        weights = self._marginal(np.arange(self.games))
        return weights[:, -1] if weights.shape[1] > self._dense.size else np.zeros(self.games, dtype=np.float32)

    @property
    def profiles(self) -> np.ndarray:
        """Posterior of the answerer's profile, float32 [G, K]."""
        return self._weights(np.arange(self.games)).sum(axis=2).T

    def _weights(self, games: np.ndarray) -> np.ndarray:
        """Posterior over profiles x objects, float32 [K, len(games), N]."""
        log = self._log[:, games]
        log -= log.max(axis=(0, 2), keepdims=True)
        weights = np.exp(log, out=log)
        weights /= weights.sum(axis=(0, 2), keepdims=True)
        return weights

    def _marginal(self, games: np.ndarray) -> np.ndarray:
        return self._weights(games).sum(axis=0)

    def _gains(self, games: np.ndarray) -> np.ndarray:
        """Gains of all questions in bits, float32 [len(games), Q]."""
        weights, channel = self._weights(games), self.channel
        gains = np.empty((len(games), len(self._dense.lexical)), dtype=np.float32)
        mass = weights.sum(axis=2).T
        if not self.free_guess:
            weights = self._tempered(weights, mass)
        for part in self._dense.parts:
            lexical = bool(self._dense.lexical[part.at[0]])
            base, slope = (channel.lexical_base, channel.lexical_slope) if lexical else (channel.base, channel.slope)
            doubt = None if lexical or not channel.doubt.any() or part.soft is None else channel.doubt
            if not lexical and doubt is None:
                slope = slope + channel.doubt
            total = slope if doubt is None else slope + doubt
            view = _informative(weights, total.astype(np.float32))
            ends = [(mass @ c.astype(np.float32))[:, None] for c in (base, slope)]
            last = None if doubt is None else (mass @ doubt.astype(np.float32))[:, None]
            gains[:, part.at] = gain_of_sums(part.sums(view), part.entropies(view), *ends, last)
        if (self._dense.clarity != 1).any():
            gains *= self._dense.clarity
        return gains

    def _tempered(self, weights: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Give unlikely objects more of a say where a single guess decides and the answers suffice to find the object.

        What is lost then are objects that a burst of wrong answers hid, so questions should split these evenly too, as
        error exponents of codes do by weights to the power of 1 / (1 + rho). Where the answers do not suffice (the
        channel's capacity is below the entropy) that is no use, nor where guesses are free.
        """
        capacity = ROUNDS * (1 - binary_entropy(mass @ self.channel.base.astype(np.float32)))
        games = np.flatnonzero(_ENOUGH * capacity > self._dense.needed)
        if not len(games):
            return weights
        tempered = weights[:, games] ** np.float32(_TEMPER)
        tempered /= tempered.sum(axis=(0, 2), keepdims=True)
        if len(games) == weights.shape[1]:
            return tempered
        weights[:, games] = tempered
        return weights

    def _winning_first(self, gains: np.ndarray, games: np.ndarray) -> np.ndarray:
        """Return the gains raised, for the questions that tell most, by how likely a win is after them."""
        weights = self._weights(games)
        mass, weights = weights.sum(axis=2).T, weights.sum(axis=0)
        objects = _top(weights, _LIKELIEST)
        questions = _top(gains, _COMPARED)
        channel, spelled = self.channel, self._dense.lexical[questions][:, :, None]
        ends = [
            np.where(spelled, *((mass @ c.astype(np.float32))[:, None, None] for c in pair))
            for pair in ((channel.lexical_base, channel.base), (channel.lexical_slope, channel.slope + channel.doubt))
        ]
        p_yes = ends[0] + ends[1] * self._dense.columns[questions[:, :, None], objects[:, None, :]]
        flip = float((mass @ channel.base.astype(np.float32)).mean())
        likeliest = np.take_along_axis(weights, objects, axis=1)
        worth = expected_win(likeliest, p_yes.astype(np.float32), flip=flip, left=ROUNDS - 1 - self._round)
        told = np.take_along_axis(gains, questions, axis=1)
        scores = gains.copy()
        np.put_along_axis(scores, questions, np.where(np.isfinite(told), told + _WINNING * worth, told), axis=1)
        return scores

    def _close(self, games: np.ndarray, chosen: np.ndarray) -> None:
        """Mark the questions and what is nearly the same as asked."""
        self._closed[games, chosen] = True
        for game, question in zip(games, chosen, strict=True) if self._dense.twins else ():
            if int(question) in self._dense.twins:
                self._closed[game, self._dense.twins[int(question)]] = True


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the ``count`` largest values of each row, in no order."""
    count = min(count, values.shape[1])
    return np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]


def _informative(weights: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Objects weighted by how much the answers of each profile depend on them: [G, N], rows sum to 1."""
    if len(weights) == 1:
        return weights[0]
    view = np.tensordot(slope, weights, axes=1)
    return view / np.maximum(view.sum(axis=1, keepdims=True), 1e-12)


def _mixed(key: np.ndarray, event: np.ndarray) -> np.ndarray:
    """A 64-bit hash of the transcript so far and one more event, per game."""
    with np.errstate(over="ignore"):
        mixed = (key ^ event.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        return mixed ^ (mixed >> np.uint64(29))
