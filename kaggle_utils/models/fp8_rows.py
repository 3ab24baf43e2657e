"""Numbers in e4m3 with one scale a row. It knows no layers and no models."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["E4M3_MAX", "quantize_rows"]

E4M3_MAX = 448.0
"""Largest finite number of float8_e4m3fn."""


def quantize_rows(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale each row of ``matrix`` [M, K] to the range of e4m3: e4m3 [M, K] and float32 scales [M, 1].

    ``matrix`` is close to ``values.float() * scales``.
    """
    scale = matrix.abs().amax(dim=1, keepdim=True).float().clamp_min(1e-12) / E4M3_MAX
    return (matrix.float() / scale).clamp(-E4M3_MAX, E4M3_MAX).to(_e4m3()), scale


@functools.lru_cache(maxsize=1)
def _e4m3() -> torch.dtype:
    return require("torch", extra="llm").float8_e4m3fn
