"""The last decoder layer of a classifier, computed only where it is looked at.

A classifier reads one token of each row. In the last layer every token still gives keys and values, but what follows
attention (a good three quarters of the layer) is per token, so it is computed for the pooled tokens alone: two per cent
of a 9B model's work. It promises the same logits up to rounding. It knows the two layouts of the supported decoders,
and leaves any other layer as it is.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["pool_in_last_layer", "pool_size"]

_PRE_NORM = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
_SANDWICH = ("Gemma2DecoderLayer",)  # norms before and after each half


def pool_size(rows: int) -> int:
    """How many tokens are pooled for a pack of ``rows``: few different numbers, so that a compiled layer is kept.

    >>> pool_size(3), pool_size(65)
    (64, 128)
    """
    return max(64, 1 << (rows - 1).bit_length())


def pool_in_last_layer(model: torch.nn.Module) -> bool:
    """Let the last layer of a sequence classifier's decoder pool, in place.

    False where its layout is not known, or where somebody else has replaced its ``forward`` (hooks that move tensors
    between devices do): it stays as it is then.

    Afterwards ``model.model(..., pool_at=indices)`` with int64 [R] positions in a pack of one long row gives a
    ``last_hidden_state`` of [1, R, hidden]; without ``pool_at`` nothing changes.
    """
    layer = model.model.layers[-1]
    name = type(layer).__name__
    if name not in _PRE_NORM + _SANDWICH:
        return False
    if "forward" in vars(layer):
        return getattr(layer.forward, "pools", False)
    layer.forward = types.MethodType(_pooling_forward(type(layer), sandwich=name in _SANDWICH), layer)
    return True


def _pooling_forward(layer_class: type, *, sandwich: bool) -> Any:
    require("torch", extra="llm")

    def forward(self, hidden_states, *args, pool_at=None, **kwargs):
        if pool_at is None:
            return layer_class.forward(self, hidden_states, *args, **kwargs)
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), *args, **kwargs)
        attended, residual = (t.index_select(1, pool_at) for t in (attended, hidden_states))
        if not sandwich:
            pooled = residual + attended
            return pooled + self.mlp(self.post_attention_layernorm(pooled))
        pooled = residual + self.post_attention_layernorm(attended)
        return pooled + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(pooled)))

    forward.pools = True
    return forward
