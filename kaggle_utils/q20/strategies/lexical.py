"""Exact answers to questions about the spelling of the keyword.

Which questions those are is known to ``questions.parse_question``; here the rule meets the keyword of the turn.
"""

from __future__ import annotations

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questions import names_keyword, parse_question

__all__ = ["AnswerLexical"]


class AnswerLexical:
    """Answer by rule where a rule applies.

    >>> AnswerLexical().reply(Observation("answer", keyword="Cat", questions=(
    ...     'Does the keyword (in lowercase) precede "dog" in alphabetical order?',)))
    'yes'
    >>> AnswerLexical().reply(Observation("answer", keyword="Cat", questions=("Is it a cat?",)))
    'yes'
    """

    def reply(self, obs: Observation) -> str | None:
        """Return "yes" or "no"; None where no exact rule is known, or no keyword was given."""
        if not obs.questions or not obs.keyword:
            return None
        rule = parse_question(obs.questions[-1])
        if rule is not None:
            return "yes" if rule.holds(obs.keyword) else "no"
        return "yes" if names_keyword(obs.questions[-1], obs.keyword) else None
