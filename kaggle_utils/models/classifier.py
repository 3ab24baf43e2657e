"""A sequence classifier and its tokenizer, from a folder on disk, with or without a LoRA adapter.

It promises a model whose every weight came from the folder or the adapter (the score head above all), or an error that
names what is missing; and it says which precision and merge policy it chose, and why. It does not score anything: see
``models.packed``.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_fitting import apply_adapter
from kaggle_utils.models.adapters import Adapter, LoraSettings, read_adapter
from kaggle_utils.models.checkpoint import Checkpoint, CheckpointError, check_loaded_keys, open_checkpoint
from kaggle_utils.models.load_options import LOADING_LOCK, OFFLINE, agreed_scheme, dtype_argument
from kaggle_utils.models.loading import load_tokenizer
from kaggle_utils.models.merging import choose_merge, free_memory
from kaggle_utils.models.placement import plan_placement, read_config
from kaggle_utils.models.precision import choose_dtype
from kaggle_utils.models.quantization import (
    check_bitsandbytes,
    check_name,
    quantization_config,
    unfit_layers,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LoadedClassifier", "load_sequence_classifier"]

_logger = logging.getLogger(__name__)

_HEADS = ["score", "classifier", "pooler"]  # small, and what adapters bring: never quantised
# Heads of the tasks that base models were trained on; a classifier has no use for them.
_OTHER_HEADS = ("lm_head.", "cls.", "lm_predictions.", "mask_predictions.")
_PACKED = ("int8", "nf4", "fp4")


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is ready to score."""

    model: PreTrainedModel
    """In ``eval`` mode, of transformers' own class."""
    tokenizer: PreTrainedTokenizerBase
    """With a pad token."""
    device: str
    """Where it lies, as torch calls it."""
    dtype: torch.dtype
    """What it computes in."""
    notes: list[str] = field(default_factory=list)
    """What was chosen, and why; also logged."""


def load_sequence_classifier(
    path: str | os.PathLike[str],
    *,
    num_labels: int | None = None,
    quantization: str = "none",
    adapter: str | os.PathLike[str] | Adapter | None = None,
    lora: LoraSettings | Mapping[str, Any] | None = None,
    device: str | int = "auto",
    dtype: str | torch.dtype = "auto",
    merge: str = "auto",
    pack_tokens: int = 8192,
) -> LoadedClassifier:
    """Load the classifier in the folder ``path`` onto one device, ready for inference.

    Args:
        path: a local folder: Gemma-2, Llama, Mistral, Qwen2, Qwen3, BERT, DeBERTa-v2 or -v3 (others load as far as
            transformers knows them). Without a trained score head, ``adapter`` has to bring one.
        num_labels: outputs of the head. None: as the adapter's head or else the folder's settings say.
        quantization: ``"none"``, ``"int8"``, ``"nf4"`` or ``"fp4"``; the heads stay as they are.
        adapter: a peft folder, a raw LoRA state dict, or what :func:`~kaggle_utils.models.adapters.read_adapter` gave.
        lora: settings of a raw state dict, such as ``{"alpha": 32}``.
        device: ``"auto"`` (the first GPU, else the CPU), ``"cuda:1"``, an index, ``"cpu"``.
        dtype: of the computation; ``"auto"``: bfloat16 on GPUs that have it, float16 on others, float32 on a CPU.
        merge: ``"merged"`` (quantised weights are expanded first), ``"unmerged"``, or ``"auto"``: merged where the
            estimate says that it fits.
        pack_tokens: largest pack that will be scored, for that estimate.

    Raises:
        FileNotFoundError: no folder or no adapter there; the message lists what is nearby.
        CheckpointError: files missing, cut or of another model; weights left over or left empty, by name.
        DeviceMapError: a device that is not here.
        ValueError: settings that contradict each other or cannot be computed here.
        RuntimeError: bitsandbytes does not work here.
    """
    check_name(quantization)
    if isinstance(device, Mapping) or device == "even":
        raise ValueError(f"device is {device!r}; a classifier lies on one device: 'auto', 'cuda:1', an index or 'cpu'")
    checkpoint = open_checkpoint(path)
    scheme = agreed_scheme(checkpoint, quantization)
    update = adapter if isinstance(adapter, Adapter) or adapter is None else read_adapter(adapter, settings=lora)
    if lora is not None and (adapter is None or update is adapter):
        raise ValueError(f"lora={lora} has no adapter file to go with; give adapter= as a path too")
    placement, place = plan_placement(_first_device() if device == "auto" else device, skeleton=lambda: None)
    chosen, reason = choose_dtype(dtype, device=place)
    notes = [f"dtype {chosen} ({reason}), quantization {scheme}, on {place}"]
    if str(chosen) == "torch.float16" and checkpoint.config.get("model_type") == "gemma2":
        notes.append("Gemma-2 in float16 can overflow on some rows: check that logits are finite")
    merged = False
    if update is not None:
        name = str(chosen).removeprefix("torch.")
        merged, why = choose_merge(
            merge, config=checkpoint.config, scheme=scheme, dtype=name, free_bytes=free_memory(place),
            pack_tokens=pack_tokens, lora_rank=update.rank,
        )  # fmt: skip
        notes += [update.summary(), f"adapter {why}"]
    with LOADING_LOCK:
        started = time.monotonic()
        config = read_config(checkpoint)
        config.num_labels = _labels(checkpoint, num_labels, update)
        if scheme in _PACKED:
            _check_computable(checkpoint, config, scheme, place)
        model, uncovered = _from_folder(checkpoint, config, placement, chosen, scheme, update, notes)
        if update is not None:
            model = apply_adapter(model, update, merge=merged, dtype=chosen, uncovered=uncovered)
        tokenizer = load_tokenizer(checkpoint.folder)
    notes += _agree_on_padding(model, tokenizer)
    for note in notes:
        _logger.info("%s: %s", path, note)
    _logger.info("%s: loaded in %.1f s", path, time.monotonic() - started)
    return LoadedClassifier(model.eval(), tokenizer, place, chosen, notes)


