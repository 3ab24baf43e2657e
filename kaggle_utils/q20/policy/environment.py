"""Thousands of games at once: a player asks, an answerer answers, and who names the object wins.

Answers to all questions are drawn before the first one is asked, so two players can meet the same games. The module
knows no strategy: a ``Player`` is anything with the four methods below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.noise import AnswerModel

if TYPE_CHECKING:
    import torch

__all__ = ["Environment", "Games", "Played", "Player", "play"]


class Player(Protocol):
    """Who asks, over a batch of G games; tensors lie on the games' device."""

    def start(self, games: int) -> None:
        """Begin ``games`` new games."""

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        """Return the next question of each game, int64 [G]; ``asked`` bool [G, Q] holds those that are spent."""

    def hear(self, question: torch.Tensor, answer: torch.Tensor) -> None:
        """Take the answers, int8 [G]: 1 yes, 0 no, -1 unsure."""

    def guess(self, wrong: torch.Tensor) -> torch.Tensor:
        """Return the best object of each game, int64 [G], none of ``wrong`` bool [G, N]."""


@dataclass(frozen=True)
class Games:
    """A batch of games: what is true and what would be answered."""

    truth: torch.Tensor
    """int64 [G]."""
    answers: torch.Tensor
    """int8 [G, Q]."""


@dataclass(frozen=True)
class Environment:
    """Draws games: objects by the prior, answers by the answerer."""

    answerer: AnswerModel
    prior: np.ndarray | None = None
    """float [N]; uniform by default."""

    def games(self, count: int, *, seed: int, held_out: bool = False) -> Games:
        """Draw ``count`` games; the same ``seed`` gives the same games. ``held_out``: answerers unknown to training."""
        torch = require("torch", extra="llm")
        size = len(self.answerer.theta)
        chosen = np.random.default_rng([seed, 11 + held_out]).choice(size, size=count, p=self.prior)
        truth = torch.as_tensor(chosen, device=self.answerer.device)
        return Games(truth, self.answerer.answers(truth, seed=seed, held_out=held_out))

    def batches(self, count: int, *, seed: int, held_out: bool = False, batch: int = 1000) -> Iterator[Games]:
        """Draw ``count`` games in batches that fit in memory (each holds ``batch`` * Q bytes of answers)."""
        for start in range(0, count, batch):
            yield self.games(min(batch, count - start), seed=seed * 100_003 + start // batch, held_out=held_out)


@dataclass(frozen=True)
class Played:
    """How a batch of games went."""

    won_round: torch.Tensor
    """int64 [G]: the round (from 1) whose guess was right, 0 for never."""
    questions: torch.Tensor
    """int64 [G, T]."""
    answers: torch.Tensor
    """int8 [G, T]."""

    @property
    def win_rate(self) -> float:
        """Share of games won."""
        return float((self.won_round > 0).float().mean())


def play(player: Player, games: Games, *, rounds: int = 20, free_guess: bool = False, objects: int) -> Played:
    """Play ``games`` to the end.

    Args:
        player: who asks and guesses.
        games: what is true.
        rounds: questions in a game.
        free_guess: a guess after every answer, as on Kaggle (wrong ones cost nothing), instead of one at the end.
        objects: N of the table, the width of the mask of wrong guesses.

    Returns:
        The winning rounds and the transcript. Games that are won play on without effect.
    """
    torch = require("torch", extra="llm")
    count, questions = games.answers.shape
    index = torch.arange(count, device=games.truth.device)
    asked = torch.zeros((count, questions), dtype=torch.bool, device=games.truth.device)
    wrong = torch.zeros((count, objects), dtype=torch.bool, device=games.truth.device)
    won = torch.zeros(count, dtype=torch.int64, device=games.truth.device)
    trail, heard = [], []
    player.start(count)
    for number in range(1, min(rounds, questions) + 1):
        question = player.ask(asked)
        answer = games.answers[index, question]
        asked[index, question] = True
        player.hear(question, answer)
        trail.append(question)
        heard.append(answer)
        if free_guess or number == min(rounds, questions):
            guess = player.guess(wrong)
            won = torch.where((won == 0) & (guess == games.truth), number, won)
            wrong[index, guess] = True
            wrong[index, games.truth] = False  # a game that is won plays on; its object must stay possible
    return Played(won, torch.stack(trail, 1), torch.stack(heard, 1))
