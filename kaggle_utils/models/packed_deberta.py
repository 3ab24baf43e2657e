"""DeBERTa-v2/v3 layers over packed rows: no padding, fused attention, compiled layers; the model stays what it was.

``pack_deberta`` exchanges the forward method of the model's encoder and nothing else: parameters, names, config and
``save_pretrained`` are untouched, padded batches go in and padded hidden states come out, so that Trainer, the engine
and plain transformers code run on it as they are. Inside, the rows lie one after another, and layers are
compiled functions. Time grows with tokens x longest row instead of rows x longest row squared.
"""

from __future__ import annotations

import functools
import logging
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.disentangled_attention import (
    choose_disentangled_attention,
    distance_index,
    reference_attention,
    window_of,
)
from kaggle_utils.models.packed_deberta_layer import layer_weights, packed_layer
from kaggle_utils.models.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["pack_deberta", "packable"]

_logger = logging.getLogger(__name__)
_TOGETHER = 6  # layers in one compiled function while training: each call costs a millisecond of Python both ways
_LENGTHS = "_row_lengths"  # on the encoder, from the hook to its forward


def pack_deberta(model: torch.nn.Module, *, compile: bool | str = "auto") -> torch.nn.Module:
    """Let the encoder of a DeBERTa-v2 or v3 run over packed rows, in place; returns the model.

    Args:
        model: anything with one ``DebertaV2Encoder`` in it.
        compile: True, False, or "auto": compiled where the fused kernels run. The first batch then takes some seconds
            longer, and the first of each 64 tokens of width a second.

    A call may carry ``lengths``, the tokens of each right-padded row as a list of numbers: then nothing waits for the
    device to count them. Collators can put it beside the ids; ``model.takes_lengths`` says that it is understood.

    The attention mask must keep one unbroken stretch of each row (padding on either side). Of the hidden states only
    the last is returned. Calls that ask for attention weights, and models with parts that are not covered (a
    convolution, as in v2-xlarge; only one of the two position terms), go the way they went before.

    Raises:
        ValueError: there is no such encoder, or ``compile`` is something else.
    """
    if compile not in (True, False, "auto"):
        raise ValueError(f"compile is {compile!r}, expected True, False or 'auto'")
    encoders = _encoders(model)
    if not encoders:
        raise ValueError(f"{type(model).__name__} has no DebertaV2Encoder; only DeBERTa-v2 and v3 can be packed")
    for encoder in encoders:
        if reason := _not_covered(encoder):
            _logger.warning("DeBERTa stays padded: %s", reason)
        else:
            encoder.forward = types.MethodType(_encoder_forward(type(encoder).forward, _Layers(compile)), encoder)
            if not getattr(model, "takes_lengths", False):  # so that packing again is no harm
                hand = functools.partial(_hand_lengths, encoders)  # looking for them costs milliseconds a step
                model.register_forward_pre_hook(hand, with_kwargs=True)
                model.takes_lengths = True
    return model


def packable(model: torch.nn.Module) -> bool:
    """Whether :func:`pack_deberta` changes anything in this model."""
    encoders = _encoders(model)
    return bool(encoders) and not any(map(_not_covered, encoders))


def _encoders(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if type(module).__name__ == "DebertaV2Encoder"]


def _not_covered(encoder: torch.nn.Module) -> str:
    """Why this encoder cannot be packed; empty where it can."""
    attention = encoder.layer[0].attention.self
    if encoder.conv is not None:
        return "its first layer has a convolution"
    if not encoder.relative_attention or set(attention.pos_att_type) != {"c2p", "p2c"}:
        return f"pos_att_type is {attention.pos_att_type}, only c2p and p2c together are covered"
    return ""


def _encoder_forward(padded: Any, layers: _Layers) -> Any:
    """A ``forward`` with the signature of transformers' encoder."""

    def forward(
        self, hidden_states, attention_mask, output_hidden_states=True, output_attentions=False, query_states=None,
        relative_pos=None, return_dict=True,
    ):  # fmt: skip
        if output_attentions or query_states is not None or relative_pos is not None or attention_mask.dim() != 2:
            return padded(
                self, hidden_states, attention_mask, output_hidden_states, output_attentions, query_states,
                relative_pos, return_dict,
            )  # fmt: skip
        rows, longest, width = hidden_states.shape
        kept, starts = _places(attention_mask, self.__dict__.pop(_LENGTHS, None))
        packed = layers(self, hidden_states.flatten(0, 1)[kept], starts, window_of(longest))
        out = packed.new_zeros(rows * longest, width).index_copy(0, kept, packed).view(rows, longest, width)
        if not return_dict:
            return out, (out,)
        outputs = require("transformers.modeling_outputs", extra="llm").BaseModelOutput
        return outputs(last_hidden_state=out, hidden_states=(out,))

    return forward


