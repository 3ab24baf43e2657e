"""Linear layers in 8-bit floating point, for GPUs that multiply it (compute capability 8.9 and newer).

Weights are stored as e4m3 with one scale per output channel, activations are scaled per token on the fly, products run
in torch's own ``_scaled_mm`` and come back in bfloat16. It promises no accuracy: measure it on your rows with
``kaggle_utils.inference`` and keep the layers that hurt in bfloat16 with ``keep``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaggle_utils._optional import require
from kaggle_utils.models.fp8_mlp import fuse_gated_mlps
from kaggle_utils.models.fp8_rows import E4M3_MAX, quantize_rows

if TYPE_CHECKING:
    import torch

__all__ = ["fp8_supported", "to_fp8"]


def fp8_supported(capability: tuple[int, int] | None) -> bool:
    """Whether a device of this compute capability multiplies e4m3 in hardware.

    >>> fp8_supported((7, 5)), fp8_supported((9, 0)), fp8_supported(None)
    (False, True, False)
    """
    return capability is not None and capability >= (8, 9)


def to_fp8(model: torch.nn.Module, *, keep: Sequence[str] = ()) -> list[str]:
    """Replace the linear layers of the decoder layers by fp8 ones, in place, one at a time; returns their names.

    Args:
        model: a bfloat16 model with ``model.model.layers`` (Gemma-2, Llama, Mistral, Qwen).
        keep: regular expressions; a layer whose dotted name one of them matches somewhere stays in bfloat16.

    The score head and the embeddings always stay. Memory of the weights falls to half.
    """
    torch = require("torch", extra="llm")
    layer_class = _linear_class()
    kept = [re.compile(pattern) for pattern in keep]
    linears = {
        name: module
        for name, module in model.named_modules()
        if ".layers." in f".{name}" and isinstance(module, torch.nn.Linear)
    }
    chosen = [name for name in linears if not any(pattern.search(name) for pattern in kept)]
    if unused := [p.pattern for p in kept if not any(p.search(name) for name in linears)]:
        raise ValueError(f"keep={unused} matches no layer; layer names look like {list(linears)[:2]}")
    unfit = [n for n in chosen if not linears[n].weight.is_floating_point() or ".lora_" in n or ".base_layer" in n]
    if unfit:
        raise ValueError(
            f"{len(unfit)} layers are quantised already or carry an unmerged adapter, such as {unfit[0]}; "
            "load with merge='merged' and without quantisation, or name them in keep"
        )
    for name in chosen:
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer_class(linears.pop(name)))
    fuse_gated_mlps(model)
    return chosen


def _linear_class() -> type[torch.nn.Module]:
    """The layer's class, made on first use so that importing this module needs no torch."""
    global _Float8Linear
    if _Float8Linear is None:
        torch = require("torch", extra="llm")

        class Float8Linear(torch.nn.Module):
            """``y = x W^T`` with e4m3 operands; [..., K] bfloat16 -> [..., N] bfloat16."""

            def __init__(self, linear: torch.nn.Linear) -> None:
                super().__init__()
                if linear.bias is not None:
                    self.register_buffer("bias", linear.bias.detach().to(torch.bfloat16))
                else:
                    self.bias = None
                values, scale = quantize_rows(linear.weight.detach())
                self.register_buffer("weight", values)
                self.register_buffer("scale", scale.t().contiguous())

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                rows = x.reshape(-1, x.shape[-1])
                scale = rows.abs().amax(dim=1, keepdim=True).float().clamp_min(1e-12) / E4M3_MAX
                values = (rows.float() / scale).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
                return self.multiply(values, scale).view(*x.shape[:-1], -1)

            def multiply(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
                """Rows that are quantised already: e4m3 [M, K] and float32 [M, 1] -> bfloat16 [M, N]."""
                return torch._scaled_mm(
                    values, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias,
                    out_dtype=torch.bfloat16, use_fast_accum=True,
                )  # fmt: skip

        _Float8Linear = Float8Linear
    return _Float8Linear


_Float8Linear = None
