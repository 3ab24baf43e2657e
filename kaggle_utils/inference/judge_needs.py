"""How a judge from a model folder computes and what that takes, settled before anything is loaded.

It promises that everything which is "auto" about a judge's arithmetic has become a name, so that it can be part of its
fingerprint: the same folder, settings and kinds of devices always give the same names, whatever is free at the moment.
It reads configurations and headers, never weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_utils.inference.placement import ModelNeed
from kaggle_utils.models.checkpoint import open_checkpoint
from kaggle_utils.models.fp8 import fp8_supported
from kaggle_utils.models.load_options import agreed_scheme
from kaggle_utils.models.memory import MemoryEstimate, estimate_memory
from kaggle_utils.models.merging import choose_merge
from kaggle_utils.models.precision import choose_dtype
from kaggle_utils.models.rooms import DeviceRoom
from kaggle_utils.models.shapes import DECODERS, FAMILIES

__all__ = ["Precision", "check_fp8", "judge_need", "settle_precision"]

_logger = logging.getLogger(__name__)

_UNKNOWN_RANK = 64  # of a raw state dict, which is not read for an estimate


@dataclass(frozen=True)
class Precision:
    """How a judge computes; nothing is left open."""

    quantization: str
    """``"none"``, ``"int8"``, ``"nf4"``, ``"fp4"`` or ``"fp8"``, as asked for."""
    dtype: str
    """``"float16"``, ``"bfloat16"`` or ``"float32"``."""
    merge: str
    """``"merged"`` (the adapter added to the weights, quantised ones expanded once) or ``"unmerged"``."""
    reason: str
    """Why, in words for the log."""


def settle_precision(model: Mapping[str, Any], rooms: Sequence[DeviceRoom], *, longest: int = 2048) -> Precision:
    """Decide what ``"auto"`` means, for all of ``rooms`` together: any of them may be given any row.

    Args:
        model: keyword arguments of :func:`~kaggle_utils.inference.judges.packed_scorer`: folder, adapter, lora,
            quantization, keep, dtype, merge, max_tokens, num_labels.
        rooms: the devices; quantised weights are expanded where that fits on the smallest, since expanded ones are
            faster.
        longest: tokens of the longest row.

    Raises:
        ValueError: fp8 where a device has none, or settings that contradict each other.
        CheckpointError: the folder is not a whole model.
    """
    checkpoint = open_checkpoint(model["folder"], tokenizer=False)
    if model["quantization"] == "fp8":
        return _fp8(model, rooms, family=checkpoint.config.get("model_type"))
    if model.get("keep"):
        raise ValueError(f"keep={list(model['keep'])} names layers that fp8 leaves alone; it needs quantization='fp8'")
    scheme = agreed_scheme(checkpoint, model["quantization"])
    dtype, why = _dtype(model["dtype"], rooms)
    path = _path(checkpoint.config, model, rooms)
    smallest = min(rooms, key=lambda room: room.usable)
    merged, merging = choose_merge(
        model["merge"], config=checkpoint.config, scheme=scheme, dtype=dtype, free_bytes=smallest.usable, usable=1.0,
        pack_tokens=model["max_tokens"], lora_rank=_rank(model), path=path, longest=longest,
        num_labels=model["num_labels"],
    )  # fmt: skip
    return Precision(model["quantization"], dtype, "merged" if merged else "unmerged", f"{why}; {merging}")


def judge_need(name: str, model: Mapping[str, Any], rooms: Sequence[DeviceRoom], *, longest: int = 2048) -> ModelNeed:
    """Estimate what a judge takes on one of ``rooms``, and in pipelines over several; arguments as above, settled."""
    checkpoint = open_checkpoint(model["folder"], tokenizer=False)
    config, family = checkpoint.config, checkpoint.config.get("model_type")
    if family not in FAMILIES:
        size = checkpoint.weight_bytes
        _logger.warning("%s: model_type %r is not known, so its memory is guessed from its files", name, family)
        return ModelNeed(name, size, size // 4, stages=())
    fp8 = model["quantization"] == "fp8"
    scheme = "fp8" if fp8 else agreed_scheme(checkpoint, model["quantization"])
    merged = model["merge"] == "merged" and not fp8 and (scheme != "none" or model.get("adapter") is not None)

    def estimate(stages: int) -> MemoryEstimate:
        return estimate_memory(
            config, quantization=scheme, dtype=model["dtype"], pack_tokens=model["max_tokens"],
            compiled=model["compile"] is True, lora_rank=_rank(model), merged=merged,
            folded=scheme in ("nf4", "fp4") and bool(_gpus(rooms)), stages=stages, path=_path(config, model, rooms),
            longest=longest, num_labels=model["num_labels"],
        )  # fmt: skip

    whole = estimate(1)
    most = min(len(rooms), config["num_hidden_layers"]) if family in DECODERS else 1
    stages = tuple(estimate(count).highest for count in range(2, most + 1))
    return ModelNeed(name, whole.weights, whole.activations, whole.peak_while_loading, stages)


def check_fp8(rooms: Sequence[DeviceRoom]) -> None:
    """Raise ValueError unless each of ``rooms`` multiplies 8-bit floating point in hardware."""
    without = [
        f"{room.name} ({'capability ' + '.'.join(map(str, room.capability)) if room.capability else 'no known GPU'})"
        for room in rooms
        if not fp8_supported(room.capability)
    ]
    if without:
        raise ValueError(
            "quantization='fp8' needs GPUs of compute capability 8.9 or newer (L4, RTX 40, H100), which "
            f"{', '.join(without)} is not; use 'nf4' or 'int8' on small cards, 'none' where the weights fit as they are"
        )


def _fp8(model: Mapping[str, Any], rooms: Sequence[DeviceRoom], *, family: Any) -> Precision:
    check_fp8(rooms)
    problems = []
    if family not in DECODERS:
        problems.append(f"model_type is {family!r}, and fp8 layers are made for {', '.join(DECODERS)}")
    if model["merge"] == "unmerged":
        problems.append("merge is 'unmerged', but fp8 weights are made from merged ones")
    if model["dtype"] not in ("auto", "bfloat16", "bf16"):
        problems.append(f"dtype is {model['dtype']!r}, but fp8 layers compute between bfloat16 ones")
    if problems:
        raise ValueError("quantization='fp8' cannot be used: " + "; ".join(problems))
    return Precision("fp8", "bfloat16", "merged", "merged once in bfloat16, then the layers' weights scaled to fp8")


def _dtype(wanted: str, rooms: Sequence[DeviceRoom]) -> tuple[str, str]:
    if wanted != "auto":
        return str(choose_dtype(wanted, device="cpu")[0]).removeprefix("torch."), f"{wanted} asked for by the caller"
    gpus = _gpus(rooms)
    if not gpus:
        return "float32", "float32 on CPUs"
    old = [room.name for room in gpus if (room.capability or (0, 0)) < (8, 0)]
    return ("float16", f"float16, since {', '.join(old)} has no bfloat16") if old else ("bfloat16", "bfloat16")


def _path(config: Mapping[str, Any], model: Mapping[str, Any], rooms: Sequence[DeviceRoom]) -> str | None:
    """The attention path that takes most memory among those that the devices may take; None: as estimates assume."""
    gpus = _gpus(rooms)
    if config.get("model_type") not in DECODERS or not gpus:
        return None
    new = all((room.capability or (0, 0)) >= (8, 0) for room in gpus)
    return "flex" if new and model["compile"] is True else "ragged"  # flex is a kernel only where it is compiled


def _gpus(rooms: Sequence[DeviceRoom]) -> list[DeviceRoom]:
    return [room for room in rooms if room.name.startswith("cuda")]


def _rank(model: Mapping[str, Any]) -> int:
    """Rank of the adapter, without reading its tensors."""
    if model.get("adapter") is None:
        return 0
    adapter = Path(model["adapter"])
    settings = (adapter if adapter.is_dir() else adapter.parent) / "adapter_config.json"
    if settings.is_file():
        found = json.loads(settings.read_text(encoding="utf-8")).get("r")
    else:
        found = (model.get("lora") or {}).get("r")
    return found if isinstance(found, int) and found > 0 else _UNKNOWN_RANK
