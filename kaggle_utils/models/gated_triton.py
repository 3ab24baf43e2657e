"""One Triton kernel between the halves of a gated MLP in fp8: activation, product, row-wise quantisation in one pass.

Compiled torch operations need two passes over [tokens, 14,336] numbers, because the scale of a row is known only at its
end; here a row stays in registers. Whether it runs on the card at hand is probed before use (``fp8_mlp.py``).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

__all__ = ["gate_and_quantize"]


@triton.jit
def _gate(gate, up, values, scales, width, GELU: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803 (Triton's custom)
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(gate + row * width + column, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        y = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    else:
        y = x * tl.sigmoid(x)
    y = y * tl.load(up + row * width + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(y), axis=0), 1e-12) / 448.0
    tl.store(scales + row, scale)
    tl.store(values + row * width + column, (y / scale).to(tl.float8e4nv), mask=inside)


def gate_and_quantize(gate: torch.Tensor, up: torch.Tensor, *, gelu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """``act(gate) * up``, quantised by rows.

    Args:
        gate: bfloat16 [M, N], contiguous, N at most 65,536.
        up: the same shape.
        gelu: the tanh form of GELU, else SiLU.

    Returns:
        e4m3 [M, N] and float32 scales [M, 1].
    """
    rows, width = gate.shape
    values = torch.empty(rows, width, device=gate.device, dtype=torch.float8_e4m3fn)
    scales = torch.empty(rows, 1, device=gate.device, dtype=torch.float32)
    with torch.cuda.device(gate.device):
        block = triton.next_power_of_2(width)
        warps = 16 if block > 8192 else 8 if block > 2048 else 4
        _gate[(rows,)](gate, up, values, scales, width, GELU=gelu, BLOCK=block, num_warps=warps)
    return values, scales
