"""What every retriever answers, and how the best of many scores are chosen.

It promises one order everywhere: better scores first, equal scores by index. It does not know where scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

__all__ = ["Hit", "Retriever", "best_hits", "checked_texts", "distinct_texts"]


@dataclass(frozen=True)
class Hit:
    """One text that was found."""

    index: int
    """Position of the text in the list that was indexed."""
    score: float
    """Larger is better. Only scores of the same retriever and query can be compared."""


@runtime_checkable
class Retriever(Protocol):
    """Something that finds texts. Implementations keep the order of the queries."""

    def search(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Return at most ``k`` hits per query, best first, equal scores by index."""
        ...


def best_hits(scores: np.ndarray, *, k: int, above: float = -np.inf) -> list[Hit]:
    """Return the ``k`` best of ``scores`` (n,), best first, equal scores by index; only scores over ``above`` count.

    Costs O(n) for the choice and O(m log m) for the m scores that reach the k-th best.

    Raises:
        ValueError: ``k`` is less than 1.

    >>> [hit.index for hit in best_hits(np.array([0.5, 2.0, 0.0, 2.0]), k=3)]
    [1, 3, 0]
    >>> best_hits(np.zeros(4), k=3, above=0.0)
    []
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected the number of hits wanted, 1 or more")
    kept = np.flatnonzero(scores > above)
    if len(kept) > k:  # the k-th best is the floor; all that reach it take part, so that ties go by index
        values = scores[kept]
        kept = kept[values >= np.partition(values, len(values) - k)[len(values) - k]]
    order = np.lexsort((kept, -scores[kept]))[:k]
    return [Hit(int(index), float(scores[index])) for index in kept[order]]


def checked_texts(texts: Sequence[str], *, what: str) -> list[str]:
    """Return ``texts`` as a list; ``what`` names them in errors.

    Raises:
        TypeError: a single str, which would be read as one text for each character, or things that are no str.
    """
    if isinstance(texts, str):
        raise TypeError(f"{what} is one str; give a list of them: [{texts[:20]!r}]")
    found = list(texts)
    wrong = [f"{i} ({type(text).__name__})" for i, text in enumerate(found) if not isinstance(text, str)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TypeError(f"{what} has no str at {', '.join(wrong[:5])}{more}; turn them into text")
    return found


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the different texts in the order of their first appearance, and for each text which of them it is (n,).

    Equal texts are encoded and scored once, so that their scores are equal to the last bit and ties go by index.

    >>> distinct_texts(["a", "b", "a"])
    (['a', 'b'], array([0, 1, 0]))
    """
    numbers: dict[str, int] = {}
    which = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    return list(numbers), which
