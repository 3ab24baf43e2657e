"""4-bit linear layers for scoring: expanded once a pack, with the adapter folded into the expanded weight.

bitsandbytes' own layer works for any call; this one is for large packs in one forward pass. It expands the packed
weight to half precision, adds the low-rank update B A to it (a product of rank 16 costs less than two products over
8,000 tokens each), and multiplies once. It promises the same numbers up to rounding, and a graph without breaks for the
compiler. It cannot train.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["expand_layers", "fold_nf4"]


def fold_nf4(model: torch.nn.Module) -> int:
    """Replace every 4-bit layer of bitsandbytes, with or without a LoRA around it, in place; returns how many.

    Adapters that are inactive or disabled are left out; one with dropout is folded as in evaluation.
    """
    bitsandbytes = require("bitsandbytes", extra="llm")
    layer_class = _folded_class()
    found = []
    for name, module in model.named_modules():
        base = getattr(module, "base_layer", module)
        inside_wrapper = name.endswith(".base_layer")
        if isinstance(base, bitsandbytes.nn.Linear4bit) and not inside_wrapper:
            found.append((name, module, base))
    _check_foldable(found)
    for name, module, base in found:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer_class(base, *_low_rank(module)))
    return len(found)


def expand_layers(model: torch.nn.Module, *, dtype: torch.dtype) -> int:
    """Replace every 4- and 8-bit layer by a plain one of the same numbers, adapters merged, in place; returns how many.

    Sums are formed in float32 and rounded once to ``dtype``. Memory grows to two bytes a weight, one layer at a time.
    """
    torch = require("torch", extra="llm")
    bitsandbytes = require("bitsandbytes", extra="llm")
    kinds = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    kinds += (_folded_class(),)
    found = [
        (name, module, getattr(module, "base_layer", module))
        for name, module in model.named_modules()
        if isinstance(getattr(module, "base_layer", module), kinds) and not name.endswith(".base_layer")
    ]
    _check_foldable(found)
    for name, module, base in found:
        weight = _expanded(base)
        up, down = (base.up, base.down) if hasattr(base, "packed") else _low_rank(module)
        if up is not None:
            weight = torch.addmm(weight, up.float(), down.float())
        plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=base.bias is not None, device="meta")
        plain.weight = torch.nn.Parameter(weight.to(dtype), requires_grad=False)
        if base.bias is not None:
            plain.bias = torch.nn.Parameter(base.bias.detach().to(dtype), requires_grad=False)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain)
    return len(found)


def _check_foldable(found: Iterable[tuple[str, torch.nn.Module, torch.nn.Module]]) -> None:
    """Refuse what would silently compute something else, all layers at once."""
    problems = []
    for name, module, base in found:
        state = getattr(getattr(base, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            problems.append(f"{name} was repacked for this CPU by a forward pass; fold before the first one")
        active = set(getattr(module, "active_adapters", ())) if not getattr(module, "disable_adapters", True) else set()
        if active & set(getattr(module, "lora_magnitude_vector", ())):
            problems.append(f"{name} has a DoRA adapter, which is no plain sum; use merge='merged'")
        if getattr(module, "merged", False):
            problems.append(f"{name} has its adapter merged into the quantised weight; unmerge it first")
        if any(module.lora_B[n].bias is not None for n in active if n in getattr(module, "lora_B", ())):
            problems.append(f"{name} has an adapter with a bias; use merge='merged'")
    if problems:
        raise ValueError("layers cannot be folded:\n" + "\n".join(f"  - {p}" for p in problems[:8]))


def _expanded(base: torch.nn.Module) -> torch.Tensor:
    """The weight of a bitsandbytes layer as float32 [out, in]."""
    functional = require("bitsandbytes", extra="llm").functional
    if hasattr(base, "packed"):
        return base.expanded().float()
    state = getattr(base.weight, "quant_state", None)
    if state is not None:
        return functional.dequantize_4bit(base.weight.data, state).float().reshape(tuple(state.shape))
    scales = base.weight.SCB if base.weight.SCB is not None else base.state.SCB
    values = base.weight.data if base.state.CB is None else base.state.CB
    return functional.int8_vectorwise_dequant(values, scales).float()


def _low_rank(module: torch.nn.Module) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The active adapters of a peft layer as one pair B [out, r], A [r, in], scaling inside B; (None, None) without."""
    torch = require("torch", extra="llm")
    names = (
        [] if getattr(module, "disable_adapters", True) else [n for n in module.active_adapters if n in module.lora_A]
    )
    if not names:
        return None, None
    up = torch.cat([module.lora_B[n].weight * module.scaling[n] for n in names], dim=1)
    return up, torch.cat([module.lora_A[n].weight for n in names], dim=0)


def _folded_class() -> type[torch.nn.Module]:
    """The layer's class, made on first use so that importing this module needs no torch."""
    global _FoldedLinear
    if _FoldedLinear is None:
        torch = require("torch", extra="llm")
        functional = require("bitsandbytes", extra="llm").functional

        class FoldedLinear4bit(torch.nn.Module):
            """``y = x (W + B A)^T + b`` with a 4-bit W; [..., in] -> [..., out] in W's compute dtype."""

            def __init__(self, base: torch.nn.Module, up: torch.Tensor | None, down: torch.Tensor | None) -> None:
                super().__init__()
                state = base.weight.quant_state
                scales = state.absmax
                if state.nested:  # expand the scales of the scales once: half a bit a weight, and a kernel less
                    scales = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
                self.dtype = base.compute_dtype or state.dtype
                self.shape, self.block, self.kind = tuple(state.shape), state.blocksize, state.quant_type
                self.register_buffer("packed", base.weight.data)
                self.register_buffer("scales", scales.float())
                for name, value in (("up", up), ("down", down), ("bias", base.bias)):
                    self.register_buffer(name, None if value is None else value.detach().to(self.dtype))

            def expanded(self) -> torch.Tensor:
                """The 4-bit weight alone: [out, in] in the compute dtype."""
                return torch.ops.bitsandbytes.dequantize_4bit(
                    self.packed, self.scales, self.block, self.kind, self.shape, self.dtype
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                weight = self.expanded()
                if self.up is not None:
                    weight = torch.addmm(weight, self.up, self.down)
                return torch.nn.functional.linear(x.to(self.dtype), weight, self.bias)

        _FoldedLinear = FoldedLinear4bit
    return _FoldedLinear


_FoldedLinear = None
