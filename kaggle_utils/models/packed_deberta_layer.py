"""One DeBERTa-v2/v3 layer over a pack of rows, with its own weights or with 16-bit copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kaggle_utils._optional import require
from kaggle_utils.models.half_weights import half_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["LayerWeights", "layer_weights", "packed_layer"]


class LayerWeights(NamedTuple):
    """Weights and biases of a layer's products in the dtype that it computes in."""

    projections: torch.Tensor
    """Of queries, keys and values, [3 width, width]; biases alike."""
    projection_biases: torch.Tensor
    attended: torch.Tensor
    attended_bias: torch.Tensor
    inner: torch.Tensor
    inner_bias: torch.Tensor
    outer: torch.Tensor
    outer_bias: torch.Tensor


def layer_weights(layers: Sequence[Any], dtype: torch.dtype, *, fixed: bool) -> list[LayerWeights | None]:
    """Copies for all of these layers at once; None for each where they are not needed or cannot be made.

    Args:
        layers: ``DebertaV2Layer``, neighbours in the model.
        dtype: what the layers compute in.
        fixed: tell the compiler that no size of the copies ever changes.

    Copies are made of float32 weights under 16-bit computation, if all products are plain linear layers (no adapters,
    nothing quantised or sharded) and all of them are trained, or none is.
    """
    torch = require("torch", extra="llm")
    none: list[LayerWeights | None] = [None] * len(layers)
    if dtype not in (torch.float16, torch.bfloat16):
        return none
    groups = [group for layer in layers for group in _groups(torch, layer)]
    weights = [weight for group in groups for weight in group]
    plain = all(type(weight) is torch.nn.Parameter and weight.dtype == torch.float32 for weight in weights)
    if not plain or len({weight.requires_grad for weight in weights}) > 1:
        return none
    copies = half_weights(groups, dtype)
    if fixed:
        dynamo = require("torch._dynamo", extra="llm")
        for copy in copies:
            dynamo.mark_static(copy)
    each = len(LayerWeights._fields)
    return [LayerWeights(*copies[first : first + each]) for first in range(0, len(copies), each)]


def _groups(torch: Any, layer: Any) -> list[list[Any]]:
    """The parameters behind each field of :class:`LayerWeights`; [None] where a product is something else.

    Looked up in each step, since adapters can be put in place of a module at any time, but not through
    ``Module.__getattr__``, of which 24 layers would need a thousand calls.
    """
    try:
        attention = layer._modules["attention"]._modules
        own, attended = attention["self"]._modules, attention["output"]._modules["dense"]
        inner, outer = (layer._modules[name]._modules["dense"] for name in ("intermediate", "output"))
        together = [[own[f"{name}_proj"] for name in ("query", "key", "value")], [attended], [inner], [outer]]
    except KeyError:  # something is wrapped in a module that stands for it
        return [[None]]
    if any(type(linear) is not torch.nn.Linear for group in together for linear in group):
        return [[None]]
    return [[linear._parameters[name] for linear in group] for group in together for name in ("weight", "bias")]


def packed_layer(torch, layer, weights, attend, hidden, positions, index, starts, seed, window, dropout):
    """Hidden states [T, width] -> the same; ``attend`` as in ``choose_disentangled_attention``, ``index`` [2 window].

    ``torch`` is handed in, since the compiler would stop at a function that imports it.
    """
    attention, functional = layer.attention.self, torch.nn.functional
    heads = attention.num_attention_heads
    positions = attention.pos_dropout(positions)
    if weights is None:
        projected, tables = _projected(torch, attention, hidden), _tables(torch, attention, positions)
    else:
        projected = functional.linear(hidden, weights.projections, weights.projection_biases)
        tables = _tables(torch, attention, positions, weights)
    projected = projected.unflatten(1, (3, heads, -1))
    tables = tables.unflatten(1, (2, heads, -1))[index]
    scale = (3 * projected.shape[-1]) ** -0.5
    attended = attend(projected, tables, starts, seed, window, scale, dropout).flatten(1)
    if weights is None:
        hidden = layer.attention.output(attended, hidden).to(hidden.dtype)
        return layer.output(layer.intermediate(hidden), hidden).to(hidden.dtype)
    hidden = _added(
        layer.attention.output, functional.linear(attended, weights.attended, weights.attended_bias), hidden
    )
    inner = layer.intermediate.intermediate_act_fn(functional.linear(hidden, weights.inner, weights.inner_bias))
    return _added(layer.output, functional.linear(inner, weights.outer, weights.outer_bias), hidden)


def _added(output: Any, found: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """What ``DebertaV2SelfOutput`` and ``DebertaV2Output`` do after their product."""
    return output.LayerNorm(output.dropout(found) + hidden).to(hidden.dtype)


def _tables(torch: Any, attention: Any, positions: torch.Tensor, weights: LayerWeights | None = None) -> torch.Tensor:
    """Positions [P, width] projected as queries and as keys, [P, 2 width]."""
    if not attention.share_att_key:
        return torch.cat([attention.pos_query_proj(positions), attention.pos_key_proj(positions)], dim=1)
    if weights is None:
        return torch.cat([attention.query_proj(positions), attention.key_proj(positions)], dim=1)
    end = 2 * weights.projections.shape[0] // 3
    return torch.nn.functional.linear(positions, weights.projections[:end], weights.projection_biases[:end])


def _projected(torch: Any, attention: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Queries, keys and values side by side: one product where all three are plain linear layers."""
    parts = attention.query_proj, attention.key_proj, attention.value_proj
    if any(type(part) is not torch.nn.Linear for part in parts):  # adapters, quantised weights
        return torch.cat([part(hidden) for part in parts], dim=1)
    weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
    return torch.nn.functional.linear(hidden, weight, bias)
