"""A causal language model and its tokenizer, from a folder on disk.

It promises a model whose every weight came from the folder, in a type that the device computes in, or an error that
says what is missing. It does not download (see ``models.download``), runs no code that lies in a model folder, and
unpickles no objects.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.checkpoint import Checkpoint, check_loaded_keys, open_checkpoint
from kaggle_utils.models.load_options import (
    LOADING_LOCK,
    OFFLINE,
    UNREADABLE,
    agreed_scheme,
    dtype_argument,
    unreadable,
)
from kaggle_utils.models.placement import empty_model, plan_placement, read_config
from kaggle_utils.models.precision import choose_dtype
from kaggle_utils.models.quantization import (
    check_bitsandbytes,
    check_name,
    quantization_config,
    stored_quantization,
    unfit_layers,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["load_causal_lm", "load_tokenizer"]

_logger = logging.getLogger(__name__)


def load_causal_lm(
    path: str | os.PathLike[str],
    *,
    quantization: str = "none",
    device_map: str | int | Mapping[str, int | str] = "auto",
    dtype: str | torch.dtype = "auto",
    double_quant: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model folder at ``path``, ready for inference (``eval`` mode).

    Args:
        path: a local folder; names of models on the hub are refused.
        quantization: ``"none"``, ``"int8"``, ``"nf4"`` or ``"fp4"``. A folder that is already quantised loads as it is
            under ``"none"`` or its own name.
        device_map: see :func:`kaggle_utils.models.placement.plan_placement`. ``"auto"`` is the CPU where no GPU is.
        dtype: type of what is not quantised and of the computation; ``"auto"`` is bfloat16 on GPUs that have it,
            float16 on other GPUs, float32 on a CPU. The choice and its reason are logged at INFO.
        double_quant: quantise the scales of 4-bit weights too.

    Raises:
        FileNotFoundError: no folder at ``path``; the message lists what is nearby.
        CheckpointError: files missing, cut or of another model; keys that do not all load.
        DeviceMapError: a map that does not fit.
        ValueError: a quantisation that conflicts with the folder's, or that this device cannot compute.
        RuntimeError: bitsandbytes does not work here.
    """
    check_name(quantization)
    checkpoint = open_checkpoint(path)
    scheme = agreed_scheme(checkpoint, quantization)
    with LOADING_LOCK:
        config = read_config(checkpoint)
        placement, device = plan_placement(device_map, skeleton=lambda: empty_model(config))
        chosen, reason = choose_dtype(dtype, device=device)
        if scheme in ("int8", "nf4", "fp4"):
            _check_quantized(checkpoint, config, scheme, device)
        _logger.info("%s: dtype %s (%s), quantization %s, on %s", path, chosen, reason, scheme, placement)
        started = time.monotonic()
        fresh = quantization if stored_quantization(checkpoint.config) == "none" else "none"
        settings = quantization_config(fresh, compute_dtype=chosen, double_quant=double_quant)
        model = _from_pretrained(checkpoint, config, placement, chosen, settings)
        _logger.info("%s: loaded in %.1f s", path, time.monotonic() - started)
        return model, load_tokenizer(checkpoint.folder)


def load_tokenizer(path: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    """Load the tokenizer that lies in a folder, without network and without running code from it."""
    return require("transformers", extra="llm").AutoTokenizer.from_pretrained(os.fspath(path), **OFFLINE)


def _check_quantized(checkpoint: Checkpoint, config: Any, scheme: str, device: str) -> None:
    check_bitsandbytes("cpu" if device == "cpu" else "cuda")
    if device == "cpu" and (layers := unfit_layers(empty_model(config), quantization=scheme)):
        raise ValueError(
            f"{checkpoint.folder} cannot be computed as {scheme} on this CPU: bitsandbytes wants in_features in "
            f"multiples of 64 and out_features in multiples of 32, but {len(layers)} layers differ, such as "
            f"{', '.join(layers[:3])}; use quantization='int8' or 'none', or a GPU"
        )


def _from_pretrained(checkpoint: Checkpoint, config: Any, placement: Any, dtype: torch.dtype, quantized: Any) -> Any:
    transformers = require("transformers", extra="llm")
    stored = getattr(config, "quantization_config", None)
    mismatches = {"ignore_mismatched_sizes": True} if not stored else {}  # check_loaded_keys names them better
    if isinstance(stored, dict) and stored.get("load_in_4bit"):
        # The folder remembers the machine that wrote it; bfloat16 from there would be emulated on a T4 here.
        stored["bnb_4bit_compute_dtype"] = str(dtype).removeprefix("torch.")
    options: dict[str, Any] = {dtype_argument(transformers.__version__): dtype, **OFFLINE, **mismatches}
    if quantized is not None:
        options["quantization_config"] = quantized
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            device_map=placement,
            use_safetensors=checkpoint.safetensors,
            weights_only=True,
            output_loading_info=True,
            **options,
        )
    except UNREADABLE as error:
        if (problem := unreadable(checkpoint, error)) is None:
            raise
        raise problem from error
    tied = list(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else []
    check_loaded_keys(checkpoint.folder, info, tied=tied)
    _warn_of_offloading(checkpoint, model)
    return model.eval()


def _warn_of_offloading(checkpoint: Checkpoint, model: Any) -> None:
    places = getattr(model, "hf_device_map", None) or {}
    outside = [name for name, place in places.items() if str(place) in ("cpu", "disk")]
    if outside and len(outside) < len(places):
        _logger.warning(
            "%s does not fit the GPUs: %d of %d modules were left on the CPU or disk and will be slow; "
            "use quantization='nf4' or a smaller model",
            checkpoint.folder,
            len(outside),
            len(places),
        )
