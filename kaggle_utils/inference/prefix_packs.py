"""Prompts that begin alike, laid into one sequence in which every shared beginning stands once.

It promises that each prompt sees exactly its own tokens, at their own positions: a token attends to its ancestors in
the tree that the prompts form, whatever else stands in the pack. It knows no model; numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PrefixPack", "pack_prefixes", "shared_length", "split_packs"]


@dataclass(frozen=True)
class PrefixPack:
    """Prompts as a tree of tokens, in one row."""

    ids: np.ndarray
    """int64 [T]: the tokens, each shared beginning once."""
    positions: np.ndarray
    """int64 [T]: where a token stands in its prompt, from 0."""
    mask: np.ndarray
    """bool [T, T]: ``mask[i, j]`` where token i may look at token j."""
    ends: np.ndarray
    """int64 [rows]: where each prompt's last token is, in the order of the prompts given."""


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts begin with in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5]), shared_length([1], [2])
    (2, 0)
    """
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def split_packs(rows: Sequence[Sequence[int]], *, max_tokens: int) -> list[list[int]]:
    """Return the indices of ``rows`` in groups whose packs hold at most ``max_tokens`` tokens.

    Prompts with the same beginning stand together (the order is the tokens' own). A prompt longer than ``max_tokens``
    is alone in its group. Costs O(n log n) comparisons of prompts.

    >>> split_packs([[1, 2, 3], [7, 8], [1, 2, 4], [1, 2, 3]], max_tokens=4)
    [[0, 3, 2], [1]]
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index])
    packs: list[list[int]] = []
    size = 0
    for place, index in enumerate(order):
        new = len(rows[index]) - (shared_length(rows[order[place - 1]], rows[index]) if place else 0)
        if not packs or size + new > max_tokens:
            packs.append([index])
            size = len(rows[index])
        else:
            packs[-1].append(index)
            size += new
    return packs


def pack_prefixes(rows: Sequence[Sequence[int]], *, multiple: int = 1) -> PrefixPack:
    """Lay ``rows`` into one pack; sorted rows share all they can.

    Args:
        rows: prompts, none empty.
        multiple: the length is filled up to a multiple of this with tokens 0 that see and are seen by nobody else.

    >>> pack = pack_prefixes([[5, 6, 7], [5, 6, 8]])
    >>> pack.ids.tolist(), pack.positions.tolist(), pack.ends.tolist(), pack.mask[3].tolist()
    ([5, 6, 7, 8], [0, 1, 2, 2], [2, 3], [True, True, False, True])
    """
    if any(len(row) == 0 for row in rows):
        raise ValueError("an empty prompt has no last token; encode it with a chat template")
    ids: list[int] = []
    positions: list[int] = []
    paths: list[tuple[int, np.ndarray]] = []  # per row: tokens taken over from the row before, all its tokens
    path, before = np.empty(0, dtype=np.int64), ()  # type: tuple[np.ndarray, Sequence[int]]
    for row in rows:
        kept = shared_length(before, row)
        path = np.concatenate([path[:kept], np.arange(len(ids), len(ids) + len(row) - kept)])
        ids += row[kept:]
        positions += range(kept, len(row))
        paths.append((kept, path))
        before = row
    size = -(-len(ids) // multiple) * multiple
    mask = np.eye(size, dtype=bool)
    for kept, path in paths:
        new = path[kept:]
        mask[new[:, None], path[:kept]] = True
        mask[new[:, None], new] = np.tri(len(new), dtype=bool)
    fill = [0] * (size - len(ids))
    ends = np.array([path[-1] for _, path in paths], dtype=np.int64)
    return PrefixPack(np.array(ids + fill), np.array(positions + fill), mask, ends)
