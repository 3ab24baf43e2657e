"""Words that join a game though the table does not hold them, because somebody proposed them.

The out-of-vocabulary slot gives them a share of its mass. From then on each is a column of the posterior like any
object's, but for this: what it would be answered is not in the table. A new answer weighs it as it weighs any unknown
word, until its own P(yes) is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.questioner.evidence import Heard, log_ratios
from kaggle_utils.q20.questioner.posterior import Posterior

__all__ = ["PROPOSED_SHARE", "Guests"]

PROPOSED_SHARE = 0.5
"""Share of the out-of-vocabulary slot that words which join at the same time get together."""


class Guests:
    """The words, and up to which answer each has been weighed by its own P(yes)."""

    def __init__(self) -> None:
        self.words: list[str] = []
        """In the order of the posterior's columns behind the table's objects."""
        self._told: list[int] = []

    def __len__(self) -> int:
        return len(self.words)

    def add(self, posterior: Posterior, heard: Sequence[Heard], words: Sequence[str], theta: np.ndarray) -> None:
        """Let words join and weigh all of ``words`` by the answers; those that joined before by the new answers.

        Args:
            posterior: it gets a column for every new word.
            heard: the answers so far.
            words: different ones, none of them an object of the table.
            theta: [len(words), len(heard)] P(yes).
        """
        theta = np.asarray(theta, dtype=np.float64).reshape(len(words), len(heard))
        fresh = [index for index, word in enumerate(words) if word not in self.words]
        for index in set(range(len(words))).difference(fresh):
            at = self.words.index(words[index])
            told = self._told[at]
            posterior.reweigh_guest(
                at, log_ratios(posterior.channel, heard[told:], theta[index : index + 1, told:])[:, 0]
            )
            self._told[at] = len(heard)
        if fresh:
            share = np.log(PROPOSED_SHARE / len(fresh))
            posterior.insert_guests(log_ratios(posterior.channel, heard, theta[fresh]) + share)
            posterior.shrink_outside(np.full(len(posterior.channel), 1 - PROPOSED_SHARE))
            self.words += [words[index] for index in fresh]
            self._told += [len(heard)] * len(fresh)

    def matching(self, guess: str) -> list[int]:
        """Return which of the words the environment takes for ``guess``."""
        return [index for index, word in enumerate(self.words) if keywords_match(guess, word)]
