"""P(yes | object, question) for every pair, one byte each, in both access orders.

Answers to semantic questions are codes: ``LEVELS[code]`` is the probability. Answers to lexical questions are computed
from the words, 0 or 1 exactly. No probability of a semantic answer is ever 0 or 1: nothing is known that surely. The
table does not know who answers; noise of the answerer belongs to the questioner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain

import numpy as np

from kaggle_utils.q20.knowledge.arrays import checked_indices, transposed
from kaggle_utils.q20.knowledge.bank import QuestionBank
from kaggle_utils.q20.knowledge.levels import LEVELS, encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.spelled import Spelling

__all__ = ["KnowledgeTable"]

_UNKNOWN_SHRINK = 0.9  # how far the mean over known objects is believed of an unknown one


class KnowledgeTable:
    """What is known of N objects and Q questions, Qs of them semantic.

    ``codes`` uint8 [N, Qs] stand in the order of the bank's semantic questions; ``by_question`` uint8 [Qs, N] may be
    given as well, or instead (``codes=None``): a missing order is made when it is first used, in N·Qs bytes.
    ``levels`` float32 [256] hold for all families, but for those in ``family_levels``.

    >>> from kaggle_utils.q20.knowledge.bank import BankQuestion
    >>> bank = QuestionBank([BankQuestion("Is it alive?", "kind"),
    ...                      BankQuestion("Does the keyword start with the letter 'c'?", "letter", lexical=True)])
    >>> table = KnowledgeTable(Objects([Thing("cat"), Thing("car")]), bank, encode(np.array([[0.98], [0.5]])))
    >>> table.columns([1, 0]).round(2).tolist()
    [[1.0, 0.98...], [1.0, 0.5]]
    """

    def __init__(
        self,
        objects: Objects,
        bank: QuestionBank,
        codes: np.ndarray | None,
        *,
        by_question: np.ndarray | None = None,
        levels: np.ndarray = LEVELS,
        family_levels: Mapping[str, np.ndarray] | None = None,
        unknown: np.ndarray | None = None,
    ) -> None:
        self.objects, self.bank = objects, bank
        self.levels = np.asarray(levels, dtype=np.float32)
        self.family_levels = {name: np.asarray(row, dtype=np.float32) for name, row in (family_levels or {}).items()}
        self.stored = np.flatnonzero(~bank.lexical)
        """Bank indices of the semantic questions, int64 [Qs]."""
        self.place = np.cumsum(~bank.lexical) - 1
        self.place[bank.lexical] = np.cumsum(bank.lexical)[bank.lexical] - 1
        problems = self._problems(codes, by_question, unknown)
        if problems:
            raise ValueError("not a knowledge table: " + "; ".join(problems))
        if codes is not None:
            self.__dict__["by_object"] = codes
        if by_question is not None:
            self.__dict__["by_question"] = by_question
        if unknown is not None:
            self.__dict__["unknown"] = np.asarray(unknown, dtype=np.float32)

    def __repr__(self) -> str:
        n, q = self.shape
        return f"KnowledgeTable({n} objects, {len(self.stored)} semantic and {q - len(self.stored)} lexical questions)"

    @property
    def shape(self) -> tuple[int, int]:
        """(N, Q)."""
        return len(self.objects), len(self.bank)

    @property
    def size(self) -> int:
        """Number of cells, N · Q."""
        return len(self.objects) * len(self.bank)

    @cached_property
    def by_object(self) -> np.ndarray:
        """Codes of the semantic questions, uint8 [N, Qs], one object after the other."""
        return transposed(self.__dict__["by_question"])

    @cached_property
    def by_question(self) -> np.ndarray:
        """Codes of the semantic questions, uint8 [Qs, N], one question after the other."""
        return transposed(self.__dict__["by_object"])

    @cached_property
    def lexical(self) -> np.ndarray:
        """Answers to all lexical questions, bool [Q - Qs, N], in the bank's order; 16 million cells take 0.2 s."""
        spelling, texts = Spelling(self.objects.words), self.bank.texts
        rows = np.empty((int(self.bank.lexical.sum()), len(self.objects)), dtype=bool)
        for row, index in enumerate(np.flatnonzero(self.bank.lexical).tolist()):
            rows[row] = spelling.answers(texts[index])
        return rows

    def columns(self, question_indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return P(yes) of some questions for all objects, float32 [N, k]; cost O(N · k)."""
        questions = checked_indices(question_indices, len(self.bank), "question")
        out = np.empty((len(questions), len(self.objects)), dtype=np.float32)
        lexical = self.bank.lexical[questions]
        if lexical.any():
            out[lexical] = self.lexical[self.place[questions[lexical]]]
        if not lexical.all():
            semantic = questions[~lexical]
            out[~lexical] = self.decode(self.by_question[self.place[semantic]], semantic, axis=0)
        return out.T

    def rows(self, object_indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return P(yes) of all questions for some objects, float32 [n, Q]; cost O(n · Q)."""
        chosen = checked_indices(object_indices, len(self.objects), "object")
        out = np.empty((len(chosen), len(self.bank)), dtype=np.float32)
        if len(self.stored):
            out[:, self.stored] = self.decode(self.by_object[chosen], self.stored, axis=1)
        if self.bank.lexical.any():
            out[:, self.bank.lexical] = self.lexical[:, chosen].T
        return out

    @property
    def theta(self) -> np.ndarray:
        """The whole table, float32 [N, Q], made anew at each use: 4 bytes a cell, so only for small ones."""
        return np.ascontiguousarray(self.columns(np.arange(len(self.bank))))

    @cached_property
    def unknown(self) -> np.ndarray:
        """P(yes | a word that is not in the table), float32 [Q]: the mean under the prior, drawn towards a half."""
        prior, mean = self.objects.prior.astype(np.float32), np.empty(len(self.bank), dtype=np.float32)
        for start in range(0, len(mean), 256):
            part = np.arange(start, min(start + 256, len(mean)))
            mean[part] = prior @ self.columns(part)
        return 0.5 + np.float32(_UNKNOWN_SHRINK) * (mean - 0.5)

    def decode(self, codes: np.ndarray, questions: np.ndarray, *, axis: int) -> np.ndarray:
        """Return the probabilities of codes, float32; ``questions`` are the bank indices along ``axis`` (0 or 1)."""
        rows, number = self.level_rows
        if len(rows) == 1:
            return self.levels[codes]
        own = number[questions]
        return rows[own[:, None] if axis == 0 else own[None, :], codes]

    def subset(
        self, object_indices: Sequence[int] | np.ndarray, question_indices: Sequence[int] | np.ndarray | None = None
    ) -> KnowledgeTable:
        """Return the table of some objects and questions, in the given order; ``unknown`` is kept."""
        chosen = checked_indices(object_indices, len(self.objects), "object")
        every = np.arange(len(self.bank))
        questions = every if question_indices is None else checked_indices(question_indices, len(self.bank), "question")
        places = self.place[questions[~self.bank.lexical[questions]]]
        return self._like(
            self.objects.subset(chosen),
            self.bank.subset(questions),
            np.ascontiguousarray(self.by_object[chosen[:, None], places]),
            unknown=self.unknown[questions],
        )

    def with_objects(self, things: Iterable[Thing], codes_or_theta: np.ndarray) -> KnowledgeTable:
        """Return a table with more objects at its end, such as words that came up during a game.

        A new object's ``prior`` is relative to 1 for all old ones together: .01 gives it about one percent.

        Args:
            things: n new objects.
            codes_or_theta: uint8 codes [n, Qs], or probabilities [n, Qs] or [n, Q] of any float type; what is given for
                lexical questions is ignored, since the words decide.
        """
        things = tuple(things)
        codes = np.asarray(codes_or_theta)
        if codes.dtype != np.uint8:
            codes = codes[:, self.stored] if codes.ndim == 2 and codes.shape[1] == len(self.bank) else codes
            codes = self._codes(codes)
        if codes.shape != (len(things), len(self.stored)):
            raise ValueError(
                f"{len(things)} new objects came with rows {codes.shape}; expected {len(self.stored)} semantic answers "
                f"each (or all {len(self.bank)} as probabilities)"
            )
        old = self.objects
        weights = np.concatenate([old.prior, [thing.prior for thing in things]])
        objects = Objects.from_columns(
            [*old.words, *(thing.word for thing in things)],
            [*old.aliases, *(thing.aliases for thing in things)],
            [*old.categories, *(thing.category for thing in things)],
            weights,
        )
        table = self._like(objects, self.bank, np.concatenate([self.by_object, codes]), unknown=self.unknown)
        if "lexical" in self.__dict__ and things:
            fresh = Spelling([thing.word for thing in things])
            texts = [text for text, lexical in zip(self.bank.texts, self.bank.lexical, strict=True) if lexical]
            added = [fresh.answers(text) for text in texts]
            table.__dict__["lexical"] = (
                np.concatenate([self.lexical, np.stack(added)], axis=1) if added else self.lexical
            )
        return table

    def with_levels(self, family_levels: Mapping[str, np.ndarray]) -> KnowledgeTable:
        """Return the same codes read by other levels for some families: what a calibration changes."""
        table = self._like(self.objects, self.bank, self.__dict__.get("by_object"))
        table.family_levels = {**self.family_levels, **{k: np.asarray(v, np.float32) for k, v in family_levels.items()}}
        for name in ("by_question", "lexical"):
            if name in self.__dict__:
                table.__dict__[name] = self.__dict__[name]
        return table

    def _like(
        self, objects: Objects, bank: QuestionBank, codes: np.ndarray | None, *, unknown: np.ndarray | None = None
    ) -> KnowledgeTable:
        return KnowledgeTable(
            objects,
            bank,
            codes,
            by_question=self.by_question if codes is None else None,
            levels=self.levels,
            family_levels=self.family_levels,
            unknown=unknown,
        )

    @cached_property
    def level_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The different levels, float32 [F, 256], and which of them each question has, int64 [Q]."""
        names = list(self.family_levels)
        number = {name: index + 1 for index, name in enumerate(names)}
        rows = np.stack([self.levels, *(self.family_levels[name] for name in names)])
        return rows, np.array([number.get(family, 0) for family in self.bank.families], dtype=np.int64)

    def _codes(self, theta: np.ndarray) -> np.ndarray:
        rows, number = self.level_rows
        own = number[self.stored]
        codes = np.empty(theta.shape, dtype=np.uint8)
        for index in np.unique(own) if theta.ndim == 2 and theta.shape[1] == len(own) else ():
            codes[:, own == index] = encode(theta[:, own == index], rows[index])
        return codes

    def _problems(
        self, codes: np.ndarray | None, by_question: np.ndarray | None, unknown: np.ndarray | None
    ) -> list[str]:
        n, q, stored = len(self.objects), len(self.bank), len(self.stored)
        problems = []
        if codes is None and by_question is None:
            problems.append("neither codes nor by_question is given")
        for name, array, shape in (("codes", codes, (n, stored)), ("by_question", by_question, (stored, n))):
            if array is not None and (array.dtype != np.uint8 or array.shape != shape):
                problems.append(f"{name} is {array.dtype} {array.shape}, expected uint8 {shape}")
        if unknown is not None and np.shape(unknown) != (q,):
            problems.append(f"unknown has the shape {np.shape(unknown)}, expected {(q,)}")
        for name, row in chain([("levels", self.levels)], self.family_levels.items()):
            if row.shape != (256,) or not (row[0] > 0 and row[-1] < 1 and (np.diff(row) >= 0).all()):
                problems.append(f"{name!r}: levels must be 256 rising probabilities between 0 and 1, exclusive")
        return problems