def _hand_lengths(
    encoders: Sequence[torch.nn.Module], _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A hook before the forward of the whole model, which does not know ``lengths``."""
    if (lengths := kwargs.pop("lengths", None)) is not None:
        for encoder in encoders:
            setattr(encoder, _LENGTHS, lengths)
    return args, kwargs


def _places(mask: torch.Tensor, told: Sequence[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the tokens [T] lie in the flattened mask [rows, longest], and where rows begin in the pack [rows + 1].

    Raises:
        ValueError: lengths that do not fit the mask's shape.
    """
    torch = require("torch", extra="llm")
    rows, longest = mask.shape
    if told is None:
        starts = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)).int()
        return mask.flatten().nonzero().squeeze(1), starts
    if len(told) != rows or max(told) > longest:
        raise ValueError(
            f"lengths are {len(told)} numbers up to {max(told)}, expected one for each of {rows} rows of {longest} "
            "tokens at most"
        )
    # NumPy, since torch wakes its threads for these few numbers, which can take milliseconds.
    starts = np.concatenate([[0], np.cumsum(told)])
    skipped = np.arange(rows) * longest - starts[:-1]
    places = np.arange(starts[-1]) + np.repeat(skipped, told)
    return to_device(places, mask.device), to_device(starts.astype(np.int32), mask.device)


class _Layers:
    """All layers of an encoder over one pack; chooses the attention by the dtype that the layers compute in."""

    def __init__(self, compile: bool | str) -> None:
        self._compile = compile

    def __call__(self, encoder: Any, hidden: torch.Tensor, starts: torch.Tensor, window: int) -> torch.Tensor:
        """Hidden states [T, width] of rows that begin at ``starts`` -> the same after all layers."""
        torch = require("torch", extra="llm")
        attention = encoder.layer[0].attention.self
        device = hidden.device
        casts = torch.is_autocast_enabled(device.type)
        if casts:
            hidden = hidden.to(torch.get_autocast_dtype(device.type))
        positions = encoder.get_rel_embedding().to(hidden.dtype)
        index = _index(window, attention.position_buckets, attention.max_relative_positions, device)
        attend, compiled = self._attention(hidden.dtype, device, attention)
        run = _layer_function(attend, compiled)
        dropout = attention.dropout.p if encoder.training else 0.0
        every, together = list(encoder.layer), _TOGETHER if encoder.training else 1
        if encoder.training and any(getattr(layer, "gradient_checkpointing", False) for layer in every):
            run, together = functools.partial(torch.utils.checkpoint.checkpoint, run, use_reentrant=False), 1
        seeds = torch.randint(2**31 - 1, (len(every),), device=device) if dropout else starts.new_zeros(len(every))
        for first in range(0, len(every), together):
            some = slice(first, first + together)
            layers = every[some]
            weights = layer_weights(layers, hidden.dtype, fixed=compiled) if casts else [None] * len(layers)
            hidden = run(layers, weights, hidden, positions, index, starts, seeds[some], window, dropout)
        return hidden

    def _attention(self, dtype: torch.dtype, device: torch.device, attention: Any) -> tuple[Any, bool]:
        """The function, and whether to compile the layers around it."""
        heads, size = attention.num_attention_heads, attention.attention_head_size
        attend = choose_disentangled_attention(dtype, device, heads=heads, size=size)
        fused = attend is not reference_attention
        return attend, self._compile is True or (self._compile == "auto" and fused)


@functools.lru_cache(maxsize=None)  # noqa: UP033 (the same graph for all models and folds of a process)
def _layer_function(attend: Any, compiled: bool) -> Any:
    """Some layers as a function; compiled for any number of tokens and rows."""
    torch = require("torch", extra="llm")

    def run(layers, weights, hidden, positions, index, starts, seeds, window, dropout):
        for number, (layer, own) in enumerate(zip(layers, weights, strict=True)):
            seed = seeds[number : number + 1]
            hidden = packed_layer(torch, layer, own, attend, hidden, positions, index, starts, seed, window, dropout)
        return hidden

    if not compiled:
        return run
    dynamo = require("torch._dynamo", extra="llm")
    dynamo.config.recompile_limit = max(64, dynamo.config.recompile_limit)
    # Else every share of dropout and every epsilon would be handed over as a tensor, five a layer and call.
    return dynamo.config.patch(specialize_float=True)(torch.compile(run, dynamic=True))


@functools.lru_cache(maxsize=64)
def _index(window: int, buckets: int, farthest: int, device: torch.device) -> torch.Tensor:
    with require("torch", extra="llm").inference_mode(False):  # it is used in training too
        return distance_index(window, buckets=buckets, farthest=farthest, device=device)
