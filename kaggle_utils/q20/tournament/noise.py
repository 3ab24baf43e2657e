"""Answerers that are wrong in ways that can be set: the other side of a simulated game.

What is true comes from a knowledge table (P(yes) of 0.5 or more is yes); ``Noise`` says how the answers differ from
it. Answers are drawn for many games at once and depend on nothing but the seed and the order of the calls. How a
questioner copes is measured by ``simulate``; strangers that answer questions as text are in ``strangers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["NOISES", "Noise", "NoisyAnswerer", "noisy_answers", "repeatable_chance"]


@dataclass(frozen=True)
class Noise:
    """How answers differ from the table; the effects come in the order of the fields.

    Raises:
        ValueError: a rate outside 0 to 1, or one side wrong more often than always; all of them are named.
    """

    soft: bool = False
    """Draw each answer from the table's P(yes), instead of rounding it: ambiguous questions are answered either way."""
    flip: float = 0.0
    """Share of answers that are the opposite, whatever the answer."""
    false_yes: float = 0.0
    """Further share of the noes that become yes."""
    false_no: float = 0.0
    """Further share of the yeses that become no."""
    persistent: bool = False
    """The same question about the same keyword is wrong in every game, instead of by chance each time."""
    unsure: float = 0.0
    """Share of answers that are neither yes nor no."""
    unsure_is_no: bool = False
    """Say no where unsure, as the environment wants one of the two."""
    letters: bool = True
    """False: questions about spelling are answered by the toss of a coin, as small language models do."""
    sulk: float = 0.0
    """Chance in every round to say nothing but no from then on."""

    def __post_init__(self) -> None:
        rates = {f.name: getattr(self, f.name) for f in fields(self) if f.type == "float"}
        problems = [f"{name} is {value}, expected 0 to 1" for name, value in rates.items() if not 0 <= value <= 1]
        problems += [f"flip + {name} is {self.flip + rates[name]:g}, expected at most 1"
                     for name in ("false_yes", "false_no") if not problems and self.flip + rates[name] > 1]  # fmt: skip
        if problems:
            raise ValueError("not a noise: " + "; ".join(problems))


NOISES: Mapping[str, Noise] = {
    "perfect": Noise(),
    "flip": Noise(flip=0.1),
    "soft": Noise(soft=True),
    "erasure": Noise(unsure=0.2),
    "biased": Noise(false_yes=0.25, false_no=0.05),
    "persistent": Noise(flip=0.1, persistent=True),
    "letter-blind": Noise(flip=0.05, letters=False),
    "sulky": Noise(flip=0.05, unsure=0.15, unsure_is_no=True),
    "sulking": Noise(sulk=0.05),
}
"""Answerers of several kinds, by name."""


class NoisyAnswerer:
    """Answers question indices about object indices of one table, for any number of games at once."""

    def __init__(self, table: KnowledgeTable, noise: Noise | None = None, *, seed: int = 0) -> None:
        """Take the table that holds the truth. Memory grows with the questions that are asked: 4 bytes an object."""
        self.table, self.noise = table, noise or Noise()
        self._random, self._seed = np.random.default_rng([seed, 0x20]), seed
        size = (len(table.bank), len(table.objects))
        self._known, self._yes = np.zeros(size[0], bool), np.empty(size, np.float32)  # pages are taken when written
        self._sulking = np.zeros(0, bool)

    def __call__(self, truth: np.ndarray, question: np.ndarray, round_index: int) -> np.ndarray:
        """Answer one question of every game.

        Args:
            truth: int [G], the keywords as indices of the table's objects.
            question: int [G], indices of the table's questions.
            round_index: 0 begins new games: nobody sulks yet.

        Returns:
            int8 [G]: 1 yes, 0 no, -1 neither.
        """
        if round_index == 0 or len(self._sulking) != len(truth):
            self._sulking = np.zeros(len(truth), bool)
        chance = repeatable_chance(truth, question, self._seed) if self.noise.persistent else None
        return noisy_answers(
            self.noise,
            self._p_yes(truth, question),
            lexical=np.asarray(self.table.bank.lexical)[question],
            random=self._random,
            chance=chance,
            sulking=self._sulking,
        )

    def _p_yes(self, truth: np.ndarray, question: np.ndarray) -> np.ndarray:
        new = np.unique(question[~self._known[question]])
        if len(new):
            self._yes[new] = self.table.columns(new).T
            self._known[new] = True
        return self._yes[question, truth]


def noisy_answers(
    noise: Noise,
    p_yes: np.ndarray,
    *,
    lexical: np.ndarray,
    random: np.random.Generator,
    chance: np.ndarray | None = None,
    sulking: np.ndarray | None = None,
) -> np.ndarray:
    """Answer questions of which the truth is known.

    Args:
        noise: how answers go wrong.
        p_yes: float [G], P(yes) as the table has it.
        lexical: bool [G], whether the question is about spelling.
        random: draws whatever is drawn.
        chance: float [G] in [0, 1) instead of fresh numbers for what is wrong; see ``repeatable_chance``.
        sulking: bool [G], who says nothing but no; those that begin to are set in it.

    Returns:
        int8 [G]: 1 yes, 0 no, -1 neither.
    """
    yes = random.random(len(p_yes)) < p_yes if noise.soft else p_yes >= 0.5
    wrong = noise.flip + np.where(yes, noise.false_no, noise.false_yes)
    answers = (yes ^ ((random.random(len(p_yes)) if chance is None else chance) < wrong)).astype(np.int8)
    if noise.unsure:
        answers[random.random(len(p_yes)) < noise.unsure] = 0 if noise.unsure_is_no else -1
    if not noise.letters:
        answers[lexical] = random.integers(0, 2, int(lexical.sum()), dtype=np.int8)
    if noise.sulk and sulking is not None:
        sulking |= random.random(len(p_yes)) < noise.sulk
        answers[sulking] = 0
    return answers


def repeatable_chance(keyword: np.ndarray, question: np.ndarray, seed: int) -> np.ndarray:
    """Return a uniform number in [0, 1) for each pair of numbers, always the same one: float64 [G] (splitmix64).

    >>> one = repeatable_chance(np.array([3, 3]), np.array([5, 6]), 0)
    >>> bool(one[0] == repeatable_chance(np.array([3]), np.array([5]), 0)[0]), bool(one[0] == one[1])
    (True, False)
    """
    mixed = keyword.astype(np.uint64) << np.uint64(32) | question.astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = mixed + np.uint64((seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
