"""The base weights of a sequence classifier, read from its folder and checked.

It promises that every parameter came from the folder or is one that the adapter brings, and refuses before gigabytes
are read what bitsandbytes could not compute. It knows nothing of adapters but which parameters they bring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.adapters import Adapter
from kaggle_utils.models.checkpoint import Checkpoint, CheckpointError, check_loaded_keys
from kaggle_utils.models.load_options import OFFLINE, UNREADABLE, dtype_argument, unreadable
from kaggle_utils.models.quantization import check_bitsandbytes, quantization_config, unfit_layers

if TYPE_CHECKING:
    import torch

__all__ = ["PACKED", "check_computable", "empty_classifier", "read_weights", "remove_hooks"]

PACKED = ("int8", "nf4", "fp4")
"""Schemes of bitsandbytes."""

_HEADS = ["score", "classifier", "pooler"]  # small, and what adapters bring: never quantised
_LAST_OF_HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
# Heads of the tasks that base models were trained on; a classifier has no use for them.
_OTHER_HEADS = ("lm_head.", "cls.", "lm_predictions.", "mask_predictions.")


def check_computable(checkpoint: Checkpoint, config: Any, scheme: str, device: str) -> None:
    """Refuse what bitsandbytes cannot compute here before gigabytes are read."""
    check_bitsandbytes("cpu" if device == "cpu" else "cuda")
    if device != "cpu":
        return
    layers = [layer for layer in unfit_layers(empty_classifier(config), quantization=scheme) if not _is_head(layer)]
    if layers:
        raise ValueError(
            f"{checkpoint.folder} cannot be computed as {scheme} on this CPU: bitsandbytes wants in_features in "
            f"multiples of 64 and out_features in multiples of 32, but {len(layers)} layers differ, such as "
            f"{', '.join(layers[:3])}; use quantization='int8' or 'none', or a GPU"
        )


def read_weights(
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
    except UNREADABLE as error:
        # Shapes that differ are an error of transformers where the folder is quantised, and a report elsewhere.
        if "mismatched_sizes" in str(error) and (problems := _head_problems(_head_shapes(checkpoint), config)):
            raise CheckpointError(checkpoint.folder, problems) from error
        if (problem := unreadable(checkpoint, error)) is None:
            raise
        raise problem from error
    if len(set(map(str, (getattr(model, "hf_device_map", None) or {}).values()))) > 1:
        remove_hooks(model)  # they move tensors at every module; a pipeline does that once a stage
    return model, _check_keys(checkpoint, config, info, adapter, notes)


def remove_hooks(model: torch.nn.Module) -> None:
    """Take accelerate's hooks off every module, in place.

    Its own function leaves each module's ``forward`` behind as an attribute, which looks as if somebody had replaced
    it, and hides the class's own.
    """
    require("accelerate", extra="llm").hooks.remove_hook_from_submodules(model)
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) is type(module).forward:
            del module.forward


def _head_shapes(checkpoint: Checkpoint) -> dict[str, Sequence[int]]:
    """Shapes of the heads in the files, from the headers of safetensors; none for other files."""
    safe_open, shapes = require("safetensors", extra="llm").safe_open, {}
    for file in checkpoint.weight_files if checkpoint.safetensors else ():
        with safe_open(file, framework="pt") as content:
            shapes |= {name: content.get_slice(name).get_shape() for name in content.keys() if _is_head(name)}  # noqa: SIM118
    return shapes


def _head_problems(shapes: Mapping[str, Sequence[int]], config: Any) -> list[str]:
    """Heads of another number of outputs than asked for."""
    return [
        f"the head has {shape[0]} outputs ({name}), num_labels={config.num_labels}; give num_labels={shape[0]}, or a "
        f"folder or an adapter= whose head has {config.num_labels}"
        for name, shape in shapes.items()
        if name.endswith(_LAST_OF_HEADS) and shape[0] != config.num_labels
    ]


def _check_keys(
    checkpoint: Checkpoint, config: Any, info: Mapping[str, Any], adapter: Adapter | None, notes: list[str]
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
        mismatched = {k[0]: k[1] for k in filtered["mismatched_keys"] if isinstance(k, tuple)}
        if problems := _head_problems(mismatched, config):
            raise CheckpointError(checkpoint.folder, [*error.problems, *problems]) from None
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


def empty_classifier(config: Any) -> torch.nn.Module:
    """Build the classifier that ``config`` describes on the meta device: names and shapes, no memory."""
    torch = require("torch", extra="llm")
    with torch.device("meta"):
        return require("transformers", extra="llm").AutoModelForSequenceClassification.from_config(config)


def _is_head(name: str) -> bool:
    return any(part in _HEADS for part in name.split(" ")[0].split("."))
