"""Weights in 8 or 4 bits, through bitsandbytes.

It promises one name per scheme and an error that says what is wrong before a long load starts. It does not know
formats of other makers (GPTQ, AWQ, ...): a folder stored in one of them loads as transformers sees fit.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

__all__ = [
    "QUANTIZATIONS",
    "check_bitsandbytes",
    "check_name",
    "quantization_config",
    "stored_quantization",
    "unfit_layers",
]

QUANTIZATIONS = ("none", "int8", "nf4", "fp4")
"""Names that every function here takes: no quantisation, LLM.int8(), 4-bit NormalFloat, 4-bit float."""


def quantization_config(
    name: str, *, compute_dtype: torch.dtype, double_quant: bool = True
) -> BitsAndBytesConfig | None:
    """Return the settings that ``from_pretrained`` takes for ``name``, or None for ``"none"``.

    Args:
        name: one of :data:`QUANTIZATIONS`.
        compute_dtype: type that 4-bit weights are expanded to in a product (int8 always computes in float16).
        double_quant: quantise the 4-bit scales too: 0.4 bits a weight less. Has no meaning for int8.

    Raises:
        ValueError: an unknown name.
    """
    check_name(name)
    if name == "none":
        return None
    settings = require("transformers", extra="llm").BitsAndBytesConfig
    if name == "int8":
        return settings(load_in_8bit=True)
    return settings(
        load_in_4bit=True,
        bnb_4bit_quant_type=name,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def stored_quantization(config: Mapping[str, Any]) -> str:
    """Return how the weights of a folder are already quantised, from its ``config.json``.

    >>> stored_quantization({"hidden_size": 64})
    'none'
    >>> stored_quantization({"quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}})
    'nf4'
    >>> stored_quantization({"quantization_config": {"quant_method": "gptq", "bits": 4}})
    'gptq'
    """
    stored = config.get("quantization_config")
    if not stored:
        return "none"
    if stored.get("load_in_8bit"):
        return "int8"
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4"))
    return str(stored.get("quant_method", "unknown"))


def check_bitsandbytes(device: str = "cpu") -> None:
    """Quantise one small matrix on ``device``, so that a broken installation shows before gigabytes are read.

    Raises:
        ModuleNotFoundError: bitsandbytes is not installed.
        RuntimeError: it is installed but does not work here.
    """
    torch = require("torch", extra="llm")
    bitsandbytes = require("bitsandbytes", extra="llm")
    try:
        bitsandbytes.functional.quantize_4bit(torch.ones(64, 64, device=device), quant_type="nf4")
    except Exception as error:
        raise RuntimeError(
            f"bitsandbytes {getattr(bitsandbytes, '__version__', '?')} is installed but cannot quantise on "
            f"{device!r} with torch {torch.__version__} (CUDA {torch.version.cuda}): {type(error).__name__}: {error}. "
            "Install a release built for this CUDA version (python -m bitsandbytes shows what it looks for), "
            "or load with quantization='none'"
        ) from error
    _say_once("bitsandbytes.autograd._functions")


def unfit_layers(model: torch.nn.Module, *, quantization: str) -> list[str]:
    """Name the linear layers whose shapes bitsandbytes' 4-bit CPU kernel refuses in a forward.

    On CPUs with AVX512-BF16 that kernel wants ``in_features`` in multiples of 64 and ``out_features`` in multiples of
    32 (bitsandbytes 0.50); elsewhere, and for int8, every shape works. ``model`` may live on the meta device.
    """
    torch = require("torch", extra="llm")
    if quantization not in ("nf4", "fp4") or not _packs_on_cpu():
        return []
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    layers: Iterable[tuple[str, Any]] = model.named_modules()
    return [
        f"{name} ({layer.in_features} -> {layer.out_features})"
        for name, layer in layers
        if isinstance(layer, torch.nn.Linear)
        and layer is not head
        and (layer.in_features % 64 or layer.out_features % 32)
    ]


def check_name(name: str) -> None:
    """Raise ValueError unless ``name`` is one of :data:`QUANTIZATIONS`."""
    if name not in QUANTIZATIONS:
        raise ValueError(f"unknown quantization {name!r}; expected one of {', '.join(QUANTIZATIONS)}")


def _packs_on_cpu() -> bool:
    functional = require("bitsandbytes", extra="llm").functional
    return bool(getattr(functional, "has_avx512bf16", lambda: False)())


@functools.cache  # one filter a name and process
def _say_once(logger_name: str) -> None:
    """Let each message of a chatty logger through once: int8 warns in every layer of every forward."""
    seen: set[str] = set()

    def first_time(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        fresh = message not in seen
        seen.add(message)
        return fresh

    logging.getLogger(logger_name).addFilter(first_time)
