"""The Bayesian questioner at the table: it asks what tells most and guesses what is likeliest.

Stateless like every strategy: the game is worked out from the transcript. ``Minds`` keeps the last game only to save
time, so the same transcript gives the same reply in any process.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.q20.guard import time_left
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.protocol import Observation, clip_guess
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.proposals import ProposedRows, weigh_words
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.strategies.llm import proposed_words
from kaggle_utils.q20.strategies.prompts import answer_prompt, guess_prompt
from kaggle_utils.q20.transcript import Beliefs, already_guessed
from kaggle_utils.q20.vocabulary import Vocabulary

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["AskBayes", "GuessBayes", "GuessProposed", "Minds"]

_Transcript = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


class Minds:
    """The questioner after a transcript, for strategies that share a table; loaded at first use."""

    def __init__(
        self, table: KnowledgeTable | None = None, *, vocabulary: Vocabulary | None = None, seed: int = 0
    ) -> None:
        """Take a table and a vocabulary, by default those that are shipped; ``seed`` is for the choice of questions."""
        self._table, self._beliefs, self._seed = table, Beliefs(vocabulary), seed
        self._prepared: PreparedTable | None = None
        self._last: tuple[_Transcript, Questioner] | None = None
        self._lock = threading.Lock()

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that can be found by their spelling."""
        return self._beliefs.vocabulary

    @property
    def prepared(self) -> PreparedTable:
        """The table, ready for asking."""
        if self._prepared is None:
            known = self._table is not None
            self._prepared = PreparedTable(self._table, self.vocabulary) if known else _shipped(self.vocabulary)
        return self._prepared

    def of(self, obs: Observation) -> Questioner:
        """Return the questioner after ``obs``: the last one goes on where its transcript does, else a new one."""
        transcript = _transcript(obs)
        with self._lock:  # seats of one process may share this object between threads
            last, self._last = self._last, None
            if last is None or not _continues(transcript, last[0]):
                last = (((), (), ()), Questioner(self.prepared, seed=self._seed))
            known, mind = last
            asked = len(known[1])
            for question, answer in zip(transcript[0][asked:], transcript[1][asked:], strict=True):
                mind.observe(question, {"yes": True, "no": False}.get(answer))
            for guess in transcript[2][len(known[2]) :]:
                mind.rule_out(guess)
            self._last = (transcript, mind)
            return mind

    def known(self, obs: Observation) -> Questioner | None:
        """Return the questioner if it was just worked out for this very transcript, else None at no cost."""
        last = self._last
        return last[1] if last is not None and last[0] == _transcript(obs) else None


class AskBayes:
    """Ask what is expected to tell most."""

    def __init__(self, minds: Minds | None = None) -> None:
        """Take the minds to share."""
        self.minds = minds or Minds()

    def reply(self, obs: Observation) -> str | None:
        """Return a question that was not asked before; None when the bank is used up."""
        mind = self.minds.of(obs)
        try:
            question = mind.question_text(mind.ask())
        except LookupError:
            return None
        return None if question in obs.questions else question


class GuessBayes:
    """Guess the likeliest class that was not guessed."""

    def __init__(self, minds: Minds | None = None) -> None:
        """Take the minds to share."""
        self.minds = minds or Minds()

    def reply(self, obs: Observation) -> str | None:
        """Return the name of an object, or a word outside the table; None where all of them were guessed."""
        guess = clip_guess(self.minds.of(obs).best_guess())
        return None if already_guessed(guess, obs) else guess


class GuessProposed:
    """Guess a word of the model's where neither table nor spelling seems to know the keyword."""

    def __init__(
        self,
        generator: TextGenerator,
        minds: Minds | None = None,
        *,
        above: float = 0.3,
        count: int = 5,
        max_new_tokens: int = 48,
        seed: int = 0,
    ) -> None:
        """Take the model; it is asked where words outside the table hold more than ``above`` of the probability."""
        self.generator, self.minds = generator, minds or Minds()
        self.above, self.count, self.max_new_tokens, self.seed = above, count, max_new_tokens, seed
        self._rows = ProposedRows(self._p_yes)

    def reply(self, obs: Observation) -> str | None:
        """Return the model's best word if it explains the answers better than every object; None otherwise."""
        mind = self.minds.of(obs)
        if len(mind.heard) < 5 or mind.posterior.out_of_vocabulary <= self.above or mind.spells_exactly:
            return None
        objects = self.minds.prepared.table.objects
        words = [word for word in self._words(obs) if not already_guessed(word, obs) and objects.index_of(word) is None]
        if not words:
            return None
        weights = weigh_words(mind, self._rows.theta(words, [heard.question for heard in mind.heard]))
        best = int(weights.argmax())
        return words[best] if weights[best] > mind.posterior.objects.max() else None

    def _words(self, obs: Observation) -> list[str]:
        seconds = 0.5 * time_left()
        settings = GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            time_limit=min(20.0, seconds) if seconds > 0 else 0.1,
            seed=self.seed + obs.step,
        )
        text = self.generator.generate([guess_prompt(obs)], settings)[0]
        return list(dict.fromkeys(proposed_words(text)))[: self.count]

    def _p_yes(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        prompts = [
            answer_prompt(Observation("answer", questions=(question,), keyword=word)) for word, question in pairs
        ]
        return list(self.generator.yes_no(prompts))


@lru_cache(maxsize=2)
def _shipped(vocabulary: Vocabulary) -> PreparedTable:
    """The shipped table, prepared once for all seats of a process."""
    return PreparedTable(load_table(), vocabulary)


def _transcript(obs: Observation) -> _Transcript:
    """Questions with their answers, and guesses; lists of unequal length as far as they pair up."""
    length = min(len(obs.questions), len(obs.answers))
    return obs.questions[:length], obs.answers[:length], obs.guesses


def _continues(transcript: _Transcript, earlier: _Transcript) -> bool:
    return all(whole[: len(part)] == part for whole, part in zip(transcript, earlier, strict=True))
