"""Rows of unequal length into packs of at most so many tokens, the longest rows first.

It promises that every row is in exactly one pack and that no pack is over the budget. It knows lengths only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Pack", "token_budget_packs"]


@dataclass(frozen=True)
class Pack:
    """Rows that go through a model together, the longest first."""

    rows: tuple[int, ...]
    """Row numbers."""
    tokens: int
    """What the pack costs: the sum of its lengths, or rows times the longest where it is padded."""


def token_budget_packs(lengths: Sequence[int] | np.ndarray, *, max_tokens: int, padded: bool) -> list[Pack]:
    """Group rows so that no pack holds more than ``max_tokens`` tokens; packs with the longest rows come first.

    With ``padded=True`` a pack costs rows x longest, and neighbours in length go together. With ``padded=False`` it
    costs the sum, and each pack is filled up with the longest rows that still fit, so that nearly all packs are full.
    Rows of equal length keep their order. O(n log n).

    >>> token_budget_packs([3, 9, 4, 4], max_tokens=12, padded=True)
    [Pack(rows=(1,), tokens=9), Pack(rows=(2, 3, 0), tokens=12)]
    >>> token_budget_packs([3, 9, 4, 4], max_tokens=12, padded=False)
    [Pack(rows=(1, 0), tokens=12), Pack(rows=(2, 3), tokens=8)]

    Raises:
        ValueError: rows longer than ``max_tokens`` or shorter than one token, all named.
    """
    sizes = np.asarray(lengths, dtype=np.int64).reshape(-1)
    _check(sizes, max_tokens)
    order = np.argsort(-sizes, kind="stable").tolist()
    return _padded(order, sizes.tolist(), max_tokens) if padded else _filled(order, sizes.tolist(), max_tokens)


def _check(sizes: np.ndarray, max_tokens: int) -> None:
    problems = []
    for wrong, what in ((sizes > max_tokens, f"over max_tokens={max_tokens}"), (sizes < 1, "without a token")):
        rows = np.flatnonzero(wrong)
        if len(rows):
            shown = ", ".join(f"row {row} ({sizes[row]} tokens)" for row in rows[:10])
            problems.append(f"{len(rows)} {what}: {shown}{', ...' if len(rows) > 10 else ''}")
    if problems:
        raise ValueError("; ".join(problems) + "; truncate such rows first, or raise max_tokens")


def _padded(order: list[int], sizes: list[int], max_tokens: int) -> list[Pack]:
    packs, start = [], 0
    while start < len(order):
        longest = sizes[order[start]]
        rows = tuple(order[start : start + max_tokens // longest])
        packs.append(Pack(rows, len(rows) * longest))
        start += len(rows)
    return packs


def _filled(order: list[int], sizes: list[int], max_tokens: int) -> list[Pack]:
    waiting: dict[int, list[int]] = {}
    for row in reversed(order):  # so that pop() gives the rows of one length in their order
        waiting.setdefault(sizes[row], []).append(row)
    # shorter[n] leads to the longest waiting length <= n: a forest whose paths shrink each time they are walked
    shorter = np.arange(max(waiting, default=0) + 1)
    present = np.zeros(len(shorter), dtype=bool)
    present[list(waiting)] = True
    parents = np.maximum.accumulate(np.where(present, shorter, 0)).tolist()
    packs: list[Pack] = []
    left = len(order)
    while left:
        rows, room = [], max_tokens
        while size := _longest(parents, min(room, len(parents) - 1)):
            rows.append(waiting[size].pop())
            room -= size
            if not waiting[size]:
                parents[size] = size - 1
        packs.append(Pack(tuple(rows), max_tokens - room))
        left -= len(rows)
    return packs


def _longest(parents: list[int], length: int) -> int:
    """Return the root of ``length``: the longest waiting length that is not longer, 0 where none is left."""
    root = length
    while parents[root] != root:
        root = parents[root]
    while parents[length] != root:
        parents[length], length = root, parents[length]
    return root
