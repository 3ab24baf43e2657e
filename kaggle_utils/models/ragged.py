"""Attention row by row over packed rows, for devices without flex or varlen kernels (T4, P100, CPUs).

All other layers see one long row of a fixed size without padding, which is what lets the compiler fuse them; only here
is the pack taken apart. It is one opaque operator to the compiler. The work is the sum of the rows' squares, not the
square of the pack. It promises ordinary causal attention, with the scores in the dtype of the query as transformers has
them, and the softmax in float32.
"""

from __future__ import annotations

import functools
import itertools
import logging
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["fused_softmax", "ragged_operator"]

_logger = logging.getLogger(__name__)

_SCHEMA = "(Tensor query, Tensor key, Tensor value, Tensor ends, float scaling, float softcap, int window) -> Tensor"


@functools.lru_cache(maxsize=1)
def ragged_operator() -> Any:
    """The operator, registered with torch on first use.

    Its arguments: query [1, H, N, D], key and value [1, Hkv, N, D], ``ends`` (the rows' ends, int64 on the CPU, then
    any number of zeros; tokens after the last end are filler and get zeros), softcap and window (0 for none). It
    returns [1, N, H, D].
    """
    torch = require("torch", extra="llm")

    def ragged(query, key, value, ends, scaling, softcap, window):
        out = query.new_zeros(1, query.shape[2], query.shape[1], query.shape[3])
        start = 0
        for stop in itertools.takewhile(bool, map(int, ends.numpy())):
            part = slice(start, stop)
            limit = window if 0 < window < stop - start else 0
            attended = _row(query[:, :, part], key[:, :, part], value[:, :, part], scaling, softcap, limit)
            out[:, part] = attended.transpose(1, 2)
            start = stop
        return out

    operator = torch.library.custom_op("kaggle_utils::ragged_attention", ragged, mutates_args=(), schema=_SCHEMA)
    operator.register_fake(
        lambda query, key, value, *_: query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    )
    return operator


def _row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, softcap: float, window: int):
    """One row: query [1, H, n, D], key and value [1, Hkv, n, D] -> [1, H, n, D]."""
    torch = require("torch", extra="llm")
    heads, keys, length = query.shape[1], key.shape[1], query.shape[2]
    if not softcap and not window:
        attend = torch.nn.functional.scaled_dot_product_attention
        if heads != keys and query.is_cuda:
            # Before compute capability 8.0 torch has one fused kernel, and it cannot share key heads: asked to, torch
            # would quietly take the slow one.
            key, value = (t.repeat_interleave(heads // keys, dim=1) for t in (key, value))
        return attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=heads != key.shape[1])
    # Heads that share a key head are laid into one long query, so that keys are never copied per head.
    grouped = (query * scaling).reshape(1, keys, heads // keys * length, query.shape[3])
    scores = (grouped @ key.transpose(2, 3)).view(1, keys, heads // keys, length, length)
    weights = fused_softmax(scores.device)(scores, cap=softcap, window=window)
    return (weights.view(1, keys, heads // keys * length, length) @ value).view(1, heads, length, -1)


@functools.lru_cache(maxsize=None)  # noqa: UP033 (a handful of devices)
def fused_softmax(device: torch.device) -> Any:
    """The Triton kernel where it compiles and gives the right numbers on ``device``, else torch's operations."""
    torch = require("torch", extra="llm")
    if device.type != "cuda":
        return _plain_softmax
    try:
        from kaggle_utils.models.softmax_triton import softmax_in_place

        probe = torch.randn(3, 70, 70, device=device, dtype=torch.float16) * 30
        wanted = _plain_softmax(probe.float(), cap=50.0, window=40).half()
        found = softmax_in_place(probe.clone(), cap=50.0, window=40)
        if not torch.allclose(found, wanted, atol=2e-3):
            raise RuntimeError(f"it is off by {(found - wanted).abs().max().item():.3g}")
    except Exception as error:  # no Triton, no compiler, a card it does not know: slower, never wrong
        _logger.warning("fused softmax is not used on %s: %s: %s", device, type(error).__name__, error)
        return _plain_softmax
    return softmax_in_place


def _plain_softmax(scores: torch.Tensor, *, cap: float, window: int) -> torch.Tensor:
    """The same with torch's operations; one row's scores are small enough to be masked by a matrix."""
    torch = require("torch", extra="llm")
    length = scores.shape[-1]
    position = torch.arange(length, device=scores.device)
    unseen = position[None, :] > position[:, None]
    if window:
        unseen |= position[None, :] <= position[:, None] - window
    if cap:
        scores = scores.div_(cap).tanh_().mul_(cap)
    weights = scores.masked_fill_(unseen, float("-inf"))
    return torch.softmax(weights, dim=-1, dtype=torch.float32).to(scores.dtype)
