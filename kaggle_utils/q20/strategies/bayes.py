"""The Bayesian questioner at the table: it asks what tells most and guesses what is likeliest.

Stateless like every strategy: the game is worked out from the transcript. ``Minds`` keeps the last games only to save
time, so the same transcript gives the same reply in any process.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.q20.guard import time_left
from kaggle_utils.q20.protocol import Observation, clip_guess
from kaggle_utils.q20.questioner.prepared import PreparedTable, shipped_table
from kaggle_utils.q20.questioner.proposals import ProposedRows
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.questions import HANDSHAKE
from kaggle_utils.q20.strategies.llm import proposed_words
from kaggle_utils.q20.strategies.prompts import answer_prompt, guess_prompt
from kaggle_utils.q20.transcript import Beliefs, already_guessed
from kaggle_utils.q20.vocabulary import Vocabulary

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["AskBayes", "GuessBayes", "GuessProposed", "Minds"]

_Transcript = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

_NOTHING: _Transcript = ((), (), ())


class Minds:
    """The questioner after a transcript, for strategies that share a table; loaded at first use.

    The games of many seats may be asked for in turn: the newest ones are kept, some 3 MB each with the shipped table.
    """

    def __init__(
        self,
        table: KnowledgeTable | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        seed: int = 0,
        games: int = 128,
    ) -> None:
        """Take a table and a vocabulary, by default those that are shipped.

        Args:
            table: what is known.
            vocabulary: words that can be found by their spelling.
            seed: for the choice of questions.
            games: how many are kept; more than these at a time are worked out from their beginning at every turn.
        """
        self._table, self._beliefs, self._seed, self._games = table, Beliefs(vocabulary), seed, games
        self._prepared: PreparedTable | None = None
        self._kept: OrderedDict[_Transcript, Questioner] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that can be found by their spelling."""
        return self._beliefs.vocabulary

    @property
    def prepared(self) -> PreparedTable:
        """The table, ready for asking."""
        if self._prepared is None:
            known = self._table is not None
            self._prepared = PreparedTable(self._table, self.vocabulary) if known else shipped_table(self.vocabulary)
        return self._prepared

    def of(self, obs: Observation) -> Questioner:
        """Return the questioner after ``obs``: one that was kept goes on where its transcript does, else a new one."""
        transcript = _transcript(obs)
        with self._lock:  # seats of one process may share this object between threads
            known = next((part for part in _prefixes(transcript) if part in self._kept), _NOTHING)
            mind = self._kept.pop(known, None) or Questioner(self.prepared, seed=self._seed)
            asked = len(known[1])
            for question, answer in zip(transcript[0][asked:], transcript[1][asked:], strict=True):
                mind.observe(question, {"yes": True, "no": False}.get(answer))
            for guess in transcript[2][len(known[2]) :]:
                mind.rule_out(guess)
            self._keep(transcript, mind)
            return mind

    def opening(self) -> str | None:
        """Return the first question of a game where it is known before anything is loaded, and begin to load.

        With all that is shipped it is the handshake, whoever answers (a test compares it with what the questioner
        chooses); the table and the alphabet get ready while the partner thinks about it. None: ask the questioner.
        """
        if self._prepared is not None or self._table is not None or self._beliefs.chosen:
            return None
        if self._loading is None:
            self._loading = threading.Thread(target=self._load, name="q20-load", daemon=True)
            self._loading.start()
        return HANDSHAKE

    def _load(self) -> None:
        with self._lock, contextlib.suppress(Exception):  # whoever needs it meets the same error, and reports it
            self.prepared.warm()

    def known(self, obs: Observation) -> Questioner | None:
        """Return the questioner if it was worked out for this very transcript, else None at no cost."""
        return self._kept.get(_transcript(obs))

    def _keep(self, transcript: _Transcript, mind: Questioner) -> None:
        self._kept[transcript] = mind
        while len(self._kept) > self._games:
            self._kept.popitem(last=False)


class AskBayes:
    """Ask what is expected to tell most."""

    def __init__(self, minds: Minds | None = None) -> None:
        """Take the minds to share."""
        self.minds = minds or Minds()

    def reply(self, obs: Observation) -> str | None:
        """Return a question that was not asked before; None when the bank is used up."""
        opening = None if obs.questions or obs.guesses else self.minds.opening()
        if opening is not None:
            return opening
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
    """Guess a word of the model's where neither table nor spelling seems to know the keyword.

    The words join the game: each later answer weighs them beside the objects, and ``GuessBayes`` guesses them as well.
    Like all that ``Minds`` keeps they are lost with the process; the next one asks the model again.
    """

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
        """Return the best word that joined if it is likelier than every object; None otherwise."""
        mind = self.minds.of(obs)
        if len(mind.heard) < 5 or mind.spells_exactly:
            return None
        words = list(mind.guests.words)
        if mind.posterior.out_of_vocabulary > self.above:
            words = list(dict.fromkeys([*words, *self._words(obs)]))
        if not words:
            return None
        mind.add_words(words, self._rows.theta(words, [heard.question for heard in mind.heard]))
        joined = mind.posterior.guests
        if not len(joined) or joined.max() <= mind.posterior.objects.max():
            return None
        best = clip_guess(mind.guests.words[int(joined.argmax())])
        return None if already_guessed(best, obs) else best

    def _words(self, obs: Observation) -> list[str]:
        seconds = 0.5 * time_left()
        settings = GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            time_limit=min(20.0, seconds) if seconds > 0 else 0.1,
            seed=self.seed + obs.step,
        )
        text = self.generator.generate([guess_prompt(obs)], settings)[0]
        objects = self.minds.prepared.table.objects
        words = (word for word in proposed_words(text) if not already_guessed(word, obs) and not objects.matching(word))
        return list(dict.fromkeys(words))[: self.count]

    def _p_yes(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        prompts = [
            answer_prompt(Observation("answer", questions=(question,), keyword=word)) for word, question in pairs
        ]
        return list(self.generator.yes_no(prompts))


def _transcript(obs: Observation) -> _Transcript:
    """Questions with their answers, and guesses; lists of unequal length as far as they pair up."""
    length = min(len(obs.questions), len(obs.answers))
    return obs.questions[:length], obs.answers[:length], obs.guesses


def _prefixes(transcript: _Transcript) -> Iterator[_Transcript]:
    """The transcript as it was turn by turn, from now back to the beginning."""
    questions, answers, guesses = transcript
    asked, guessed = len(questions), len(guesses)
    yield transcript
    if guessed:
        yield questions, answers, guesses[:-1]
    while asked or guessed:
        if guessed and guessed >= asked:  # a guess follows every answer
            guessed -= 1
        else:
            asked -= 1
        yield questions[:asked], answers[:asked], guesses[:guessed]
