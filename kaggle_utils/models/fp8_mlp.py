"""Gated MLPs whose three products are fp8: what lies between the products in one kernel.

It promises the same numbers as the three layers one by one, up to a unit in the last place of e4m3. Where Triton or the
kernel does not work, the MLP is left as it is.
"""

from __future__ import annotations

import functools
import logging
import types
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.fp8_rows import quantize_rows

if TYPE_CHECKING:
    import torch

__all__ = ["fuse_gated_mlps", "gated_operator"]

_logger = logging.getLogger(__name__)

_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
_SILU = ("silu", "swish")


def fuse_gated_mlps(model: torch.nn.Module) -> int:
    """Put the kernel between the fp8 layers of every gated MLP, in place; returns how many MLPs were changed.

    An MLP with a layer kept in bfloat16, with another activation, or on a device without the kernel stays as it is.
    """
    config = model.config
    name = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    if name not in _GELU + _SILU:
        return 0
    parts = ("gate_proj", "up_proj", "down_proj")
    found = [m for m in model.modules() if all(hasattr(getattr(m, part, None), "multiply") for part in parts)]
    if not found or not _works(found[0].down_proj.weight.device):
        return 0
    operator, gelu = gated_operator(), name in _GELU

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        values, scale = operator(self.gate_proj(rows), self.up_proj(rows), gelu)
        return self.down_proj.multiply(values, scale).view(*x.shape[:-1], -1)

    for module in found:
        module.forward = types.MethodType(forward, module)
    return len(found)


@functools.lru_cache(maxsize=1)
def gated_operator() -> Any:
    """The kernel as an operator that the compiler takes as it is; registered with torch on first use.

    ``(gate [M, N], up [M, N], gelu) -> (e4m3 [M, N], float32 [M, 1])``.
    """
    torch = require("torch", extra="llm")

    def gated(gate, up, gelu):
        if not gate.is_cuda:
            return _plain_gate(gate, up, gelu)
        from kaggle_utils.models.gated_triton import gate_and_quantize

        return gate_and_quantize(gate.contiguous(), up.contiguous(), gelu=gelu)

    schema = "(Tensor gate, Tensor up, bool gelu) -> (Tensor, Tensor)"
    operator = torch.library.custom_op("kaggle_utils::gate_and_quantize", gated, mutates_args=(), schema=schema)
    operator.register_fake(
        lambda gate, up, gelu: (
            gate.new_empty(gate.shape, dtype=torch.float8_e4m3fn),
            gate.new_empty((gate.shape[0], 1), dtype=torch.float32),
        )
    )
    return operator


def _plain_gate(gate: torch.Tensor, up: torch.Tensor, gelu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in torch's operations, in float32 between the products as the kernel has it."""
    functional = require("torch", extra="llm").nn.functional
    wide = gate.float()
    return quantize_rows((functional.gelu(wide, approximate="tanh") if gelu else functional.silu(wide)) * up.float())


@functools.lru_cache(maxsize=None)  # noqa: UP033 (a handful of devices)
def _works(device: torch.device) -> bool:
    """Run the kernel once and compare; a card or a Triton that it does not suit is told in the log."""
    torch = require("torch", extra="llm")
    if device.type != "cuda":
        return False
    try:
        gate, up = torch.randn(2, 5, 300, device=device, dtype=torch.bfloat16) * 3
        for gelu in (True, False):
            values, scale = gated_operator()(gate, up, gelu)
            wanted, wanted_scale = _plain_gate(gate, up, gelu)
            off = (values.float() * scale - wanted.float() * wanted_scale).abs().amax(dim=1, keepdim=True) / scale
            if not (off <= 32).all():  # one step of e4m3 near its largest number, 448; NaN is not
                raise RuntimeError(f"it is off by {off.max().item():.3g} of at most 32")
    except Exception as error:  # no Triton, no compiler: slower, never wrong
        _logger.warning("fp8 MLPs are not fused on %s: %s: %s", device, type(error).__name__, error)
        return False
    return True
