"""A sequence classifier and its tokenizer, from a folder on disk, with or without a LoRA adapter.

It promises a model whose every weight came from the folder or the adapter (the score head above all), or an error that
names what is missing; and it says which precision and merge policy it chose, and why. It does not score anything: see
``models.packed``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapter_fitting import apply_adapter
from kaggle_utils.models.adapters import Adapter, read_adapter
from kaggle_utils.models.checkpoint import Checkpoint, has_tokenizer, open_checkpoint
from kaggle_utils.models.classifier_weights import PACKED, check_computable, empty_classifier, read_weights
from kaggle_utils.models.load_options import LOADING_LOCK, agreed_scheme
from kaggle_utils.models.loading import load_tokenizer
from kaggle_utils.models.merging import choose_merge, expand_weights, free_memory
from kaggle_utils.models.pipeline import split_layers, stage_devices, stage_map
from kaggle_utils.models.placement import plan_placement, read_config
from kaggle_utils.models.precision import choose_dtype
from kaggle_utils.models.quantization import check_name
from kaggle_utils.models.raw_lora import LoraSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LoadedClassifier", "load_sequence_classifier"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is ready to score."""

    model: PreTrainedModel
    """In ``eval`` mode, of transformers' own class."""
    tokenizer: PreTrainedTokenizerBase | None
    """With a pad token. None where the folder has no tokenizer and none was given."""
    device: str
    """Where it lies, as torch calls it; the devices of a pipeline with commas between them."""
    dtype: torch.dtype
    """What it computes in."""
    notes: list[str] = field(default_factory=list)
    """What was chosen, and why; also logged."""


def load_sequence_classifier(
    path: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    num_labels: int | None = None,
    quantization: str = "none",
    adapter: str | os.PathLike[str] | Adapter | None = None,
    lora: LoraSettings | Mapping[str, Any] | None = None,
    device: str | int = "auto",
    dtype: str | torch.dtype = "auto",
    merge: str = "auto",
    pack_tokens: int = 8192,
) -> LoadedClassifier:
    """Load the classifier in the folder ``path`` onto one device, or a pipeline of them, ready for inference.

    Args:
        path: a local folder: Gemma-2, Llama, Mistral, Qwen2, Qwen3, BERT, DeBERTa-v2 or -v3 (others load as far as
            transformers knows them). Without a trained score head, ``adapter`` has to bring one.
        tokenizer: the folder of its tokenizer. None: ``path`` itself, or none where nothing of it lies there, as in
            many folders of trainers; rows of token ids are scored without it.
        num_labels: outputs of the head. None: as the adapter's head or else the folder's settings say.
        quantization: ``"none"``, ``"int8"``, ``"nf4"`` or ``"fp4"``; the heads stay as they are.
        adapter: a peft folder, a raw LoRA state dict, or what :func:`~kaggle_utils.models.adapters.read_adapter` gave.
        lora: settings of a raw state dict, such as ``{"alpha": 32}``.
        device: ``"auto"`` (the first GPU, else the CPU), ``"cuda:1"``, an index, ``"cpu"``; ``"cuda:0,cuda:1"`` lays a
            decoder's layers out over both (``models.pipeline``), each read straight to its own device.
        dtype: of the computation; ``"auto"``: bfloat16 on GPUs that have it, float16 on others, float32 on a CPU.
        merge: ``"merged"`` (quantised weights are expanded first, and also where there is no adapter),
            ``"unmerged"``, or ``"auto"``: an adapter is merged where the estimate says that it fits.
        pack_tokens: largest pack that will be scored, for that estimate.

    Raises:
        FileNotFoundError: no folder or no adapter there; the message lists what is nearby.
        CheckpointError: files missing, cut or of another model; weights left over or left empty, by name.
        DeviceMapError: a device that is not here.
        ValueError: settings that contradict each other or cannot be computed here.
        RuntimeError: bitsandbytes does not work here.
    """
    check_name(quantization)
    places = _places(device)
    checkpoint = open_checkpoint(path, tokenizer=False)
    words = _tokenizer_folder(checkpoint, tokenizer)
    scheme = agreed_scheme(checkpoint, quantization)
    update = adapter if isinstance(adapter, Adapter) or adapter is None else read_adapter(adapter, settings=lora)
    if lora is not None and (adapter is None or update is adapter):
        raise ValueError(f"lora={lora} has no adapter file to go with; give adapter= as a path too")
    # The weakest of a pipeline's devices decides: float16 runs on all of them.
    chosen, reason = min((choose_dtype(dtype, device=place) for place in places), key=lambda c: "bfloat" in str(c[0]))
    notes = [f"dtype {chosen} ({reason}), quantization {scheme}, on {' and '.join(places)}"]
    if str(chosen) == "torch.float16" and checkpoint.config.get("model_type") == "gemma2":
        notes.append("Gemma-2 in float16 can overflow on some rows: check that logits are finite")
    merged = False
    if update is not None or merge != "auto":
        rank = update.rank if update is not None else 0
        merged, why = _choose_merge(merge, checkpoint, scheme, chosen, places, pack_tokens=pack_tokens, lora_rank=rank)
        notes += [update.summary(), f"adapter {why}"] if update is not None else []
    with LOADING_LOCK:
        started = time.monotonic()
        config = read_config(checkpoint)
        config.num_labels = _labels(checkpoint, num_labels, update)
        if scheme in PACKED:
            check_computable(checkpoint, config, scheme, places[0])
        model, uncovered = read_weights(checkpoint, config, _device_map(config, places), chosen, scheme, update, notes)
        if update is not None:
            model = apply_adapter(model, update, merge=merged, dtype=chosen, uncovered=uncovered)
        elif merged and scheme in PACKED:
            expand_weights(model, dtype=chosen)
            notes.append(f"weights {why}")
        if len(places) > 1:
            starts = split_layers(model, places)
            notes.append(f"cut into {len(places)} stages, which begin at layers {starts}")
        reader = load_tokenizer(words) if words is not None else None
    if reader is None:
        notes.append("no tokenizer lies in the folder; tokenizer= names another one")
    notes += _agree_on_padding(model, reader)
    for note in notes:
        _logger.info("%s: %s", path, note)
    _logger.info("%s: loaded in %.1f s", path, time.monotonic() - started)
    return LoadedClassifier(model.eval(), reader, ",".join(places), chosen, notes)


