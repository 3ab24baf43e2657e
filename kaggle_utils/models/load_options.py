"""What every loader here agrees on with transformers: no network, no code from a model folder, one load at a time."""

from __future__ import annotations

import pickle
import threading

from kaggle_utils.models.checkpoint import Checkpoint, CheckpointError
from kaggle_utils.models.quantization import stored_quantization

__all__ = ["LOADING_LOCK", "OFFLINE", "UNREADABLE", "agreed_scheme", "dtype_argument", "unreadable"]

LOADING_LOCK = threading.Lock()
"""Held while a model loads: from_pretrained patches torch globally while it runs."""
OFFLINE = {"local_files_only": True, "trust_remote_code": False}
"""Options of every ``from_pretrained``."""
UNREADABLE = (pickle.UnpicklingError, OSError, RuntimeError, EOFError, IndexError)
"""What torch raises at .bin files that are cut, or that hold more than tensors; not all of it is about files."""


def agreed_scheme(checkpoint: Checkpoint, wanted: str) -> str:
    """Return how the weights will lie: as the folder stores them, or as asked for.

    Raises:
        ValueError: the folder is quantised in another way than asked for.
    """
    stored = stored_quantization(checkpoint.config)
    if stored not in ("none", wanted) and wanted != "none":
        raise ValueError(
            f"{checkpoint.folder} is already quantised as {stored!r} and cannot be loaded as {wanted!r}; "
            f"use quantization='none' to load it as it is, or start from the original weights"
        )
    return wanted if stored == "none" else stored


def dtype_argument(version: str) -> str:
    """Return what transformers of this version calls the dtype in ``from_pretrained``.

    >>> dtype_argument("4.41.2"), dtype_argument("4.57.6"), dtype_argument("5.23.0")
    ('torch_dtype', 'dtype', 'dtype')
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def unreadable(checkpoint: Checkpoint, error: Exception) -> CheckpointError | None:
    """Return the error that names the .bin file behind one of :data:`UNREADABLE`, or None where no file is behind it.

    Headers of safetensors files were compared with their sizes before (``open_checkpoint``).
    """
    subclass = isinstance(error, RuntimeError) and type(error) is not RuntimeError  # out of memory on a GPU, say
    if checkpoint.safetensors or subclass or "CUDA" in str(error) or "not enough memory" in str(error):
        return None
    names = ", ".join(file.name for file in checkpoint.weight_files)
    if isinstance(error, (pickle.UnpicklingError, OSError)):
        reason = f"{names} cannot be read as plain tensors, and pickled objects are refused: {error}"
        advice = "use a safetensors copy of this model, or convert it where you trust its maker"
    else:
        reason = f"{names} cannot be read: {type(error).__name__}: {error}"
        advice = f"copy or download it again; there are {checkpoint.weight_bytes} bytes"
    return CheckpointError(checkpoint.folder, [reason, advice])
