"""Characters that are rare in the whole set: counted a batch at a time, and the rows that hold them.

Counts take one step of numpy for a batch, not one per character. It knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .texts import TextBatch

__all__ = ["CharacterCounts", "count_characters", "rare_characters", "rows_with"]

_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class CharacterCounts:
    """How often characters occur, and in which rows those that few rows hold; small enough to keep for each chunk."""

    codes: np.ndarray
    """Characters that occur, uint32 [m], rising."""
    counts: np.ndarray
    """How often, int64 [m]."""
    seldom_codes: np.ndarray
    """Characters that occur at most ``limit`` times, once for each place: uint32 [p]."""
    seldom_rows: np.ndarray
    """Rows of these places, int64 [p]."""


def count_characters(batches: Sequence[tuple[np.ndarray, np.ndarray]], limit: int) -> CharacterCounts:
    """Count over (code points, row of each), both [C], of several batches."""
    codes = np.concatenate([np.zeros(0, np.uint32), *(codes for codes, _ in batches)])
    rows = np.concatenate([np.zeros(0, np.int32), *(rows for _, rows in batches)])
    totals = np.bincount(codes, minlength=_CODE_POINTS)
    present, seldom = np.flatnonzero(totals), np.flatnonzero((totals <= limit)[codes])
    return CharacterCounts(present.astype(np.uint32), totals[present], codes[seldom], rows[seldom].astype(np.int64))


def rare_characters(totals: np.ndarray, limit: int) -> np.ndarray:
    """bool [0x110000]: characters that occur, but at most ``limit`` times. White space never is one."""
    rare = (totals > 0) & (totals <= limit)
    rare[[9, 10, 13, 32, 0x3000]] = False
    return rare


def rows_with(batch: TextBatch, rare: np.ndarray) -> dict[int, str]:
    """Row -> its first rare character."""
    positions = np.flatnonzero(rare[batch.codes])
    rows, first = np.unique(batch.rows[batch.text_of(positions)], return_index=True)
    return {
        row: chr(batch.codes[position]) for row, position in zip(rows.tolist(), positions[first].tolist(), strict=True)
    }
