"""Rows of words that are neither in the table nor found by their spelling: a language model fills them on the fly.

When the out-of-vocabulary slot has grown, the model is asked for keywords that fit the transcript. The row of each,
P(yes) for every question that was asked, comes from the same model, by rule where spelling decides, and with it the
word joins the game (``Questioner.add_words``). Rows are kept, so that each turn costs only the cells that are new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kaggle_utils.q20.questions import parse_question

__all__ = ["ProposedRows"]


class ProposedRows:
    """P(yes) for proposed words and asked questions, filled on the fly.

    >>> rows = ProposedRows(lambda pairs: [0.9] * len(pairs))
    >>> rows.theta(["cat"], ["Is it alive?", "Does the keyword start with the letter 'd'?"]).round(2).tolist()
    [[0.9, 0.0]]
    """

    def __init__(self, answer: Callable[[Sequence[tuple[str, str]]], Sequence[float]]) -> None:
        """Take what gives P(yes) for pairs of a word and a question about meaning."""
        self._answer = answer
        self._cells: dict[tuple[str, str], float] = {}

    def theta(self, words: Sequence[str], questions: Sequence[str]) -> np.ndarray:
        """Return P(yes), float64 [len(words), len(questions)]; the model is asked only for cells that are new."""
        cells = self._cells
        pairs = [(word, question) for word in words for question in questions]
        for word, question in pairs:
            rule = parse_question(question) if (word, question) not in cells else None
            if rule is not None:
                cells[word, question] = float(rule.holds(word))
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in cells]
        if missing:
            found = np.asarray(self._answer(missing), dtype=np.float64)
            cells.update(zip(missing, np.where(np.isfinite(found), found, 0.5).clip(0.02, 0.98).tolist(), strict=True))
        return np.array([cells[pair] for pair in pairs]).reshape(len(words), len(questions))
