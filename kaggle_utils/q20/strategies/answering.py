"""The answerer as strategies of the Robot.

A turn is won by time as well: what rules, the category and a sure table say needs no model and cannot hang. Only then
the model is asked, and where it hangs or fails, the table says what it has all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.answerer.answerer import Answerer, YesNo
from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.protocol import Observation

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["AnswerKnowing", "answering_strategies"]


class AnswerKnowing:
    """Say what an ``Answerer`` knows, and nothing where it knows nothing.

    >>> strategy = AnswerKnowing(Answerer())
    >>> strategy.reply(Observation("answer", keyword="Cat", questions=("Does the keyword start with 'c'?",)))
    'yes'
    >>> strategy.reply(Observation("answer", keyword="Cat", questions=("Is it alive?",)))
    """

    def __init__(self, answerer: Answerer, *, sure: float = 0.5) -> None:
        """Take an answerer; an answer of a probability below ``sure`` is left to the next strategy."""
        self.answerer, self.sure = answerer, sure

    @property
    def generator(self) -> YesNo | None:
        """The model that may be asked, so that an agent can tell what hangs."""
        return self.answerer.generator

    def reply(self, obs: Observation) -> str | None:
        """Return "yes" or "no"; None without a question or a keyword, or where nobody knows."""
        if not obs.questions or not obs.questions[-1].strip() or not obs.keyword:
            return None
        found = self.answerer.judge(obs.keyword, obs.category, obs.questions[-1])
        if found.source == "default" or max(found.probability, 1 - found.probability) < self.sure:
            return None
        return "yes" if found.yes else "no"


def answering_strategies(
    table: KnowledgeTable | Callable[[], KnowledgeTable] | None = None,
    generator: YesNo | None = None,
    *,
    calibrate: Callable[[np.ndarray], np.ndarray] | None = None,
    prompts: Sequence[str] = ("named",),
    sure: float = 0.9,
) -> list[AnswerKnowing]:
    """Return the strategies that stand between the handshake and the fallback, in order.

    Args: as of ``Answerer``; ``sure`` is how sure the table must be to be believed without asking the model.
    """
    lookup = None if table is None else TableLookup(table)  # one table and one index of wordings for all
    alone = Answerer(lookup, sure=sure)
    if generator is None:
        return [AnswerKnowing(alone)]
    both = Answerer(lookup, generator, calibrate=calibrate, prompts=prompts, sure=sure)
    return [AnswerKnowing(alone, sure=sure), AnswerKnowing(both), AnswerKnowing(alone)]
