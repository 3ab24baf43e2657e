"""Block masks of packed rows: which 128 x 128 tiles of the attention matrix a kernel has to visit.

It promises the mask of "each row sees itself, causally, within the window", made from lengths alone in O(blocks^2) of
numpy, without the N x N matrix that ``create_block_mask`` fills. It does not know models or kernels.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.transfer import to_device

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["BLOCK", "document_block_mask", "first_visible"]

BLOCK = 128
"""Side of a tile in tokens; flex attention's default."""


def first_visible(lengths: Sequence[int], total: int, *, window: int | None = None) -> np.ndarray:
    """For each token of a pack, the first position that it may look at: int32 [total].

    Tokens after the last row are filler: each sees only itself, so that no softmax is empty.

    >>> first_visible([3, 2], 7)
    array([0, 0, 0, 3, 3, 5, 6], dtype=int32)
    >>> first_visible([3, 2], 7, window=2)
    array([0, 0, 1, 3, 3, 5, 6], dtype=int32)
    """
    used = int(sum(lengths))
    if used > total:
        raise ValueError(f"rows of {used} tokens do not fit a pack of {total}; cut the pack or raise its size")
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths) if len(lengths) else np.empty(0)
    lower = np.concatenate([starts, np.arange(used, total)]).astype(np.int32)
    if window is not None:
        lower = np.maximum(lower, np.arange(total, dtype=np.int32) - (window - 1))
    return lower


def document_block_mask(
    lengths: Sequence[int], total: int, *, device: object, window: int | None = None, block: int = BLOCK
) -> BlockMask:
    """The flex-attention mask of rows packed one after another.

    Args:
        lengths: tokens of each row, in order of the pack.
        total: tokens of the whole pack, a multiple of ``block``; what the rows leave over is filler.
        device: where the kernel runs.
        window: how many tokens back (itself included) a token sees; None for no limit.
    """
    if total % block:
        raise ValueError(f"a pack of {total} tokens is no multiple of the block size {block}")
    torch = require("torch", extra="llm")
    flex = require("torch.nn.attention.flex_attention", extra="llm")
    lower = first_visible(lengths, total, window=window)
    partial, full = _tiles(lower, block)
    listed = [a for tiles in (partial, full) for a in _listed(tiles)]
    together = to_device(np.concatenate([lower, *(a.reshape(-1) for a in listed)]), torch.device(device))
    visible, *rest = together.split([total, *(a.size for a in listed)])
    counts_and_indices = [t.view(1, 1, *a.shape) for t, a in zip(rest, listed, strict=True)]

    def mask_mod(batch, head, query, key):
        return (key <= query) & (key >= visible[query])

    return flex.BlockMask.from_kv_blocks(
        *counts_and_indices, BLOCK_SIZE=block, mask_mod=mask_mod, seq_lengths=(total, total), **_forward_only()
    )


@functools.lru_cache(maxsize=1)
def _forward_only() -> dict[str, bool]:
    """Leave out what only a backward pass reads, where this torch can."""
    flex = require("torch.nn.attention.flex_attention", extra="llm")
    parameters = inspect.signature(flex.BlockMask.from_kv_blocks).parameters
    return {"compute_q_blocks": False} if "compute_q_blocks" in parameters else {}


def _tiles(lower: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Boolean [blocks, blocks] twice: tiles with some allowed pairs, and tiles where every pair is allowed."""
    query = np.arange(len(lower) // block)[:, None]
    key = query.T
    first = lower.reshape(-1, block).min(axis=1)[:, None] // block
    first_full = -(-lower.reshape(-1, block).max(axis=1)[:, None] // block)
    full = (key >= first_full) & (key < query)
    return (key >= first) & (key <= query) & ~full, full


def _listed(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of set tiles a row, and their indices first: int32 [blocks], int32 [blocks, blocks]."""
    return tiles.sum(axis=1).astype(np.int32), np.argsort(~tiles, axis=1, kind="stable").astype(np.int32)
