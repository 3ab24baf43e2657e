"""Which floating-point type a model computes in, and why.

It promises a choice that the device executes in hardware, with the reason in words. It does not know the model: one
that overflows in float16 has to be given ``dtype="bfloat16"`` or ``"float32"`` by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["choose_dtype"]

_NAMES = {
    "float32": "float32",
    "fp32": "float32",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
}


def choose_dtype(dtype: str | torch.dtype = "auto", *, device: str | int | torch.device) -> tuple[torch.dtype, str]:
    """Return the dtype to compute in on ``device``, and the reason for it.

    Args:
        dtype: ``"auto"``, a name such as ``"bfloat16"`` or ``"fp16"``, or a ``torch.dtype``.
        device: ``"cpu"``, ``"cuda:1"``, an index, or ``"cuda"`` for all visible GPUs together (the weakest decides).

    bfloat16 needs compute capability 8.0 (Ampere); ``torch.cuda.is_bf16_supported()`` is not asked, because it also
    says yes where bfloat16 is only emulated (T4, P100).

    Raises:
        ValueError: an unknown dtype name, or a device that is not here.
    """
    torch = require("torch", extra="llm")
    if dtype != "auto":
        return _named_dtype(torch, dtype), "asked for by the caller"
    place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if place.type == "cpu":
        return torch.float32, "a CPU: half precision is slow or missing there, float32 used"
    if place.type != "cuda":
        return torch.float32, f"no rule for device type {place.type!r}, float32 used"
    return _gpu_dtype(torch, place.index)


def _named_dtype(torch, dtype):
    if isinstance(dtype, torch.dtype):
        return dtype
    name = _NAMES.get(str(dtype).removeprefix("torch."))
    if name is None:
        raise ValueError(
            f"unknown dtype {dtype!r}; expected 'auto', a torch.dtype or one of {', '.join(sorted(_NAMES))}"
        )
    return getattr(torch, name)


def _gpu_dtype(torch, index: int | None):
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 or (index is not None and index >= count):
        raise ValueError(
            f"device cuda{'' if index is None else f':{index}'} is not here: {count} GPUs are visible; "
            "use device_map='cpu', or switch the notebook's accelerator on"
        )
    chosen = range(count) if index is None else [index]
    weakest = min(chosen, key=torch.cuda.get_device_capability)
    capability = torch.cuda.get_device_capability(weakest)
    label = f"{torch.cuda.get_device_name(weakest)} (compute capability {capability[0]}.{capability[1]})"
    if capability >= (8, 0):
        return torch.bfloat16, f"{label} computes bfloat16 in hardware"
    return torch.float16, f"{label} has no bfloat16 in hardware, float16 used"
