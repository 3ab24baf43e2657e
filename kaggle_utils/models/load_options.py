"""What every loader here agrees on with transformers: no network, no code from a model folder, one load at a time."""

from __future__ import annotations

import threading

from kaggle_utils.models.checkpoint import Checkpoint
from kaggle_utils.models.quantization import stored_quantization

__all__ = ["LOADING_LOCK", "OFFLINE", "agreed_scheme", "dtype_argument"]

LOADING_LOCK = threading.Lock()
"""Held while a model loads: from_pretrained patches torch globally while it runs."""
OFFLINE = {"local_files_only": True, "trust_remote_code": False}
"""Options of every ``from_pretrained``."""


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
