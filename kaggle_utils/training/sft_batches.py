"""Token rows as batches of a Trainer: packed or padded, for training and for evaluations.

It promises the same rows in the same batches whether or not a run was interrupted, and that each row's noise scale
(NEFTune) is its own length's, packed or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.training.fold_batches import LengthGroupedBatches
from kaggle_utils.training.sft_attention import model_inputs
from kaggle_utils.training.sft_data import SftRows
from kaggle_utils.training.sft_packing import IGNORED, best_fit_packs, pack_batch, pad_batch
from kaggle_utils.training.sft_settings import SftSettings
from kaggle_utils.training.step_shares import SharedBatches, SharedItems, StepShare

__all__ = ["NOISE", "PackedRows", "SftCollator", "eval_batches", "shared_batches", "training_batches"]

NOISE = "noise_scale"
"""Name of the array of one over the square root of each token's row length; 0 for filler."""


class PackedRows:
    """Packs (or single rows) as a map-style data set: an item is a list of (ids, labels).

    Args:
        rows: the rows.
        size: tokens of a pack; None: every row is an item of its own.
    """

    def __init__(self, rows: SftRows, *, size: int | None) -> None:
        lengths = rows.lengths
        self.packs = [[row] for row in range(len(rows))] if size is None else best_fit_packs(lengths, size)
        self.lengths = np.array([lengths[pack].sum() for pack in self.packs], dtype=np.int64)
        self._rows = rows

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self._rows[row] for row in self.packs[number]]


def training_batches(items: PackedRows, settings: SftSettings) -> LengthGroupedBatches:
    """The order of training: a function of seed and epoch alone."""
    return LengthGroupedBatches(
        [items.lengths],
        batch_size=settings.per_device_train_batch_size,
        seed=settings.seed,
        group=settings.group_by_length,
    )


def shared_batches(
    items: PackedRows, batches: LengthGroupedBatches, share: StepShare, *, rank: int
) -> tuple[SharedItems, SharedBatches]:
    """What one of several processes trains on: items, and the order of its own."""

    def silenced(item: list[tuple[np.ndarray, np.ndarray]], weight: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokens are counted over all processes anyway; what only stands in must have none that is learnt."""
        return item if weight else [(ids, np.full_like(labels, IGNORED)) for ids, labels in item]

    return SharedItems(items, silenced), SharedBatches(batches, share, rank=rank)


def eval_batches(rows: SftRows, settings: SftSettings) -> tuple[PackedRows, list[list[int]]]:
    """The rows of every evaluation, and their batches; single rows longest first, so that little is padded."""
    most = settings.eval_max_rows or len(rows)
    chosen = np.sort(np.random.default_rng([settings.seed, 1]).permutation(len(rows))[:most])
    part = SftRows([rows.ids[i] for i in chosen], [rows.labels[i] for i in chosen], rows.report)
    items = PackedRows(part, size=settings.max_length if settings.packing else None)
    order = np.argsort(-items.lengths, kind="stable").tolist()
    step = settings.per_device_eval_batch_size
    return items, [order[start : start + step] for start in range(0, len(order), step)]


@dataclass
class SftCollator:
    """Makes tensors of items of :class:`PackedRows`."""

    pad_id: int
    """Id of what fills up."""
    attention: str | None
    """The implementation of packed batches; None: rows are padded."""
    size: int | None = None
    """Tokens of each pack, filled up; None: of the longest in the batch."""
    noise: bool = False
    """Give :data:`NOISE` too."""

    def __call__(self, items: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> dict[str, Any]:
        """Lay the items out as one batch."""
        if self.attention is None:
            batch = pad_batch([row for item in items for row in item], pad_id=self.pad_id)
        else:
            batch = pack_batch(items, pad_id=self.pad_id, size=self.size)
        inputs = model_inputs(batch, attention=self.attention)
        if self.noise:
            scale = _noise_scale(items, batch["input_ids"].shape)
            inputs[NOISE] = require("torch", extra="llm").from_numpy(scale).reshape(inputs["input_ids"].shape)
        return inputs


def _noise_scale(items: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], shape: tuple[int, ...]) -> np.ndarray:
    scale = np.zeros(shape, dtype=np.float32)
    for number, item in enumerate(items):
        lengths = [len(ids) for ids, _ in item]
        scale[number, : sum(lengths)] = np.repeat(np.sqrt(1.0 / np.array(lengths)), lengths)
    return scale
