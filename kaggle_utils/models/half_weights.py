"""16-bit copies of float32 weights, made in one go; their gradients come back as float32, in one go too.

Autocast casts each weight by itself, wherever it is used: a dozen kernels a layer and pass that compute next to
nothing, and each has to be launched. It promises the same copies and gradients. Time and memory grow with the weights:
a copy of them lives from the forward to the backward pass.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["half_weights"]


def half_weights(groups: Sequence[Sequence[torch.Tensor]], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return each group of tensors as one of ``dtype``, one below another.

    Args:
        groups: tensors of one device and dtype; those of a group agree in all but their first dimension.
        dtype: float16 or bfloat16.

    Gradients reach every tensor once those of all groups are there, so what is not used together, or is not trained,
    is better copied apart.
    """
    sizes = tuple(tuple(len(tensor) for tensor in group) for group in groups)
    return _function().apply(sizes, dtype, *(tensor for group in groups for tensor in group))


@functools.lru_cache(maxsize=1)
def _function() -> Any:
    """Made on first use, because it needs torch."""
    torch = require("torch", extra="llm")

    class HalfWeights(torch.autograd.Function):
        @staticmethod
        def forward(ctx, sizes, dtype, *tensors):
            ctx.sizes, ctx.dtype = sizes, tensors[0].dtype
            given, groups, parts = iter(tensors), [], []
            for group in sizes:
                rest = [next(given) for _ in group]
                groups.append(rest[0].new_empty((sum(group), *rest[0].shape[1:]), dtype=dtype))
                parts += _parts(groups[-1], group)
            torch._foreach_copy_(parts, list(tensors))
            return tuple(groups)

        @staticmethod
        def backward(ctx, *gradients):
            parts = [
                part for gradient, sizes in zip(gradients, ctx.sizes, strict=True) for part in _parts(gradient, sizes)
            ]
            found = [torch.empty(part.shape, device=part.device, dtype=ctx.dtype) for part in parts]
            torch._foreach_copy_(found, parts)
            return None, None, *found

    return HalfWeights


def _parts(tensor: torch.Tensor, sizes: Sequence[int]) -> Sequence[torch.Tensor]:
    return tensor.split(sizes) if len(sizes) > 1 else (tensor,)
