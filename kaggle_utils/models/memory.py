"""How much memory a sequence classifier takes, estimated from its ``config.json`` before anything is loaded.

It promises weights within 5 % of what lies on the device, and activations as an upper bound that is not wildly over.
It reads no weights and asks no device; it does not know what the CUDA context, the allocator's fragments or another
model on the same card take (``kaggle_utils.inference.placement`` keeps room for those).

Weights, in bytes a parameter:

| scheme | matrices of the layers | embedding, norms, head |
|---|---|---|
| none | the dtype | the dtype |
| int8 | 1, and 4 for each output channel's scale (LLM.int8(), arXiv 2208.07339) | the dtype |
| nf4, fp4 | 1/2, and a scale for each 64 (QLoRA, arXiv 2305.14314, section 3) | the dtype |
| fp8 | 1, and 4 for each output channel's scale; loaded in the dtype, then converted one by one | the dtype |

A 4-bit scale takes 4 bytes, or, where scales are quantised too (and not folded, ``models.nf4``), 1 byte and 4 for each
256 scales.

Activations are those of the layer's step that holds most at once: the MLP (gate, up and their product), the norms in
float32, or the attention scores where no fused kernel computes them. A test counts every tensor of real forwards at the
real widths and holds the estimate to 1.0 to 1.35 times that; compiled layers and quantised products are counted by the
same rules, but are not measured. On an H100, Gemma-2-9B with packs of 8,192 tokens on the flex path took 18.2 GiB in
bfloat16 (estimated 18.1) and 6.7 GiB in nf4 with an adapter (estimated 7.1).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaggle_utils.models.pipeline import stage_starts
from kaggle_utils.models.shapes import ENCODERS, ModelShapes, model_shapes

__all__ = ["MemoryEstimate", "estimate_memory"]

_BYTES = {"float32": 4, "fp32": 4, "float16": 2, "fp16": 2, "half": 2, "bfloat16": 2, "bf16": 2}
_SCHEMES = ("none", "int8", "nf4", "fp4", "fp8")
_PATHS = ("flex", "varlen", "ragged", "causal", "masked")
_LONGEST = 2048  # the notebooks' cap on a row
_SCALED = 64  # weights that share a scale in 4 bits
_SCALES_SCALED = 256  # scales that share a scale of their own


@dataclass(frozen=True)
class MemoryEstimate:
    """What a model takes on its device, in bytes."""

    weights: int
    """Parameters as they lie on the device, an unmerged adapter included."""
    activations: int
    """What computing the largest pack takes on top."""
    peak_while_loading: int
    """Highest need until the model is ready: reading, quantising, merging."""

    @property
    def total(self) -> int:
        """While scoring: weights and activations."""
        return self.weights + self.activations

    @property
    def highest(self) -> int:
        """What the device must have free: the larger of loading and scoring."""
        return max(self.total, self.peak_while_loading)


def estimate_memory(
    config: Mapping[str, Any] | str | os.PathLike[str],
    *,
    quantization: str,
    dtype: str,
    pack_tokens: int,
    compiled: bool = False,
    lora_rank: int = 0,
    merged: bool = False,
    folded: bool = False,
    stages: int = 1,
    path: str | None = None,
    longest: int = _LONGEST,
    num_labels: int | None = None,
) -> MemoryEstimate:
    """Estimate the memory of a sequence classifier.

    Args:
        config: the content of a ``config.json``, its path, or the model folder. A folder that is already quantised is
            estimated as it is stored.
        quantization: ``"none"``, ``"int8"``, ``"nf4"``, ``"fp4"`` or ``"fp8"``; 4 bits with quantised scales, as models
            load here.
        dtype: of what is not quantised, and of the arithmetic: ``"float16"``, ``"bfloat16"``, ``"float32"``.
        pack_tokens: tokens of the largest pack, padding included.
        compiled: layers are compiled, so that element-wise steps are fused.
        lora_rank: rank of an adapter, counted as if every matrix of every layer had one: an upper bound.
        merged: the weights are expanded to ``dtype`` once, layer by layer, and the adapter is added to them.
        folded: 4-bit layers are those of ``models.nf4.fold_nf4``, with an unmerged adapter inside.
        stages: the model is cut into that many runs of layers, one a device (``models.pipeline``); the numbers are
            then those of the device that holds most.
        path: attention path (see ``models.attention``); None for the one that takes most: ``"causal"`` for decoders,
            ``"masked"`` for encoders.
        longest: tokens of the longest row; counts where attention scores are held.
        num_labels: outputs of the score head; None for what the config says.

    Raises:
        ValueError: an unknown family, scheme, dtype or path, or a config without sizes.

    >>> gemma = {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336,
    ...          "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256}
    >>> for scheme in ("none", "nf4"):
    ...     estimate = estimate_memory(gemma, quantization=scheme, dtype="bfloat16", pack_tokens=8192)
    ...     print(scheme, round(estimate.weights / 1e9, 1))
    none 18.5
    nf4 6.1
    """
    config = _read(config)
    scheme, double_scales = _scheme(config, quantization)
    problems = []
    if scheme not in _SCHEMES:
        problems.append(f"quantization {scheme!r}, expected one of {', '.join(_SCHEMES)}")
    if (name := str(dtype).removeprefix("torch.")) not in _BYTES:
        problems.append(f"dtype {dtype!r}, expected one of {', '.join(_BYTES)}")
    if path is not None and path not in _PATHS:
        problems.append(f"path {path!r}, expected one of {', '.join(_PATHS)} or None")
    least = {"pack_tokens": (pack_tokens, 1), "lora_rank": (lora_rank, 0), "longest": (longest, 1),
             "stages": (stages, 1)}  # fmt: skip
    problems += [f"{key}={value}, expected at least {low}" for key, (value, low) in least.items() if value < low]
    if problems:
        raise ValueError("memory cannot be estimated: " + "; ".join(problems))
    shapes, width = model_shapes(config, num_labels=num_labels), _BYTES[name]
    scheme_in_use = "none" if merged else scheme
    beside = 0 if merged or folded else lora_rank  # computed beside the layers, not inside their weights
    activations = max(
        _mlp_bytes(shapes, scheme_in_use, width, compiled, beside),
        _norm_bytes(shapes, width, compiled),
        _attention_bytes(shapes, width, compiled, path or ("masked" if "bert" in shapes.family else "causal"),
                         min(longest, pack_tokens)),
    ) * pack_tokens + _expansion_bytes(shapes, scheme_in_use, width, lora_rank)  # fmt: skip
    if path == "ragged":
        activations += _row_bytes(shapes, width, min(longest, pack_tokens))
    held = [_weight_bytes(part, scheme, width, lora_rank, merged=merged, double_scales=double_scales and not folded)
            for part in _stages(shapes, stages)]  # fmt: skip
    return MemoryEstimate(max(w for w, _ in held), int(activations), max(loading for _, loading in held))


def _stages(shapes: ModelShapes, count: int) -> list[ModelShapes]:
    """The parts of a model, as if each were a model: the embedding on the first device, last norm and head on the last.

    Raises:
        ValueError: an encoder, or more stages than layers.
    """
    if count == 1:
        return [shapes]
    if shapes.family in ENCODERS:
        raise ValueError(f"memory cannot be estimated: a {shapes.family} model cannot be cut into {count} stages")
    edges = [*stage_starts(shapes.layers, count), shapes.layers]
    return [
        replace(shapes, layers=edges[i + 1] - edges[i], embedding=shapes.embedding if i == 0 else 0,
                rest=shapes.rest if i == count - 1 else 0)
        for i in range(count)
    ]  # fmt: skip


def _weight_bytes(
    shapes: ModelShapes, scheme: str, width: int, rank: int, *, merged: bool, double_scales: bool
) -> tuple[int, int]:
    """What lies on the device when the model is ready, and the most until then."""
    lora = _adapter_parameters(shapes, rank) * width
    stored = _linear_bytes(shapes, scheme, width, double_scales) + _other_parameters(shapes) * width
    expanded = shapes.parameters * width
    if scheme == "fp8":  # whole in the dtype with the adapter merged, then one matrix after another
        return int(stored), int(expanded + lora + 2 * shapes.largest_linear * 4)
    loading = stored + lora + max(shapes.embedding, shapes.largest_linear) * width
    if merged:  # at the end of each step one matrix lies there up to three times: itself, a safe copy, the update
        loading = max(loading, expanded + lora + 2 * shapes.largest_linear * max(width, 4))
    return int(expanded if merged else stored + lora), int(loading)


def _read(config: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    file = Path(config).expanduser()
    file = file / "config.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"no config at {str(file)!r}; give a model folder, its config.json, or the settings")
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected an object")
    return content


def _scheme(config: Mapping[str, Any], wanted: str) -> tuple[str, bool]:
    """The scheme that the weights will have, and whether 4-bit scales are quantised too."""
    stored = config.get("quantization_config") or {}
    if wanted == "fp8":  # made from expanded weights, however they are stored
        return wanted, True
    if stored.get("load_in_8bit"):
        return "int8", True
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4")), bool(stored.get("bnb_4bit_use_double_quant"))
    return (str(stored.get("quant_method", "unknown")) if stored else wanted), True


def _linear_bytes(shapes: ModelShapes, scheme: str, width: int, double_scales: bool) -> float:
    count = shapes.linear_parameters
    if scheme == "none":
        return count * width
    if scheme in ("int8", "fp8"):
        return count + 4 * shapes.layers * sum(out for out, _ in shapes.linears)
    scales = count / _SCALED
    return count / 2 + (scales + 4 * scales / _SCALES_SCALED if double_scales else 4 * scales)


def _other_parameters(shapes: ModelShapes) -> int:
    return shapes.parameters - shapes.linear_parameters


def _adapter_parameters(shapes: ModelShapes, rank: int) -> int:
    return rank * shapes.layers * sum(out + into for out, into in shapes.linears)


# Below: bytes for each token of the pack. Eager code keeps every intermediate result until the next one is made.


def _mlp_bytes(shapes: ModelShapes, scheme: str, width: int, compiled: bool, rank: int) -> float:
    wide = shapes.intermediate
    gated = "bert" not in shapes.family
    product = (2 if compiled else 3) * wide if gated else 2 * wide  # activated gate, up, their product
    if rank and not compiled:  # the result, and the scaled update beside it
        product = max(product, 4 * wide)
    if scheme == "int8":  # activated gate, products in int32, the same in the dtype, inputs as int8
        return max(width * product, (2 * width + 4) * wide) + (4 * width + 1) * shapes.hidden
    if scheme == "fp8" and not compiled:  # the product, twice in float32 while it is scaled, and as e4m3
        return max(width * product, (width + 9) * wide) + 4 * width * shapes.hidden
    return width * (product + 4 * shapes.hidden)


def _norm_bytes(shapes: ModelShapes, width: int, compiled: bool) -> float:
    return (3 * width + (4 if compiled else 12)) * shapes.hidden


def _attention_bytes(shapes: ModelShapes, width: int, compiled: bool, path: str, longest: int) -> float:
    keys = sum(out for out, _ in shapes.linears[1:3])
    rows = width * (2 * shapes.hidden + (2 if compiled else 4) * shapes.query + 2 * keys)
    if shapes.family == "deberta-v2":  # the scores, both position terms and what they are gathered from, the softmax
        return rows + 6 * width * shapes.heads * longest
    if path == "masked":  # the mask itself, where torch's fused kernel takes one
        return rows + width * longest * 2
    if path == "causal" and shapes.softcap:  # the scores in float32, three times while the cap is computed
        return rows + (2 * width + 4 if compiled else 12 + 2 * width) * shapes.heads * longest
    return rows


def _row_bytes(shapes: ModelShapes, width: int, longest: int) -> int:
    """The scores of one row, where it is attended to alone: as they are, in float32 for the softmax, and its result."""
    return shapes.heads * longest * longest * (2 * width + 4) if shapes.softcap else 0


def _expansion_bytes(shapes: ModelShapes, scheme: str, width: int, rank: int) -> int:
    """The one matrix that is expanded from 4 bits at a time, and its copy with the adapter added."""
    return shapes.largest_linear * width * (2 if rank else 1) if scheme in ("nf4", "fp4") else 0
