"""The questions that can be asked: text, family, clarity, and whether the spelling alone decides them.

Lexical questions are computed from the words (``spelled``), all others are looked up in a table. The module does not
know what anybody will answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaggle_utils.q20.knowledge.lexical_pool import choose_texts
from kaggle_utils.q20.knowledge.objects import Objects

__all__ = ["BankQuestion", "QuestionBank", "lexical_questions", "question_key"]


@dataclass(frozen=True)
class BankQuestion:
    """One question of the bank."""

    text: str
    family: str
    """What it is about or where it came from; calibration is fitted per family."""
    clarity: float = 1.0
    """How surely a stranger understands it, 0 to 1."""
    lexical: bool = False
    """``parse_question`` has a rule for it, so its answers are computed and not stored."""


class QuestionBank(Sequence[BankQuestion]):
    """An immutable sequence of questions, no text twice.

    >>> bank = QuestionBank([BankQuestion("Is it alive?", "kind"), BankQuestion("Can you eat it?", "use", clarity=0.9)])
    >>> len(bank), bank.index_of("is it  ALIVE"), bank.index_of("Is it red?")
    (2, 0, None)
    """

    texts: tuple[str, ...]
    families: tuple[str, ...]
    clarity: np.ndarray
    """float32 [Q]."""
    lexical: np.ndarray
    """bool [Q]."""

    def __init__(self, questions: Iterable[BankQuestion]) -> None:
        questions = tuple(questions)
        self._set(
            tuple(question.text for question in questions),
            tuple(question.family for question in questions),
            np.array([question.clarity for question in questions], dtype=np.float32),
            np.array([question.lexical for question in questions], dtype=bool),
        )

    @classmethod
    def from_columns(
        cls, texts: Sequence[str], families: Sequence[str], clarity: np.ndarray, lexical: np.ndarray
    ) -> QuestionBank:
        """Build from parallel columns; ValueError where their lengths differ or a text comes twice."""
        self = cls.__new__(cls)
        clarity, lexical = np.asarray(clarity, dtype=np.float32), np.asarray(lexical, dtype=bool)
        self._set(tuple(texts), tuple(families), clarity, lexical)
        return self

    def _set(self, texts: tuple[str, ...], families: tuple[str, ...], clarity: np.ndarray, lexical: np.ndarray) -> None:
        if not len(texts) == len(families) == len(clarity) == len(lexical):
            raise ValueError(
                f"{len(texts)} texts, {len(families)} families, {len(clarity)} clarities and {len(lexical)} marks"
            )
        if len(set(texts)) < len(texts):
            seen: set[str] = set()
            twice = [text for text in texts if text in seen or seen.add(text)]
            raise ValueError(f"{len(twice)} questions come twice, the first is {twice[0]!r}; leave one of each")
        self.texts, self.families, self.clarity, self.lexical = texts, families, clarity, lexical
        self.clarity.setflags(write=False)
        self.lexical.setflags(write=False)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        return BankQuestion(
            self.texts[index], self.families[index], float(self.clarity[index]), bool(self.lexical[index])
        )

    def __iter__(self) -> Iterator[BankQuestion]:
        return map(BankQuestion, self.texts, self.families, self.clarity.tolist(), self.lexical.tolist())

    def __repr__(self) -> str:
        return f"QuestionBank({len(self)}, {int(self.lexical.sum())} of them lexical)"

    def index_of(self, text: str) -> int | None:
        """Return the index of a question, whatever its case, spacing and final punctuation; None if it is not here."""
        return self._by_key.get(question_key(text))

    def subset(self, indices: Sequence[int] | np.ndarray) -> QuestionBank:
        """Return the questions at ``indices``, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        chosen = indices.tolist()
        return QuestionBank.from_columns(
            [self.texts[i] for i in chosen],
            [self.families[i] for i in chosen],
            self.clarity[indices],
            self.lexical[indices],
        )

    @cached_property
    def _by_key(self) -> dict[str, int]:
        return {question_key(text): index for index, text in reversed(list(enumerate(self.texts)))}


def question_key(text: str) -> str:
    """Return what two wordings of one question share: lower case, single spaces, straight quotes, no final mark.

    >>> question_key(" Is it  a “Big” thing ?")
    'is it a "big" thing'
    """
    straight = text[:2000].translate(_QUOTES).lower()
    return " ".join(straight.split()).rstrip(" ?.!")


_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})


def lexical_questions(objects: Objects, *, count: int = 1000, seed: int = 0) -> list[BankQuestion]:
    """Return about ``count`` questions on the spelling that split ``objects`` by their prior, the plainest first.

    Letters and where they stand, lengths, numbers of words, alphabetical thresholds; each is phrased as people and
    rules read it, none tells the same objects apart as another. Fewer come back where the words do not allow more.
    Cost: O(count · (count + 10) · N) multiplications, seconds for 1,000 questions of 16,000 objects: for compilers.
    """
    return [
        BankQuestion(text, family, clarity, lexical=True)
        for text, family, clarity in choose_texts(objects.words, objects.prior, count=count, seed=seed)
    ]
