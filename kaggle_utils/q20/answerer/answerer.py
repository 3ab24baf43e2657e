"""Answers to any question about a known keyword, each by whoever knows best.

In this order: the handshake, an exact rule about spelling, the keyword named outright, the category that the
environment tells, the table where it is sure, the table and the language model together. It promises a probability
for every question and never raises for a stranger's text; what the language model raises passes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kaggle_utils.chat.messages import Conversation
from kaggle_utils.q20.answerer.category import category_answer
from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.answerer.prompts import PROMPTS
from kaggle_utils.q20.questions import is_handshake, names_keyword, parse_question

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["Answerer", "Judgement", "YesNo"]

_DEFAULT = 0.35
"""P(yes) of a question that nobody knows anything about: strangers ask more questions that are answered by no."""


class YesNo(Protocol):
    """What is asked of a language model."""

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) per conversation."""
        ...


@dataclass(frozen=True)
class Judgement:
    """An answer and where it came from."""

    probability: float
    """P(yes)."""
    source: str
    """"handshake", "rule", "named", "category", "table", "model", "table+model" or "default" (nobody knew)."""

    @property
    def yes(self) -> bool:
        """The answer to give."""
        return self.probability >= 0.5


class Answerer:
    """Answers questions about keywords.

    >>> answerer = Answerer()
    >>> answerer.answer("Cat", "things", "Does the keyword start with 'c' and have three letters?")
    True
    >>> answerer.judge("Cat", "things", "Is it alive?")
    Judgement(probability=0.35, source='default')
    """

    def __init__(
        self,
        table: KnowledgeTable | TableLookup | Callable[[], KnowledgeTable] | None = None,
        generator: YesNo | None = None,
        *,
        calibrate: Callable[[np.ndarray], np.ndarray] | None = None,
        prompts: Sequence[str] = ("named",),
        facts: int = 4,
        sure: float = 0.9,
    ) -> None:
        """Take what there is to ask; without a table and a model only rules answer.

        Args:
            table: what is known: a table, a lookup that several answerers share, or what loads a table at first use.
            generator: a language model.
            calibrate: from the model's P(yes), float64 [n], to calibrated ones, for example
                ``lambda p: curve.apply(p, "model")`` with what ``fit_calibration`` returned; None leaves them alone.
            prompts: names out of ``PROMPTS``; the log-odds of several are averaged.
            facts: known answers of the table that are put into a prompt.
            sure: the table is believed alone where P of its answer is at least this; nearer to a half the model is
                asked as well, and their log-odds are added.

        Raises:
            ValueError: an unknown prompt, or ``sure`` outside of .5 to 1.
        """
        unknown = [name for name in prompts if name not in PROMPTS]
        if unknown or not prompts or not 0.5 <= sure <= 1:
            raise ValueError(
                f"prompts={tuple(prompts)!r}, sure={sure}: expected one or more of {', '.join(PROMPTS)}, and 0.5 to 1"
            )
        self.table = table if table is None or isinstance(table, TableLookup) else TableLookup(table)
        self.generator, self.calibrate = generator, calibrate
        self.prompts = tuple(PROMPTS[name] for name in prompts)
        self.facts, self.sure = facts, sure

    def answer(self, keyword: str, category: str, question: str) -> bool:
        """Return the answer: True for yes."""
        return self.judge(keyword, category, question).yes

    def probability(self, keyword: str, category: str, question: str) -> float:
        """Return P(yes)."""
        return self.judge(keyword, category, question).probability

    def answer_many(self, asked: Sequence[tuple[str, str, str]]) -> list[bool]:
        """Return the answers to (keyword, category, question), in order, with one call of the model."""
        return [judgement.yes for judgement in self.judge_many(asked)]

    def judge(self, keyword: str, category: str, question: str) -> Judgement:
        """Return the answer and where it came from."""
        return self.judge_many([(keyword, category, question)])[0]

    def judge_many(self, asked: Sequence[tuple[str, str, str]]) -> list[Judgement]:
        """Return judgements of (keyword, category, question), in order; the model gets one batch of the open ones."""
        found: list[Judgement | None] = [self.without_model(*one) for one in asked]
        if self.generator is not None:
            opened = [index for index, one in enumerate(found) if self._is_open(one)]
            said = self.model_probabilities([asked[index] for index in opened])
            for index, probability in zip(opened, said.tolist(), strict=True):
                found[index] = _together(found[index], probability)
        return [one if one is not None else Judgement(_DEFAULT, "default") for one in found]

    def without_model(self, keyword: str, category: str, question: str) -> Judgement | None:
        """Return what rules, category and table say; None where they say nothing."""
        if is_handshake(question):
            return Judgement(1.0, "handshake")
        rule = parse_question(question)
        if rule is not None:
            return Judgement(float(rule.holds(keyword)), "rule")
        if names_keyword(question, keyword):
            return Judgement(1.0, "named")
        kind = category_answer(category, question)
        if kind is not None:
            return Judgement(kind, "category")
        known = self.table.probability(keyword, question) if self.table is not None else None
        return Judgement(known, "table") if known is not None else None

    def model_probabilities(self, asked: Sequence[tuple[str, str, str]]) -> np.ndarray:
        """Return the model's P(yes), calibrated, float64 [n]; one call for all prompts of all questions."""
        if not asked:
            return np.empty(0)
        if self.generator is None:
            raise ValueError("there is no language model to ask; give Answerer a generator")
        conversations = [
            prompt.conversation(keyword, category, question, facts=self._facts(keyword, question))
            for prompt in self.prompts
            for keyword, category, question in asked
        ]
        raw = np.asarray(self.generator.yes_no(conversations), dtype=np.float64).reshape(len(self.prompts), len(asked))
        mean = 1 / (1 + np.exp(-_log_odds(raw).mean(axis=0)))
        return np.asarray(self.calibrate(mean), dtype=np.float64) if self.calibrate is not None else mean

    def _is_open(self, judgement: Judgement | None) -> bool:
        if judgement is None:
            return True
        return judgement.source == "table" and max(judgement.probability, 1 - judgement.probability) < self.sure

    def _facts(self, keyword: str, question: str) -> list[tuple[str, bool]]:
        if self.table is None or self.facts < 1:
            return []
        found = self.table.facts(keyword, question, count=self.facts)
        return [(fact.question, fact.probability >= 0.5) for fact in found]


def _together(known: Judgement | None, said: float) -> Judgement | None:
    """What the table and the model say, as two independent witnesses; a model that says nothing changes nothing."""
    if not math.isfinite(said):
        return known
    if known is None:
        return Judgement(said, "model")
    both = float(_log_odds(np.array([known.probability, said])).sum())
    return Judgement(1 / (1 + math.exp(-both)), "table+model")


def _log_odds(probabilities: Any) -> np.ndarray:
    clipped = np.clip(probabilities, 1e-4, 1 - 1e-4)  # float64: 1 - 1e-4 is not 1
    return np.log(clipped / (1 - clipped))