def _tokenizer_folder(checkpoint: Checkpoint, given: str | os.PathLike[str] | None) -> Path | None:
    """Where the tokenizer lies, looked at before gigabytes are read."""
    if given is None:
        return checkpoint.folder if has_tokenizer(checkpoint.folder) else None
    folder = Path(given).expanduser()
    if not folder.is_dir() or not has_tokenizer(folder):
        there = (
            ", ".join(sorted(p.name for p in folder.iterdir())[:20]) or "nothing" if folder.is_dir() else "no folder"
        )
        raise FileNotFoundError(
            f"no tokenizer at {str(given)!r}, expected a folder with tokenizer.json or the like; there is: {there}. "
            "Give the folder of the model that this one was trained from"
        )
    return folder


def _places(device: Any) -> list[str]:
    """The devices, each checked to be here and named as torch names it."""
    if isinstance(device, Mapping) or device == "even":
        raise ValueError(f"device is {device!r}; a classifier lies on one device ('auto', 'cuda:1', an index, 'cpu') "
                         "or on a pipeline of them ('cuda:0,cuda:1')")  # fmt: skip
    if device == "auto":
        device = _first_device()
    wishes = stage_devices(device) if isinstance(device, str) and "," in device else [device]
    return [plan_placement(wish, skeleton=lambda: None)[1] for wish in wishes]


def _device_map(config: Any, places: list[str]) -> dict[str, Any]:
    """Where ``from_pretrained`` puts what it reads, so that no device ever holds the whole of a pipeline's model."""
    if len(set(places)) == 1:
        return {"": places[0]}
    return plan_placement(stage_map(config.num_hidden_layers, places), skeleton=lambda: empty_classifier(config))[0]


def _choose_merge(
    merge: str, checkpoint: Checkpoint, scheme: str, dtype: torch.dtype, places: list[str], **options: Any
) -> tuple[bool, str]:
    free = [free_memory(place) for place in places]
    return choose_merge(
        merge, config=checkpoint.config, scheme=scheme, dtype=str(dtype).removeprefix("torch."),
        free_bytes=min(free) if None not in free else None, stages=len(places), **options,
    )  # fmt: skip


def _first_device() -> str:
    return "cuda:0" if require("torch", extra="llm").cuda.is_available() else "cpu"


def _labels(checkpoint: Checkpoint, wanted: int | None, adapter: Adapter | None) -> int:
    """How many outputs the head has."""
    brought = adapter.num_labels if adapter is not None else None
    stored = len(checkpoint.config.get("id2label") or ()) or checkpoint.config.get("num_labels")
    if wanted is not None and brought is not None and wanted != brought:
        raise ValueError(f"num_labels={wanted}, but the head that {adapter.source} brings has {brought} outputs")
    return wanted or brought or stored or 2  # transformers' own default, which settings of 2 labels leave out


def _agree_on_padding(model: Any, tokenizer: Any) -> list[str]:
    """Give tokenizer (if there is one) and model one pad token that has an embedding; returns notes.

    Rows are pooled by their length, so the pad token's meaning does not matter, only that it can be looked up.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    usable = lambda i: isinstance(i, int) and 0 <= i < rows  # noqa: E731
    notes = []
    if tokenizer is None:
        ids = [model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id, 0]
        model.config.pad_token_id = next(i for i in ids if usable(i))
        return notes
    if not usable(tokenizer.pad_token_id):
        ids = [model.config.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, 0]
        pad = next(i for i in ids if usable(i))
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
        notes.append(f"the tokenizer had no usable pad token: {tokenizer.pad_token!r} (id {pad}) is used")
    model.config.pad_token_id = tokenizer.pad_token_id
    return notes
