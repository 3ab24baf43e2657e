"""The tanh form of GELU, written with a sigmoid.

``0.5 x (1 + tanh(u))`` is ``x sigmoid(2 u)``: the same number, but ``tanh`` is a library call in compiled kernels and
the sigmoid two instructions. It pays where the activation is fused with something that already keeps the arithmetic
units busy (row-wise fp8 quantisation of its result); elsewhere it changes nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["use_sigmoid_gelu"]

_SLOPE = 1.5957691216057308  # 2 sqrt(2 / pi)
_TANH_FORMS = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")


def use_sigmoid_gelu(model: torch.nn.Module) -> int:
    """Exchange the activation of every gated MLP that uses the tanh form of GELU; returns how many were."""
    config = model.config
    name = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    if name not in _TANH_FORMS:
        return 0
    layers = [module for module in model.modules() if hasattr(module, "act_fn")]
    for module in layers:
        module.act_fn = _gelu_class()()
    return len(layers)


@functools.lru_cache(maxsize=1)  # one class: the compiler makes a graph anew for every class that it meets
def _gelu_class() -> type[torch.nn.Module]:
    torch = require("torch", extra="llm")

    class SigmoidGelu(torch.nn.Module):
        """GELU's tanh form, computed in float32 as torch does."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = x.float()
            return (wide * torch.sigmoid(_SLOPE * (wide + 0.044715 * wide * wide * wide))).to(x.dtype)

    return SigmoidGelu
