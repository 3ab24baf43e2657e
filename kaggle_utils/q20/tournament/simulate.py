"""Thousands of simulated games at once: a batched questioner against an answerer that is wrong now and then.

Questions and objects are indices here, nothing is parsed or compared as text, so that a cell of 10,000 games takes
seconds. Whole games with texts, partners and ratings are played by ``round_robin``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kaggle_utils.q20.protocol import ROUNDS
from kaggle_utils.q20.tournament.noise import Noise, NoisyAnswerer

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["AnswerBatch", "QuestionBatch", "Simulation", "play_cell", "simulate", "wilson"]

AnswerBatch = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(keywords int [G], questions int [G], round) -> answers int8 [G]: 1 yes, 0 no, -1 neither; see ``NoisyAnswerer``."""


class QuestionBatch(Protocol):
    """What asks: ``questioner.batch.BatchQuestioner`` or anything with these three methods."""

    def ask(self) -> np.ndarray:
        """Return the next question of each game, int [G]; -1 for a game that is over."""

    def hear(self, answers: np.ndarray) -> None:
        """Take the answers, int8 [G]."""

    def guess(self) -> np.ndarray:
        """Return the best object not guessed before in each game, int [G]."""


@dataclass(frozen=True)
class Simulation:
    """What happened in G games of T rounds."""

    truth: np.ndarray
    """int [G]: the keywords."""
    won_round: np.ndarray
    """int8 [G]: the round, from 1, whose guess was right; 0 for a game that was lost."""
    questions: np.ndarray
    """int32 [G, T]; -1 after the game was over."""
    answers: np.ndarray
    """int8 [G, T]."""
    guesses: np.ndarray
    """int32 [G, T] with a free guess every round, else [G, 1]; -1 after the game was over."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def win_rate(self) -> float:
        """Share of the games that were won."""
        return float(np.mean(self.won_round > 0))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the win rate (Wilson's)."""
        return wilson(int(np.sum(self.won_round > 0)), len(self))

    @property
    def mean_round(self) -> float:
        """Mean round of the games that were won; nan if none was."""
        won = self.won_round[self.won_round > 0]
        return float(won.mean()) if len(won) else math.nan

    @classmethod
    def joined(cls, parts: Sequence[Simulation]) -> Simulation:
        """Return all games of ``parts`` as one simulation; they must have the same rounds."""
        names = ("truth", "won_round", "questions", "answers", "guesses")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def simulate(
    questioner: QuestionBatch,
    truth: np.ndarray,
    answer: AnswerBatch,
    *,
    free_guess: bool = True,
    rounds: int = ROUNDS,
    classes: tuple[np.ndarray, np.ndarray] | None = None,
) -> Simulation:
    """Play one game for each keyword of ``truth`` with a questioner that was made for as many games.

    Args:
        questioner: what asks and guesses.
        truth: int [G], keywords as the answerer numbers them.
        answer: what answers; it and the questioner number the questions alike.
        free_guess: a guess after every answer, as on Kaggle; else one after the last.
        rounds: answers in a game.
        classes: for a questioner that numbers the objects differently: the class of each of its objects and of each of
            the answerer's. A guess is right when the classes are equal. By default ``match_class`` of its table.

    Returns:
        Every question, answer and guess. A game that is won is over: it costs nothing more where the questioner has a
        mask ``active`` of the games that go on.
    """
    if classes is None:
        of_guess = of_truth = np.asarray(questioner.table.objects.match_class)  # type: ignore[attr-defined]
    else:
        of_guess, of_truth = map(np.asarray, classes)
    wanted, won = of_truth[truth], np.zeros(len(truth), np.int8)
    questions, answers, guesses = [], [], []
    for index in range(rounds):
        over = won > 0
        asked = np.where(over, -1, questioner.ask()).astype(np.int32)
        heard = np.where(over, -1, answer(truth, np.maximum(asked, 0), index)).astype(np.int8)
        questioner.hear(heard)
        questions.append(asked)
        answers.append(heard)
        if free_guess or index == rounds - 1:
            guessed = np.where(over, -1, questioner.guess()).astype(np.int32)
            won[(of_guess[guessed] == wanted) & ~over] = index + 1
            guesses.append(guessed)
            if hasattr(questioner, "active"):
                questioner.active &= won == 0
    stacked = (np.stack(columns, axis=1) for columns in (questions, answers, guesses))
    return Simulation(truth, won, *stacked)


def play_cell(
    make_questioner: Callable[..., QuestionBatch],
    table: KnowledgeTable,
    *,
    games: int,
    noise: Noise | None = None,
    free_guess: bool = True,
    prior: np.ndarray | None = None,
    seed: int = 0,
    chunk: int = 1000,
    answerer: AnswerBatch | None = None,
    progress: bool = False,
    **options: Any,
) -> Simulation:
    """Play ``games`` games of one kind, ``chunk`` at a time, with keywords drawn from the prior.

    Args:
        make_questioner: called as ``make_questioner(table, games=..., prior=..., seed=..., free_guess=..., **options)``
            for every chunk, for example ``BatchQuestioner`` itself.
        table: what the questioner knows, and the truth unless ``answerer`` says otherwise.
        games, noise, free_guess: of the cell.
        prior: float [N], of the keywords drawn and as the questioner's prior; by default the table's.
        seed: the same seed gives the same games.
        chunk: games at once; memory is a few float32 arrays [chunk, N] and [chunk, Q].
        answerer: answers instead of a ``NoisyAnswerer`` of ``noise``.
        progress: show a bar.
        options: for the questioner.
    """
    from tqdm.auto import tqdm  # only here: an agent imports this package and needs no bar

    weights = np.asarray(table.objects.prior if prior is None else prior, np.float64)
    random = np.random.default_rng([seed, 0x51])
    answerer = answerer or NoisyAnswerer(table, noise, seed=seed)
    parts = []
    for start in tqdm(range(0, games, chunk), desc="games", unit="chunk", disable=not progress, leave=False):
        count = min(chunk, games - start)
        truth = random.choice(len(weights), count, p=weights / weights.sum())
        questioner = make_questioner(
            table, games=count, prior=prior, seed=seed + start, free_guess=free_guess, **options
        )
        parts.append(simulate(questioner, truth, answerer, free_guess=free_guess))
    return Simulation.joined(parts)


def wilson(successes: int, trials: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    >>> [round(bound, 3) for bound in wilson(95, 100)]
    [0.888, 0.978]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, z * z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = z / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)
