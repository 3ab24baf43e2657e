"""Which rows are trained on together: neighbours in length, in an order that is a function of seed and epoch alone.

It promises every row once an epoch, and the same batches whether or not the run was interrupted. It is given to the
training loop only, so that it cannot reorder predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["EncodedRows", "LengthGroupedBatches", "pad_rows"]

_BATCHES_A_WINDOW = 50


class LengthGroupedBatches:
    """A batch sampler over rows in one order of A and B, or in two.

    Args:
        lengths: int [N] for each order. With two, a random half of the rows is read in the second order, the others
            in the next epoch, and so on.
        batch_size: rows of a batch; the last one of an epoch may have fewer.
        seed: of the shuffling.
        group: put rows of like length together: sorted within windows of 50 batches, so that batches differ from
            epoch to epoch; the batch with the longest row comes first, so that too little memory shows at once.

    Yields lists of numbers: the row, plus N where it is read in the second order.

    >>> batches = LengthGroupedBatches([np.array([5, 1, 4, 2])], batch_size=2, seed=0)
    >>> next(iter(batches))
    [2, 0]
    """

    drop_last = False

    def __init__(self, lengths: Sequence[np.ndarray], *, batch_size: int, seed: int, group: bool = True) -> None:
        self._lengths = np.stack([np.asarray(each) for each in lengths])
        self.batch_size, self._seed, self._group, self._epoch = batch_size, seed, group, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._lengths.shape[1] // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        orders, count = self._lengths.shape
        generator = np.random.default_rng([self._seed, self._epoch])
        which = np.zeros(count, dtype=np.int64)
        if orders > 1:
            first = np.random.default_rng([self._seed, 1 << 32]).random(count) < 0.5
            which = (first ^ bool(self._epoch % 2)).astype(np.int64)
        rows = generator.permutation(count)
        lengths = self._lengths[which, np.arange(count)]
        if self._group:
            window = self.batch_size * _BATCHES_A_WINDOW
            parts = [rows[start : start + window] for start in range(0, count, window)]
            rows = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        batches = [rows[start : start + self.batch_size] for start in range(0, count, self.batch_size)]
        if self._group:
            batches = [batches[i] for i in generator.permutation(len(batches))]
            longest = max(range(len(batches)), key=lambda i: lengths[batches[i]].max())
            batches.insert(0, batches.pop(longest))
        for batch in batches:
            yield (batch + count * which[batch]).tolist()


class EncodedRows:
    """Token rows with labels as a map-style data set: an item is ``{"input_ids": int32 [length], "labels": int}``.

    Args:
        orders: for each order of A and B, the rows' ids.
        labels: for each order, int [N].
    """

    def __init__(self, orders: Sequence[Sequence[np.ndarray]], labels: Sequence[np.ndarray]) -> None:
        self._orders, self._labels = orders, labels

    def __len__(self) -> int:
        return len(self._orders[0])

    def __getitem__(self, number: int) -> dict[str, Any]:
        order, row = divmod(number, len(self))
        return {"input_ids": self._orders[order][row], "labels": int(self._labels[order][row])}


def pad_rows(rows: Sequence[np.ndarray], *, pad_id: int) -> dict[str, np.ndarray]:
    """Return input_ids and attention_mask, int64 [B, longest], padded on the right.

    >>> pad_rows([np.array([5, 6]), np.array([7])], pad_id=0)["input_ids"].tolist()
    [[5, 6], [7, 0]]
    """
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}
