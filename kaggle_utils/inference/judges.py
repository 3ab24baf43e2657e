"""Judges from model folders: what a worker builds, and how it is named in the store.

It promises that a judge's fingerprint covers its files, adapter, prompt style, truncation and precision. It does not
load anything: workers do, each on its own device.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kaggle_utils.inference.fingerprint import run_fingerprint
from kaggle_utils.inference.scoring import Judge
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["bfloat16_scorer", "folder_judge", "packed_scorer"]


def folder_judge(
    name: str,
    folder: str | os.PathLike[str],
    tokenizer: Any,
    *,
    adapter: str | os.PathLike[str] | None = None,
    lora: Mapping[str, Any] | None = None,
    num_labels: int = 3,
    quantization: str = "none",
    dtype: str = "auto",
    merge: str = "auto",
    max_tokens: int = 8192,
    compile: bool = False,
    weight: float = 1.0,
    temperature: float = 1.0,
    swapped: bool = False,
    fits_beside: bool = False,
    flops_per_token: float | None = None,
) -> Judge:
    """Return a judge for a sequence classifier on disk.

    Args:
        name: in results, reports and the store.
        folder: the model.
        tokenizer: a ``PairTokenizer``; its settings are part of the fingerprint.
        adapter: a peft folder or a raw LoRA state dict.
        lora: settings of a raw state dict, such as ``{"alpha": 32}``.
        num_labels: 3 (A, B, tie) or 2.
        quantization: of ``load_sequence_classifier``, and so are ``dtype`` and ``merge``.
        dtype: of the arithmetic.
        merge: what to do with the adapter. "auto" depends on the memory that is free when a worker loads, so name it
            where results of two runs must be equal to the byte.
        max_tokens: largest pack.
        compile: compile the decoder layers.
        weight: of :class:`~kaggle_utils.inference.scoring.Judge`, and so are ``temperature`` and ``swapped``.
        temperature: divides the logits.
        swapped: it reads B first.
        fits_beside: of :class:`~kaggle_utils.inference.specs.ScorerSpec`, and so is ``flops_per_token``.
        flops_per_token: for the MFU; twice the linear parameters.
    """
    precision = {"quantization": quantization, "dtype": dtype, "merge": merge, "num_labels": num_labels}
    precision["lora"] = dict(lora) if lora else None
    settings = tokenizer.settings() if hasattr(tokenizer, "settings") else None
    spec = ScorerSpec(
        name,
        packed_scorer,
        {
            "folder": os.fspath(folder),
            "adapter": os.fspath(adapter) if adapter is not None else None,
            "max_tokens": max_tokens,
            "compile": compile,
            **precision,
        },
        fingerprint=run_fingerprint(folder, adapter=adapter, tokenizer=settings, compile=compile, **precision),
        num_labels=num_labels,
        safe=bfloat16_scorer,
        fits_beside=fits_beside,
        flops_per_token=flops_per_token,
    )
    return Judge(spec, tokenizer, weight=weight, temperature=temperature, swapped=swapped)


def packed_scorer(*, device: str, folder: str, max_tokens: int = 8192, compile: bool = False, **options: Any) -> Any:
    """Load the classifier in ``folder`` onto ``device`` and return its ``PackedClassifier``.

    Args:
        device: as torch calls it.
        folder: the model.
        max_tokens: largest pack.
        compile: compile the decoder layers.
        options: of ``load_sequence_classifier``.
    """
    from kaggle_utils.models.classifier import load_sequence_classifier
    from kaggle_utils.models.gelu import use_sigmoid_gelu
    from kaggle_utils.models.nf4 import fold_nf4
    from kaggle_utils.models.packed import PackedClassifier

    loaded = load_sequence_classifier(folder, device=device, pack_tokens=max_tokens, **options)
    use_sigmoid_gelu(loaded.model)
    if str(loaded.device).startswith("cuda") and _has_4bit(loaded.model):
        fold_nf4(loaded.model)  # expanded once a pack, the adapter inside, nothing that breaks a compiled graph
    return PackedClassifier(loaded.model, max_tokens=max_tokens, compile=compile)


def bfloat16_scorer(scorer: Any, *, device: str, **kwargs: Any) -> Any:
    """Return the same model in bfloat16 on the CPU, for the few rows that overflow float16.

    bfloat16 has the range of float32, so sums that float16 cannot hold stay finite; the CPU has room for a second
    copy where the card has none. A row takes seconds there.
    """
    return packed_scorer(device="cpu", **{**kwargs, "dtype": "bfloat16", "compile": False})


def _has_4bit(model: Any) -> bool:
    return any(type(module).__name__ == "Linear4bit" for module in model.modules())
