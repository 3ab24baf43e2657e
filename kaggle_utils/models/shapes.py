"""The sizes of a model's parts, worked out from its ``config.json`` alone.

It promises the exact number of parameters of the sequence classifiers of :data:`FAMILIES`, held against the real
classes by a test. It reads no weights, imports no torch, and refuses families that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DECODERS", "ENCODERS", "FAMILIES", "ModelShapes", "model_shapes"]

DECODERS = ("gemma2", "llama", "mistral", "qwen2", "qwen3")
"""Families of causal models, by ``model_type``: gated MLP, rotary positions, pooled at the last token."""
ENCODERS = ("bert", "deberta-v2")
"""Families that look both ways; DeBERTa-v3 calls itself ``deberta-v2``."""
FAMILIES = DECODERS + ENCODERS
"""Every family whose sizes are known."""

# Head sizes that the configuration classes fill in by themselves; the others divide the hidden size by the heads.
_HEAD_DIM = {"gemma2": 256, "qwen3": 128}
# Norms over the hidden size in each layer (Gemma-2 norms each sublayer's input and output).
_NORMS = {"gemma2": 4}


@dataclass(frozen=True)
class ModelShapes:
    """What a sequence classifier of this shape consists of; counts are numbers of parameters."""

    family: str
    """One of :data:`FAMILIES`."""
    layers: int
    """How many times :attr:`linears` repeats."""
    linears: tuple[tuple[int, int], ...]
    """(out, in) of the weight matrices of one layer: what quantisation packs and LoRA adapts."""
    layer_rest: int
    """Biases and norms of one layer."""
    embedding: int
    """The token embedding, usually the largest single tensor."""
    rest: int
    """Everything else: positions, last norm, pooler, score head."""
    hidden: int
    """Width of the residual stream."""
    intermediate: int
    """Width of the MLP."""
    heads: int
    """Attention heads."""
    query: int
    """Width of all queries together: heads times head size."""
    softcap: bool
    """Attention scores are capped, so no fused kernel of torch serves padded rows."""

    @property
    def linear_parameters(self) -> int:
        """Parameters in the matrices of all layers; a token costs twice as many floating-point operations."""
        return self.layers * sum(out * into for out, into in self.linears)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.linear_parameters + self.layers * self.layer_rest + self.embedding + self.rest

    @property
    def largest_linear(self) -> int:
        """Parameters of the largest matrix of a layer."""
        return max(out * into for out, into in self.linears)


def model_shapes(config: Mapping[str, Any], *, num_labels: int | None = None) -> ModelShapes:
    """Work out the sizes of the sequence classifier that ``config`` describes.

    Args:
        config: the content of ``config.json``.
        num_labels: outputs of the score head; None for what the config says, else transformers' 2.

    Raises:
        ValueError: a family that is not known, or fields that are missing, all named.

    >>> shapes = model_shapes({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
    ...     "num_hidden_layers": 32, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8})
    >>> f"{shapes.parameters / 1e9:.2f}", f"{shapes.linear_parameters / 1e9:.2f}"
    ('7.50', '6.98')
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(f"the sizes of model_type {family!r} are not known; known are {', '.join(FAMILIES)}")
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    problems = [f"{key} is {config.get(key)!r}" for key in needed if not _is_size(config.get(key))]
    if problems:
        raise ValueError(f"config of a {family} model: {', '.join(problems)}; expected positive integers")
    labels = num_labels or len(config.get("id2label") or ()) or 2
    return (_decoder if family in DECODERS else _encoder)(family, config, labels)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _decoder(family: str, config: Mapping[str, Any], labels: int) -> ModelShapes:
    hidden, wide, heads = (config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
    size = config.get("head_dim") or _HEAD_DIM.get(family) or hidden // heads
    query, key = heads * size, (config.get("num_key_value_heads") or heads) * size
    attention = ((query, hidden), (key, hidden), (key, hidden), (hidden, query))
    rest = _NORMS.get(family, 2) * hidden
    if family == "qwen2":  # biases on queries, keys and values
        rest += query + 2 * key
    elif config.get("attention_bias"):
        rest += query + 2 * key + hidden
    if config.get("mlp_bias"):
        rest += 2 * wide + hidden
    if family == "qwen3":  # norms over the head size
        rest += 2 * size
    return ModelShapes(
        family=family,
        layers=config["num_hidden_layers"],
        linears=(*attention, (wide, hidden), (wide, hidden), (hidden, wide)),
        layer_rest=rest,
        embedding=config["vocab_size"] * hidden,
        rest=hidden + labels * hidden,
        hidden=hidden,
        intermediate=wide,
        heads=heads,
        query=query,
        softcap=bool(config.get("attn_logit_softcapping", 50.0 if family == "gemma2" else None)),
    )


def _encoder(family: str, config: Mapping[str, Any], labels: int) -> ModelShapes:
    hidden, wide, heads = (config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
    deberta = family == "deberta-v2"
    projections = 4 + (_position_projections(config) if deberta else 0)
    pooled = config.get("pooler_hidden_size", hidden) if deberta else hidden
    embedded = (config.get("embedding_size") or hidden) if deberta else hidden
    rest = _deberta_rest(config, embedded) if deberta else _bert_rest(config)
    return ModelShapes(
        family=family,
        layers=config["num_hidden_layers"],
        linears=((hidden, hidden),) * projections + ((wide, hidden), (hidden, wide)),
        layer_rest=projections * hidden + wide + hidden + 4 * hidden,
        embedding=config["vocab_size"] * embedded,
        rest=rest + pooled * pooled + pooled + labels * pooled + labels,
        hidden=hidden,
        intermediate=wide,
        heads=heads,
        query=hidden,
        softcap=False,
    )


def _bert_rest(config: Mapping[str, Any]) -> int:
    rows = config.get("max_position_embeddings", 512) + config.get("type_vocab_size", 2)
    return (rows + 2) * config["hidden_size"]


def _deberta_rest(config: Mapping[str, Any], embedded: int) -> int:
    hidden = config["hidden_size"]
    rows = config.get("max_position_embeddings", 512) if config.get("position_biased_input", True) else 0
    total = (rows + config.get("type_vocab_size", 0)) * embedded + 2 * hidden
    if embedded != hidden:
        total += embedded * hidden
    if config.get("relative_attention"):
        total += _relative_positions(config) * 2 * hidden
    if "layer_norm" in str(config.get("norm_rel_ebd", "none")):  # made whether it is used or not
        total += 2 * hidden
    if (kernel := config.get("conv_kernel_size", 0)) > 0:
        total += hidden * hidden * kernel // config.get("conv_groups", 1) + 3 * hidden
    return total


def _relative_positions(config: Mapping[str, Any]) -> int:
    buckets, limit = config.get("position_buckets", -1), config.get("max_relative_positions", -1)
    if buckets > 0:
        return buckets
    return limit if limit > 0 else config.get("max_position_embeddings", 512)


def _position_projections(config: Mapping[str, Any]) -> int:
    """Extra hidden x hidden matrices of a layer for relative positions; none where they share the content's."""
    if not config.get("relative_attention") or config.get("share_att_key"):
        return 0
    kinds = config.get("pos_att_type") or ()
    kinds = kinds.lower().split("|") if isinstance(kinds, str) else kinds
    return len({"c2p", "p2c"} & set(kinds))
