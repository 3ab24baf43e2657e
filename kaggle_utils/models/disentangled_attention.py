"""Disentangled attention of DeBERTa-v2/v3 over packed rows, without score-sized gathers.

    score(i, j) = (q_i . k_j + q_i . pk[i - j] + k_j . pq[i - j]) / sqrt(3 d)

(He et al. 2021, "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", equation 4). The projected position
tables are laid out by distance, not by bucket: then a query's position scores are a slice of one product, shifted by
one from query to query, and nothing has to be looked up. It promises the numbers of transformers' eager layers up to
rounding, forward and in gradients. Time and memory grow with tokens x longest row.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.disentangled_operator import BLOCK, attention_operator, kernels_fit, kernels_work

if TYPE_CHECKING:
    import torch

__all__ = ["choose_disentangled_attention", "distance_index", "reference_attention", "window_of"]


def window_of(longest: int) -> int:
    """The window for rows of at most ``longest`` tokens: the next multiple of the kernels' tile.

    >>> window_of(1), window_of(512), window_of(513)
    (64, 512, 576)
    """
    return max(1, -(-longest // BLOCK)) * BLOCK


def distance_index(window: int, *, buckets: int, farthest: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Which line of the relative embeddings belongs to each distance: int64 [2 window], distance d at d + window.

    Args:
        window: a multiple of 64, at least the longest row.
        buckets: ``position_buckets`` of the config; 0 or less where every distance has a line of its own.
        farthest: ``max_relative_positions`` of the config, or ``max_position_embeddings`` where that is below 1.
        device: where the index should lie.
    """
    torch = require("torch", extra="llm")
    logarithmic = require("transformers.models.deberta_v2.modeling_deberta_v2", extra="llm").make_log_bucket_position
    distance = torch.arange(-window, window)
    span = farthest
    if buckets > 0:
        distance, span = logarithmic(distance, buckets, farthest).long(), buckets
    return (distance + span).clamp(0, 2 * span - 1).to(device)


def choose_disentangled_attention(dtype: torch.dtype, device: torch.device, *, heads: int, size: int) -> Any:
    """The fused operator where its kernels pass a probe, else :func:`reference_attention`.

    Both are called as ``attend(projected, tables, starts, seed, window, scale, dropout)``:

        projected: queries, keys and values, [T, 3, H, D] of ``dtype`` on ``device``.
        tables: relative embeddings by distance, projected as queries and as keys, [2 window, 2, H, D].
        starts: where rows begin, and the end of the last, int32 [rows + 1].
        seed: int64 [1] on the device, what is dropped depends on it (fused only).
        window: :func:`window_of` the longest row.
        scale: what scores are multiplied by.
        dropout: share of the probabilities that is dropped.

    They return [T, H, D].
    """
    if not (kernels_fit(dtype, device, heads=heads, size=size) and kernels_work(device, dtype, size)):
        return reference_attention
    return _fused_attention()


@functools.lru_cache(maxsize=1)
def _fused_attention() -> Any:
    """One function, so that whoever compiles around it compiles once."""
    operator = attention_operator()
    return lambda *inputs: operator(*inputs)[0]


def reference_attention(
    projected: torch.Tensor, tables: torch.Tensor, starts: torch.Tensor, seed: torch.Tensor | None, window: int,
    scale: float, dropout: float,
) -> torch.Tensor:  # fmt: skip
    """Attention in torch's operations, row by row: on a CPU, in float32, and where the kernels do not work.

    Arguments as in :func:`choose_disentangled_attention`; ``seed`` is not used, torch's own generator is.
    """
    torch = require("torch", extra="llm")
    bounds = starts.tolist()
    rows = [
        _row(*projected[a:b].permute(1, 2, 0, 3), *tables.unbind(1), window, scale, dropout)
        for a, b in itertools.pairwise(bounds) if b > a
    ]  # fmt: skip
    return torch.cat(rows).to(projected.dtype) if rows else torch.zeros_like(projected[:, 0])


def _row(query, key, value, query_table, key_table, window: int, scale: float, dropout: float) -> torch.Tensor:
    """One row: [H, L, D] each -> [L, H, D]."""
    functional = require("torch", extra="llm").nn.functional
    length = query.shape[1]
    part = slice(window - length + 1, window + length)  # distances 1 - L to L - 1
    to_position = _sheared(query @ key_table[part].flip(0).permute(1, 2, 0))
    to_content = _sheared(key @ query_table[part].permute(1, 2, 0)).transpose(1, 2)
    scores = (query @ key.transpose(1, 2) + to_position + to_content) * scale
    weights = functional.dropout(scores.float().softmax(-1), dropout, training=dropout > 0)
    return (weights.to(value.dtype) @ value).transpose(0, 1)


def _sheared(products: torch.Tensor) -> torch.Tensor:
    """[H, L, 2L - 1] by line i and t = j - i + L - 1 -> [H, L, L] by i and j: views only."""
    heads, length, width = products.shape
    if width == 1:
        return products
    flat = products.flatten(1)[:, length - 1 : length - 1 + length * (width - 1)]
    return flat.view(heads, length, width - 1)[:, :, :length]
