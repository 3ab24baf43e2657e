"""A table made ready for asking: matrices or samples of its questions, what may be asked, twins, the alphabet.

All of it depends on the table and the vocabulary alone, so one ``PreparedTable`` serves all games of a process.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.questioner.choice import TWIN_CORRELATION, askable
from kaggle_utils.q20.questioner.gain import binary_entropy, gain_of_sums
from kaggle_utils.q20.questioner.lexicon import Lexicon
from kaggle_utils.q20.questioner.pool import DenseQuestions, SampledQuestions, weighted_sample
from kaggle_utils.q20.questioner.posterior import View
from kaggle_utils.q20.vocabulary import Vocabulary

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["PreparedTable", "shipped_table"]

_DENSE_CELLS = 6_000_000  # up to here matrices of float32 are faster than a sample, and small
_SHORTLIST = 24  # questions of a large table whose gain is worked out over all objects
_TWIN_SAMPLE = 400  # objects over which questions are compared


class PreparedTable:
    """What ``Questioner`` needs of a table; nothing here changes during a game."""

    def __init__(self, table: KnowledgeTable, vocabulary: Vocabulary | None = None) -> None:
        """Take the table, and the vocabulary over which the out-of-vocabulary slot is spread, if any."""
        self.table, self.vocabulary = table, vocabulary
        self.lexical = np.asarray(table.bank.lexical, dtype=bool)
        self._twins: dict[int, np.ndarray] = {}
        self._at_lexical = np.flatnonzero(self.lexical)

    def warm(self) -> None:
        """Work out now what every question and guess needs; what only some need can wait, as they wait for this."""
        for part in ("lexicon", "askable", "clarity"):
            getattr(self, part)

    @cached_property
    def lexicon(self) -> Lexicon | None:
        """The alphabet of objects and vocabulary; None without a vocabulary."""
        return None if self.vocabulary is None else Lexicon(self.table.objects, self.vocabulary)

    @cached_property
    def askable(self) -> np.ndarray:
        """Which questions may be asked at all, bool [Q]."""
        return askable(self.table)

    @cached_property
    def clarity(self) -> np.ndarray:
        """How surely a stranger understands each question, float32 [Q]."""
        return np.asarray(self.table.bank.clarity, dtype=np.float32)

    def column(self, question: int) -> np.ndarray:
        """P(yes) of a question of the bank for all objects, float32 [N]."""
        return self.table.columns([question])[:, 0]

    def gains(self, view: View, *, lexical: bool, closed: np.ndarray) -> np.ndarray:
        """Return the expected gain of every question of one kind in bits, float32 [Q]; -inf for all others.

        Args:
            view: the posterior as these questions see it.
            lexical: which kind.
            closed: bool [Q], not to be asked.
        """
        result = np.full(len(self.lexical), -np.inf, dtype=np.float32)
        at = self._at_lexical if lexical else self.table.stored
        if not len(at) or view.slope + view.doubt <= 1e-6:
            return result
        inside, slot = view.weights[:-1], view.weights[-1]
        unknown = self.table.unknown[at]
        base, slope, doubt = (np.float32(value) for value in (view.base, view.slope, view.doubt))
        ends = (np.asarray([base]), np.asarray([slope]), np.asarray([doubt]) if doubt > 1e-6 else None)

        def finished(sums: np.ndarray, entropies: np.ndarray | None, part: np.ndarray | slice) -> np.ndarray:
            sums = sums + slot * unknown[part]
            # spelling is certain for every single word outside, where we know the words
            known = lexical and self.vocabulary is not None
            vague = None if known or slot < 1e-6 else slot * binary_entropy(unknown[part])
            if vague is not None:
                entropies = vague if entropies is None else entropies + vague
            return gain_of_sums(sums, entropies, *ends) * self.clarity[at][part]

        questions = self._lexical if lexical else self._semantic
        if isinstance(questions, DenseQuestions):
            result[at] = finished(questions.sums(inside), questions.entropies(inside), slice(None))
        else:
            result[at] = finished(*questions.estimate(inside), slice(None))
            result[closed] = -np.inf
            best = np.argpartition(-result[at], min(_SHORTLIST, len(at) - 1))[:_SHORTLIST]
            exact = finished(*questions.exact(inside, best), best)
            result[at] = np.minimum(result[at], exact.max())  # what was only estimated never beats what is known
            result[at[best]] = exact
        result[closed] = -np.inf
        return result

    def twins(self, question: int) -> np.ndarray:
        """Return the questions about meaning that are nearly the same as this one, itself left out.

        Objects count by their prior: under a posterior that has nearly settled on two of them, all questions worth
        asking would look alike.
        """
        if question not in self._twins:
            alike = np.zeros(0, dtype=np.int64)
            if not self.lexical[question]:
                place, scaled = int(self.table.place[question]), self._scaled
                alike = np.flatnonzero(np.abs(scaled[:, place] @ scaled) >= TWIN_CORRELATION)
                alike = self.table.stored[alike[alike != place]]
            self._twins[question] = alike
        return self._twins[question]

    @cached_property
    def _scaled(self) -> np.ndarray:
        """Centred, normalised answers of a sample of the objects, float32 [S, Qs]."""
        table = self.table
        chosen, shares = weighted_sample(np.asarray(table.objects.prior), _TWIN_SAMPLE, np.random.default_rng(0))
        theta = table.decode(table.by_object[chosen], table.stored, axis=1)
        root = np.sqrt(shares / shares.sum())[:, None]
        scaled = (theta - (root**2).T @ theta) * root
        return scaled / np.maximum(np.linalg.norm(scaled, axis=0), 1e-6)

    @cached_property
    def _semantic(self) -> DenseQuestions | SampledQuestions:
        table = self.table
        if len(table.objects) * len(table.stored) > _DENSE_CELLS:
            return SampledQuestions(table)
        return DenseQuestions(table.columns(table.stored), table.stored)

    @cached_property
    def _lexical(self) -> DenseQuestions | SampledQuestions:
        table = self.table
        if len(table.objects) * len(self._at_lexical) > _DENSE_CELLS:
            return SampledQuestions(table, lexical=True)
        return DenseQuestions(table.columns(self._at_lexical), self._at_lexical)


@lru_cache(maxsize=2)
def shipped_table(vocabulary: Vocabulary) -> PreparedTable:
    """Return the shipped table with a vocabulary, prepared once for all games of a process."""
    return PreparedTable(load_table(), vocabulary)
