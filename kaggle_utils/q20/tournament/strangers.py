"""Strangers to play with and against: perfect, noisy, letter-blind, sulky, and a bot that believes every answer.

All of them ask out of a knowledge table and answer from it, each with noise of its own, hundreds of games at a time.
The source notebook's robot, which needs a language model, is in ``notebook_robot``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.protocol import Observation, TurnType
from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.questions import parse_question
from kaggle_utils.q20.tournament.elimination import EliminationQuestioner
from kaggle_utils.q20.tournament.noise import Noise, noisy_answers, repeatable_chance
from kaggle_utils.q20.tournament.simulate import QuestionBatch

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["STRANGERS", "TablePlayer", "strangers"]

STRANGERS = {
    "perfect": Noise(),
    "noisy": Noise(flip=0.15),
    "letter-blind": Noise(flip=0.08, letters=False),
    "sulky": Noise(flip=0.05, unsure=0.2, unsure_is_no=True),
    "believer": Noise(flip=0.05),
}
"""How each stranger answers. The believer asks with hard elimination, the letter-blind one nothing about spelling."""


def strangers(table: KnowledgeTable, *, seed: int = 0) -> list[TablePlayer]:
    """Return one player of each kind.

    They hold the table's questions that are askable; all of ``STRANGERS`` but the believer weigh the answers.
    """
    players = []
    for number, (name, noise) in enumerate(STRANGERS.items()):
        make: Callable[..., QuestionBatch] = EliminationQuestioner if name == "believer" else BatchQuestioner
        known = table
        if name == "letter-blind":
            known = table.subset(np.arange(len(table.objects)), np.flatnonzero(~np.asarray(table.bank.lexical)))
        players.append(TablePlayer(name, known, noise=noise, make_questioner=make, seed=seed + 1000 * number))
    return players


class TablePlayer:
    """Asks, guesses and answers out of a table, for many seats at once."""

    def __init__(
        self,
        name: str,
        table: KnowledgeTable,
        *,
        noise: Noise | None = None,
        make_questioner: Callable[..., QuestionBatch] = BatchQuestioner,
        seed: int = 0,
    ) -> None:
        """Take what it knows, how its answers go wrong, and what asks: (table, games=, seed=, free_guess=)."""
        self.name, self.table, self.noise = name, table, noise or Noise()
        self._make, self._seed = make_questioner, seed
        self._batches: dict[int, _Batch] = {}
        self._chance: dict[int, np.random.Generator] = {}
        self._sulking: set[int] = set()

    def begin(self) -> None:
        """Forget the games so far."""
        self._batches.clear()
        self._chance.clear()
        self._sulking.clear()

    def reply(self, turn: TurnType, seats: Sequence[int], observations: Sequence[Observation]) -> list[str]:
        """Play one turn of all seats; a seat is known from its first question on."""
        if turn == "answer":
            return self._answer(seats, observations)
        new = [seat for seat, obs in zip(seats, observations, strict=True) if turn == "ask" and not obs.questions]
        if new:
            asks = self._make(self.table, games=len(new), seed=self._seed, free_guess=True)
            batch = _Batch(asks, new)
            self._batches.update(dict.fromkeys(new, batch))
        replies: dict[int, str] = {}
        for batch in {id(b): b for b in (self._batches[seat] for seat in seats)}.values():
            own = {seat: obs for seat, obs in zip(seats, observations, strict=True) if self._batches[seat] is batch}
            replies |= self._asked(batch, own) if turn == "ask" else self._guessed(batch, own)
        return [replies[seat] for seat in seats]

    def _asked(self, batch: _Batch, own: dict[int, Observation]) -> dict[int, str]:
        batch.only(own)
        texts, questions = self.table.bank.texts, batch.questioner.ask()
        return {seat: texts[questions[batch.row[seat]]] for seat in own}

    def _guessed(self, batch: _Batch, own: dict[int, Observation]) -> dict[int, str]:
        heard = np.full(len(batch.row), -1, np.int8)
        for seat, obs in own.items():
            heard[batch.row[seat]] = {"yes": 1, "no": 0}.get(obs.answers[-1] if obs.answers else "", -1)
        batch.questioner.hear(heard)
        words, guesses = self.table.objects.words, batch.questioner.guess()
        return {seat: words[guesses[batch.row[seat]]] for seat in own}

    def _answer(self, seats: Sequence[int], observations: Sequence[Observation]) -> list[str]:
        return ["yes" if self._said(*one) == 1 else "no" for one in zip(seats, observations, strict=True)]

    def _said(self, seat: int, obs: Observation) -> int:
        """One answer, 1 for yes: chance is each seat's own, so it matters not who else is asked at the same time."""
        (p_yes, lexical), chance = self._truth(obs), None
        if self.noise.persistent:
            numbers = [np.array([zlib.crc32(text.encode())], np.uint64) for text in (obs.keyword, obs.questions[-1])]
            chance = repeatable_chance(*numbers, self._seed)
        if seat not in self._chance:
            self._chance[seat] = np.random.default_rng([self._seed, 0x57, seat])
        sulking = np.array([seat in self._sulking])
        said = noisy_answers(
            self.noise,
            np.array([p_yes]),
            lexical=np.array([lexical]),
            random=self._chance[seat],
            chance=chance,
            sulking=sulking,
        )
        if sulking[0]:
            self._sulking.add(seat)
        return int(said[0])

    def _truth(self, obs: Observation) -> tuple[float, bool]:
        """P(yes) as far as it is known, and whether the question is about spelling."""
        question, keyword = obs.questions[-1], obs.keyword
        rule = parse_question(question)
        if rule is not None:
            return float(rule.holds(keyword)), True
        column, row = self.table.bank.index_of(question), self.table.objects.index_of(keyword)
        if column is None:
            return 0.4, False  # nothing is known of the question; more answers are no than yes
        if row is None:
            return float(self.table.unknown[column]), False
        return float(self.table.columns([column])[row, 0]), False


class _Batch:
    """A questioner and the seats that its games belong to."""

    def __init__(self, questioner: QuestionBatch, seats: Sequence[int]) -> None:
        self.questioner = questioner
        self.row = {seat: row for row, seat in enumerate(seats)}

    def only(self, seats: Sequence[int] | dict[int, Observation]) -> None:
        """Leave out the games that are not among ``seats`` any more."""
        if hasattr(self.questioner, "active"):
            self.questioner.active &= np.isin(list(self.row), list(seats))
