"""Whether an adapter is merged: decided from a memory estimate, before anything is loaded.

It promises a policy with its reason. The answer of ``"auto"`` depends on the memory that it is given; where two runs
must agree to the last digit, resolve it once and pass ``"merged"`` or ``"unmerged"`` on, as
``kaggle_utils.inference.judges`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.models.memory import estimate_memory
from kaggle_utils.models.nf4 import expand_layers
from kaggle_utils.models.quantization import QUANTIZATIONS

if TYPE_CHECKING:
    import torch

__all__ = ["MERGES", "choose_merge", "expand_weights", "free_memory"]

MERGES = ("auto", "merged", "unmerged")
"""Policies by name."""

_USABLE = 0.92


def choose_merge(
    merge: str,
    *,
    config: Mapping[str, Any],
    scheme: str,
    dtype: str,
    free_bytes: int | None,
    pack_tokens: int = 8192,
    lora_rank: int = 16,
    stages: int = 1,
    usable: float = _USABLE,
    **sizes: Any,
) -> tuple[bool, str]:
    """Return whether to merge the adapter, and why.

    Args:
        merge: one of :data:`MERGES`.
        config: the base model's ``config.json``.
        scheme: how its weights will lie on the device: ``"none"``, ``"int8"``, ``"nf4"``, ...
        dtype: of the arithmetic, and of weights once they are expanded.
        free_bytes: memory that the device (each of ``stages`` devices) has free, None if unknown.
        pack_tokens: largest pack that will be scored.
        lora_rank: of the adapter.
        stages: how many devices share the layers.
        usable: share of the free memory to plan with; the rest is the allocator's.
        sizes: further options of :func:`~kaggle_utils.models.memory.estimate_memory`, such as ``path``.

    Raises:
        ValueError: an unknown policy, or a scheme that cannot be expanded.

    >>> choose_merge("auto", config={}, scheme="none", dtype="bfloat16", free_bytes=None)
    (True, 'merged: the weights are not quantised, so merging costs no memory')
    """
    if merge not in MERGES:
        raise ValueError(f"unknown merge policy {merge!r}; expected one of {', '.join(MERGES)}")
    if scheme not in QUANTIZATIONS:
        if merge == "merged":
            raise ValueError(f"weights stored as {scheme!r} cannot be expanded here, so the adapter cannot be merged; "
                             "use merge='unmerged', or start from the original weights")  # fmt: skip
        return False, f"unmerged: weights stored as {scheme!r} cannot be expanded here"
    if merge != "auto":
        return merge == "merged", f"{merge}: asked for by the caller"
    if scheme == "none":
        return True, "merged: the weights are not quantised, so merging costs no memory"
    if free_bytes is None:
        return False, f"unmerged: free memory is not known, and {scheme} weights grow severalfold when expanded"
    try:
        need = estimate_memory(
            config, quantization=scheme, dtype=dtype, pack_tokens=pack_tokens, lora_rank=lora_rank, merged=True,
            stages=stages, **sizes,
        ).highest  # fmt: skip
    except ValueError as error:
        return False, f"unmerged: {error}"
    room = int(free_bytes * usable)
    sizes = f"{need / 2**30:.1f} GiB for weights expanded to {dtype}, {room / 2**30:.1f} GiB usable"
    return (True, f"merged into expanded weights: {sizes}") if need <= room else (False, f"unmerged: {sizes}")


def expand_weights(model: torch.nn.Module, *, dtype: torch.dtype) -> None:
    """Expand 4- and 8-bit weights to ``dtype``, in place, so that the model is one that was never quantised."""
    expand_layers(model, dtype=dtype)
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer.remove_quantization_config(model)


def free_memory(device: str) -> int | None:
    """Return the bytes that are free on a device such as ``"cuda:0"`` or ``"cpu"``; None where nothing tells.

    A cap on this process (``torch.cuda.set_per_process_memory_fraction``) and a container's limit count.
    """
    torch = require("torch", extra="llm")
    place = torch.device(device)
    if place.type == "cuda":
        free, total = torch.cuda.mem_get_info(place)
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(place)
        return min(free, int(total * share) - torch.cuda.memory_allocated(place))
    return _free_host_memory() if place.type == "cpu" else None


def _free_host_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used)) if limit != "max" else free
    except (OSError, ValueError):
        return free
