"""From a wish ("auto", "even", a device, a map) to a device map that fits this model and this machine.

It promises that a map is checked before weights are read. It does not weigh layers against free memory: that is
accelerate's work under ``"auto"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.checkpoint import Checkpoint, CheckpointError
from kaggle_utils.models.device_map import even_device_map, validate_device_map

if TYPE_CHECKING:
    import torch

__all__ = ["empty_model", "even_map_of", "plan_placement", "read_config", "visible_devices", "weight_owners"]


def visible_devices() -> list[int | str]:
    """List what a module can be put on here: GPU indices, then ``"cpu"``."""
    torch = require("torch", extra="llm")
    return [*range(torch.cuda.device_count() if torch.cuda.is_available() else 0), "cpu"]


def plan_placement(
    wish: str | int | Mapping[str, int | str], *, skeleton: Callable[[], torch.nn.Module]
) -> tuple[str | dict[str, Any], str]:
    """Return the ``device_map`` for ``from_pretrained`` and the device that decides the dtype.

    Args:
        wish: ``"auto"`` (accelerate shares the model out by free memory; the CPU where there is no GPU), ``"even"``
            (layers shared out evenly over all visible GPUs), a device such as ``"cuda:1"``, 1 or ``"cpu"``, or a map
            from module names to devices.
        skeleton: makes the model on the meta device; called only when module names are needed.

    Raises:
        DeviceMapError: a map that does not fit the model, or devices that are not here.
    """
    devices = visible_devices()
    gpus = [device for device in devices if device != "cpu"]
    if isinstance(wish, str) and wish in ("auto", "even"):
        if not gpus:
            return {"": "cpu"}, "cpu"
        if wish == "auto":
            return "auto", "cuda"
        wish = even_map_of(skeleton(), gpus)
    if isinstance(wish, Mapping):
        validate_device_map(wish, weight_owners(skeleton()), devices)
        return dict(wish), _deciding_device(wish)
    device = "cuda:0" if wish == "cuda" else wish
    validate_device_map({"": device}, ["model"], devices)
    return {"": device}, _deciding_device({"": device})


def read_config(checkpoint: Checkpoint) -> Any:
    """Return the transformers config of a folder.

    Raises:
        CheckpointError: an architecture that this transformers does not know.
    """
    transformers = require("transformers", extra="llm")
    try:
        return transformers.AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError) as error:
        kind = checkpoint.config.get("model_type")
        raise CheckpointError(
            checkpoint.folder,
            [
                f"transformers {transformers.__version__} cannot read its config (model_type {kind!r}): {error}",
                "code that lies in a model folder is never run; a newer transformers may know this model",
            ],
        ) from error


def empty_model(config: Any) -> torch.nn.Module:
    """Build the model that ``config`` describes on the meta device: names and shapes, no memory."""
    torch = require("torch", extra="llm")
    auto_model = require("transformers", extra="llm").AutoModelForCausalLM
    with torch.device("meta"):
        return auto_model.from_config(config, trust_remote_code=False)


def weight_owners(model: torch.nn.Module) -> list[str]:
    """Name the modules that hold parameters or buffers of their own, and so need a place."""
    return [
        name
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))
    ]


def even_map_of(model: torch.nn.Module, devices: list[int | str]) -> dict[str, int | str]:
    """Compute :func:`even_device_map` with the module names of ``model``.

    Raises:
        ValueError: a model without one list of ``num_hidden_layers`` layers.
    """
    name, count = _layer_list(model)
    prefix, _, layers = name.rpartition(".")
    parent = model.get_submodule(prefix)
    owners = weight_owners(model)
    siblings = [key for key, _ in parent.named_children() if any(_lies_in(o, f"{prefix}.{key}") for o in owners)]
    position = siblings.index(layers)
    first = [key for i, key in enumerate(siblings) if i < position or "rotary" in key]
    last = [key for i, key in enumerate(siblings) if i > position and key not in first]
    head = model.get_output_embeddings()
    head_name = next((key for key, module in model.named_modules() if module is head), None)
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    return even_device_map(
        count, devices, prefix=prefix, layers=layers, first=first, last=last, head=head_name, tied=tied
    )


def _layer_list(model: torch.nn.Module) -> tuple[str, int]:
    torch = require("torch", extra="llm")
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    count = config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count and "." in name:
            return name, count
    raise ValueError(
        f"found no list of {count} layers in {type(model).__name__}, so they cannot be shared out evenly; "
        "use device_map='auto' or give a map"
    )


def _lies_in(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _deciding_device(device_map: Mapping[str, int | str]) -> str:
    """Return the device whose abilities decide the dtype of a whole map.

    >>> _deciding_device({"a": 0, "b": 1}), _deciding_device({"a": "cuda:1"}), _deciding_device({"": "cpu"})
    ('cuda', 'cuda:1', 'cpu')
    """
    gpus = {f"cuda:{place}" if str(place).isdigit() else str(place) for place in device_map.values()} - {"cpu"}
    if not gpus:
        return "cpu"
    return gpus.pop() if len(gpus) == 1 else "cuda"