def _first_device() -> str:
    return "cuda:0" if require("torch", extra="llm").cuda.is_available() else "cpu"


def _labels(checkpoint: Checkpoint, wanted: int | None, adapter: Adapter | None) -> int:
    """How many outputs the head has."""
    brought = adapter.num_labels if adapter is not None else None
    stored = len(checkpoint.config.get("id2label") or ()) or checkpoint.config.get("num_labels")
    if wanted is not None and brought is not None and wanted != brought:
        raise ValueError(f"num_labels={wanted}, but the head that {adapter.source} brings has {brought} outputs")
    return wanted or brought or stored or 2  # transformers' own default, which settings of 2 labels leave out


def _empty_classifier(config: Any) -> torch.nn.Module:
    torch = require("torch", extra="llm")
    with torch.device("meta"):
        return require("transformers", extra="llm").AutoModelForSequenceClassification.from_config(config)


def _check_computable(checkpoint: Checkpoint, config: Any, scheme: str, device: str) -> None:
    """Refuse what bitsandbytes cannot compute here before gigabytes are read."""
    check_bitsandbytes("cpu" if device == "cpu" else "cuda")
    if device != "cpu":
        return
    layers = [layer for layer in unfit_layers(_empty_classifier(config), quantization=scheme) if not _is_head(layer)]
    if layers:
        raise ValueError(
            f"{checkpoint.folder} cannot be computed as {scheme} on this CPU: bitsandbytes wants in_features in "
            f"multiples of 64 and out_features in multiples of 32, but {len(layers)} layers differ, such as "
            f"{', '.join(layers[:3])}; use quantization='int8' or 'none', or a GPU"
        )


def _is_head(name: str) -> bool:
    return any(part in _HEADS for part in name.split(" ")[0].split("."))


