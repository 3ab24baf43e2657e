"""What a knowledge table says about a keyword: the answer to a question, and facts that help with another one.

A keyword that the table lacks is looked up by its last words ("garden gnome" by "gnome"), and believed less. The module
asks nobody else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.answerer.paraphrases import paraphrase
from kaggle_utils.q20.answerer.wording import content_words, wording_key

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["Fact", "TableLookup"]

_HEAD_NOUN_TRUST = 0.6  # of the log-odds; "is it a kind of" holds for a gnome and a garden gnome, its size may not
_ONE_OF_SEVERAL = 0.6  # P(red) as a share of P(red or pink): where the latter is no, the former is
_ALTERNATIVES = re.compile(r"(.{4,80}? )(?:((?:\w+, )*\w+),? or )(\w+)(.{0,40})")
_ROWS_KEPT = 64
_SURE = 0.85  # facts below this are not worth the words


@dataclass(frozen=True)
class Fact:
    """One answer that the table is sure of."""

    question: str
    probability: float
    """P(yes)."""


class TableLookup:
    """A table by the words of strangers; rows of the newest keywords are kept."""

    def __init__(self, table: KnowledgeTable | Callable[[], KnowledgeTable]) -> None:
        """Take a table, or what loads one at the first question; that also indexes wordings, 50 microseconds each."""
        self._source = table
        self._rows: dict[int, np.ndarray] = {}

    @cached_property
    def table(self) -> KnowledgeTable:
        """The table."""
        return self._source() if callable(self._source) else self._source

    def probability(self, keyword: str, question: str) -> float | None:
        """Return P(yes), or None where the table has no such keyword or question."""
        asked, known = self.question_of(question), self._object(keyword)
        if asked is None or known is None:
            return None
        (number, share), (index, trust) = asked, known
        return share * _tempered(float(self._row(index)[self.table.place[number]]), trust)

    def question_of(self, question: str) -> tuple[int, float] | None:
        """Return the bank's index of a question in any of its common wordings, and the share of its P(yes) to take.

        The share is 1, but for a question that asks for one of several things that the bank's asks for together.
        """
        exact = self.table.bank.index_of(question)
        if exact is not None:
            return (exact, 1.0) if not self.table.bank.lexical[exact] else None
        key = wording_key(question)
        found = self._by_wording.get(key)
        if found is None or found[1] < 1:
            found = self._by_wording.get(paraphrase(key) or "", found)
        return found

    def facts(self, keyword: str, question: str, *, count: int = 4) -> list[Fact]:
        """Return what is surely known of the keyword and shares words with the question, the nearest first."""
        known, words = self._object(keyword), content_words(question)
        if known is None or not words:
            return []
        row, place = self._row(known[0]), self.table.place
        scores: dict[int, float] = {}
        for word in words:
            numbers = self._by_word.get(word, ())
            for number in numbers:
                scores[number] = scores.get(number, 0.0) + math.log(1 + len(self.table.bank) / len(numbers))
        ranked = sorted(scores, key=lambda number: (-scores[number], number))
        sure = (number for number in ranked if max(row[place[number]], 1 - row[place[number]]) >= _SURE)
        return [
            Fact(self.table.bank.texts[number], float(row[place[number]]))
            for number, _ in zip(sure, range(count), strict=False)
        ]

    def _row(self, index: int) -> np.ndarray:
        """P(yes) of the questions about meaning, float32 [Qs]: those about spelling need no table."""
        if index not in self._rows:
            if len(self._rows) >= _ROWS_KEPT:
                self._rows.clear()
            self._rows[index] = self.table.decode(self.table.by_object[[index]], self.table.stored, axis=1)[0]
        return self._rows[index]

    def _object(self, keyword: str) -> tuple[int, float] | None:
        """The object, and how far its row may be trusted for this keyword."""
        for name, trust in _names(keyword):
            index = self.table.objects.index_of(name)
            if index is not None:
                return index, trust
        return None

    @cached_property
    def _by_wording(self) -> dict[str, tuple[int, float]]:
        found: dict[str, tuple[int, float]] = {}
        keys = {
            number: wording_key(self.table.bank.texts[number]) for number in np.flatnonzero(~self.table.bank.lexical)
        }
        for number, key in keys.items():
            found.setdefault(key, (int(number), 1.0))
        for number, key in keys.items():
            for part in _parts(key):
                found.setdefault(part, (int(number), _ONE_OF_SEVERAL))
        return found

    @cached_property
    def _by_word(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number in np.flatnonzero(~self.table.bank.lexical).tolist():
            for word in content_words(self.table.bank.texts[number]):
                found.setdefault(word, []).append(number)
        return found


def _names(keyword: str) -> Iterator[tuple[str, float]]:
    """A keyword, then its last words."""
    words = keyword.split()
    for start in range(min(len(words), 4)):
        yield " ".join(words[start:]), 1.0 if start == 0 else _HEAD_NOUN_TRUST


def _parts(key: str) -> list[str]:
    """What a question asks for one by one: "is @ red or pink" is "is @ red" and "is @ pink"; nothing for others."""
    match = _ALTERNATIVES.fullmatch(key)
    if match is None:
        return []
    items = [item for item in match[2].split(", ") if item] + [match[3]]
    return [f"{match[1]}{item}{match[4]}" for item in items]


def _tempered(probability: float, trust: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-trust * math.log(clipped / (1 - clipped))))
