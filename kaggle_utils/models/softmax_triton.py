"""One Triton kernel for cards without flex attention: soft-cap, causal mask, window and softmax in one pass.

It touches each score once where torch's own operations touch it six times. It needs Triton and a CUDA device; whether
it runs on the card at hand is probed before use (``ragged.py``), never assumed. This is the one module that imports
Triton, and nothing imports it before it is needed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

__all__ = ["softmax_in_place"]


@triton.jit
def _softmax(scores, length, cap, window, CAPPED: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803 (Triton's custom)
    row = tl.program_id(0).to(tl.int64)
    query = row % length
    key = tl.arange(0, BLOCK)
    seen = (key <= query) & (key > query - window)
    value = tl.load(scores + row * length + key, mask=seen, other=0.0).to(tl.float32)
    if CAPPED:
        value = cap - 2 * cap / (tl.exp(value * (2 / cap)) + 1)
    value = tl.where(seen, value, float("-inf"))
    value = tl.exp(value - tl.max(value, axis=0))
    value = value / tl.sum(value, axis=0)
    tl.store(scores + row * length + key, value.to(scores.dtype.element_ty), mask=key < length)


def softmax_in_place(scores: torch.Tensor, *, cap: float, window: int) -> torch.Tensor:
    """Turn scores [..., L, L] (contiguous, half or float) into weights, in place; ``cap`` 0 and ``window`` 0 mean none.

    A row of L scores is kept in registers, so L is at most 16,384.
    """
    length = scores.shape[-1]
    block = triton.next_power_of_2(length)
    warps = 1 if block <= 256 else 4 if block <= 2048 else 8
    with torch.cuda.device(scores.device):
        _softmax[(scores.numel() // length,)](
            scores, length, cap or 1.0, window or length, CAPPED=bool(cap), BLOCK=block, num_warps=warps
        )
    return scores