def _from_folder(
    checkpoint: Checkpoint, config: Any, placement: Any, dtype: torch.dtype, scheme: str, adapter: Adapter | None,
    notes: list[str],
) -> tuple[Any, list[str]]:  # fmt: skip
    """Load the base model; also returns the parameters that its weights did not fill and the adapter has to."""
    transformers = require("transformers", extra="llm")
    options: dict[str, Any] = {dtype_argument(transformers.__version__): dtype, **OFFLINE}
    stored = getattr(config, "quantization_config", None)
    if not stored:
        options["ignore_mismatched_sizes"] = True  # the check below names them better
        if (settings := quantization_config(scheme, compute_dtype=dtype)) is not None:
            settings.llm_int8_skip_modules = list(_HEADS)
            options["quantization_config"] = settings
    elif isinstance(stored, dict):
        if stored.get("load_in_4bit"):  # the folder remembers the machine that wrote it
            stored["bnb_4bit_compute_dtype"] = str(dtype).removeprefix("torch.")
        if not stored.get("llm_int8_skip_modules"):
            stored["llm_int8_skip_modules"] = list(_HEADS)
    try:
        model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            checkpoint.folder, config=config, device_map=placement, use_safetensors=checkpoint.safetensors,
            weights_only=True, output_loading_info=True, **options,
        )  # fmt: skip
    except (pickle.UnpicklingError, OSError) as error:
        if checkpoint.safetensors:
            raise
        names = ", ".join(file.name for file in checkpoint.weight_files)
        reason = f"{names} cannot be read as plain tensors, and pickled objects are refused: {error}"
        raise CheckpointError(checkpoint.folder, [reason, "use a safetensors copy of this model"]) from error
    return model, _check_keys(checkpoint, info, adapter, notes)


def _check_keys(
    checkpoint: Checkpoint, info: Mapping[str, Any], adapter: Adapter | None, notes: list[str]
) -> list[str]:
    """Raise for weights left over or left empty, except what the adapter brings; returns that."""
    brought = set(adapter.modules) if adapter is not None else set()
    dropped = [key for key in info.get("unexpected_keys") or () if str(key).startswith(_OTHER_HEADS)]
    if dropped:
        notes.append(f"left out, since a classifier does not use it: {', '.join(sorted(dropped)[:4])}")
    name = lambda key: str(key[0] if isinstance(key, tuple) else key)  # noqa: E731
    filtered = {
        "missing_keys": [k for k in info.get("missing_keys") or () if name(k) not in brought],
        "unexpected_keys": [k for k in info.get("unexpected_keys") or () if k not in dropped],
        "mismatched_keys": [k for k in info.get("mismatched_keys") or () if name(k) not in brought],
        "error_msgs": info.get("error_msgs"),
    }
    try:
        check_loaded_keys(checkpoint.folder, filtered)
    except CheckpointError as error:
        heads = sorted(key for key in map(name, filtered["missing_keys"]) if _is_head(key))
        if not heads:
            raise
        advice = f"this folder is a base model without a trained head ({', '.join(heads)}): "
        advice += "give the folder that was trained as a classifier, or adapter= with one that brings the head"
        if adapter is not None:
            advice += f"; {adapter.source} brings {', '.join(sorted(brought)) or 'no head'}"
        raise CheckpointError(checkpoint.folder, [*error.problems, advice]) from None
    left = [name(k) for kind in ("missing_keys", "mismatched_keys") for k in info.get(kind) or ()]
    return sorted(set(left) & brought)


def _agree_on_padding(model: Any, tokenizer: Any) -> list[str]:
    """Give tokenizer and model one pad token that has an embedding; returns notes.

    Rows are pooled by their length, so the pad token's meaning does not matter, only that it can be looked up.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    usable = lambda i: isinstance(i, int) and 0 <= i < rows  # noqa: E731
    notes = []
    if not usable(tokenizer.pad_token_id):
        ids = [model.config.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, 0]
        pad = next(i for i in ids if usable(i))
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
        notes.append(f"the tokenizer had no usable pad token: {tokenizer.pad_token!r} (id {pad}) is used")
    model.config.pad_token_id = tokenizer.pad_token_id
    return notes
