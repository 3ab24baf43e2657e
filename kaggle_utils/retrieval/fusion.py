"""Several rankings as one, by reciprocal ranks, so that scores of different kinds need no common scale.

It promises an order that depends only on the ranks, equal sums by index. It does not know what was searched: all
rankings must be over the same list of texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .retriever import Hit, Retriever, checked_texts

__all__ = ["FusedRetriever", "reciprocal_rank_fusion"]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Hit]], *, k: int, constant: float = 60.0, weights: Sequence[float] | None = None
) -> list[Hit]:
    """Return the ``k`` texts with the largest sum of ``weight / (constant + rank)``, ranks counted from 1.

    A text that a ranking lacks gets nothing from it. Costs O(hits log hits).
    Source: Cormack, Clarke and Büttcher 2009, who take the constant 60.

    Raises:
        ValueError: ``k`` below 1, a constant that is not above 0, or weights that are negative or too few or many.

    >>> first, second = [Hit(7, 3.0), Hit(2, 1.0)], [Hit(2, 0.9), Hit(5, 0.8)]
    >>> [hit.index for hit in reciprocal_rank_fusion([first, second], k=3)]
    [2, 7, 5]
    """
    shares = [1.0] * len(rankings) if weights is None else list(weights)
    _check(k, constant, shares, len(rankings))
    parts: dict[int, list[float]] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        seen: set[int] = set()
        for rank, hit in enumerate(ranking, start=1):
            if hit.index not in seen and share > 0:
                seen.add(hit.index)
                parts.setdefault(hit.index, []).append(share / (constant + rank))
    # fsum: the same parts in another order must tie, to the last bit
    sums = [Hit(index, math.fsum(found)) for index, found in parts.items()]
    return sorted(sums, key=lambda hit: (-hit.score, hit.index))[:k]


class FusedRetriever:
    """Several retrievers over the same texts, asked for ``depth`` hits each and fused by reciprocal ranks.

    A search costs the searches of all retrievers and O(depth) for each of them.

    Raises:
        ValueError: no retrievers, ``depth`` below 1, or a constant or weights that cannot work.
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever],
        *,
        depth: int = 100,
        constant: float = 60.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.retrievers, self.depth, self.constant = tuple(retrievers), depth, constant
        self.weights = None if weights is None else tuple(weights)
        if not self.retrievers:
            raise ValueError("there are no retrievers to fuse; give at least one")
        _check(depth, constant, self.weights or [1.0] * len(self.retrievers), len(self.retrievers))

    def search(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Return at most ``k`` fused hits per query; each retriever is asked for ``depth`` or ``k``, the larger."""
        found = checked_texts(queries, what="queries")
        depth = max(self.depth, k)
        answers = [retriever.search(found, k=depth) for retriever in self.retrievers]
        return [
            reciprocal_rank_fusion(rankings, k=k, constant=self.constant, weights=self.weights)
            for rankings in zip(*answers, strict=True)
        ]


def _check(k: int, constant: float, weights: Sequence[float], count: int) -> None:
    problems = []
    if k < 1:
        problems.append(f"the number of hits is {k}, expected 1 or more")
    if not constant > 0:
        problems.append(f"constant is {constant!r}, expected a number above 0 (60 is usual)")
    if len(weights) != count:
        problems.append(f"there are {len(weights)} weights for {count} rankings; give one each")
    if not all(weight >= 0 for weight in weights):
        problems.append(f"weights are {list(weights)}, expected 0 or more each")
    if problems:
        raise ValueError("these rankings cannot be fused:\n" + "\n".join(f"  - {p}" for p in problems))
