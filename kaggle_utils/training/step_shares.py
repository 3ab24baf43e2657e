"""The rows of one optimizer step, shared by processes that train together.

It promises the step of one process: the same rows, each with the same part in the loss, whatever the number of
processes; none is left out, and none counts twice. It is given batches, and does not know what is in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from kaggle_utils._optional import require

__all__ = ["Batches", "SharedBatches", "SharedItems", "StepShare", "local_loader", "share_step"]


class Batches(Protocol):
    """A batch sampler that knows epochs."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        """Numbers of items."""


@dataclass(frozen=True)
class StepShare:
    """How processes share a step of ``passes`` forward passes."""

    processes: int
    """All of them."""
    passes: int
    """Of a step, in one process."""
    groups: int
    """Processes in groups: each group takes every ``groups``-th pass, and its processes share the rows of it."""

    @property
    def passes_each(self) -> int:
        """Of a step, for each process: its ``gradient_accumulation_steps``."""
        return self.passes // self.groups

    @property
    def splits(self) -> int:
        """Processes that share the rows of a pass."""
        return self.processes // self.groups


def share_step(batch_size: int, passes: int, processes: int) -> StepShare:
    """Share whole passes where they go round, else also the rows of a pass.

    Args:
        batch_size: rows of a pass: ``per_device_train_batch_size``.
        passes: of a step: ``gradient_accumulation_steps``.
        processes: that train together.

    Raises:
        ValueError: processes that would have nothing to do.

    >>> share_step(1, 8, 2)
    StepShare(processes=2, passes=8, groups=2)
    >>> share_step(16, 1, 2).splits  # one pass of 16 rows: 8 for each
    2
    """
    share = StepShare(processes, passes, math.gcd(passes, processes))
    if batch_size % share.splits:
        more = processes * -(-passes // processes)
        raise ValueError(
            f"a step of {passes} passes of {batch_size} rows cannot be shared equally by {processes} processes; set "
            f"gradient_accumulation_steps to a multiple of {processes}, such as {more}, or "
            f"per_device_train_batch_size to a multiple of {share.splits}"
        )
    return share


class SharedBatches:
    """A batch sampler: what one of several processes has of ``batches``.

    Yields lists of (number, weight): a process's loss is the sum of ``weight`` times the loss of each item. Averaged
    over a step's passes and over processes, as training does, that is the mean over passes of the mean over items, as
    in one process. Where a step at an epoch's end has too few rows for all, a row of weight 0 stands in.

    >>> from kaggle_utils.training.fold_batches import LengthGroupedBatches
    >>> batches = SharedBatches(LengthGroupedBatches([[5, 5, 5]], batch_size=2, seed=0, group=False),
    ...                         share_step(2, 2, 2), rank=1)
    >>> list(batches)  # the second pass of the step, the one with a single row
    [[(1, 1.0)]]
    """

    drop_last = False

    def __init__(self, batches: Batches, share: StepShare, *, rank: int) -> None:
        self._batches, self._share = batches, share
        self._group, self._part = divmod(rank, share.splits)
        self.batch_size = getattr(batches, "batch_size", 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._batches), self._share.passes)
        return whole * self._share.passes_each + -(-rest // self._share.groups)

    def __iter__(self) -> Iterator[list[tuple[int, float]]]:
        step: list[list[int]] = []
        for batch in self._batches:
            step.append(batch)
            if len(step) == self._share.passes:
                yield from self._mine(step)
                step = []
        if step:
            yield from self._mine(step)

    def _mine(self, step: list[list[int]]) -> Iterator[list[tuple[int, float]]]:
        share = self._share
        rounds = -(-len(step) // share.groups)
        for number in range(self._group, rounds * share.groups, share.groups):
            batch = step[number] if number < len(step) else []
            rows = batch[self._part :: share.splits]  # of a batch that is sorted by length, each has short and long
            weight = share.processes * rounds / (len(step) * max(len(batch), 1))
            yield [(row, weight) for row in rows] or [(step[-1][0], 0.0)]


class SharedItems:
    """A map-style data set over the pairs of :class:`SharedBatches`.

    Args:
        items: by number.
        weigh: makes of an item and its weight what the collator takes.
    """

    def __init__(self, items: Any, weigh: Callable[[Any, float], Any]) -> None:
        self._items, self._weigh = items, weigh

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, given: tuple[int, float]) -> Any:
        number, weight = given
        return self._weigh(self._items[number], weight)


def local_loader(accelerator: Any, loader: Any) -> Any:
    """Return ``loader`` for a Trainer: batches go to the device, and are this process's own already.

    Args:
        accelerator: of the Trainer.
        loader: a torch ``DataLoader``.
    """
    data_loader = require("accelerate.data_loader", extra="llm")
    device = accelerator.device if accelerator.device_placement else None
    # Not told of it, accelerate would wait for each batch's copy, and with it for the step before.
    return data_loader.prepare_data_loader(
        loader, device, num_processes=1, process_index=0, put_on_device=device is not None,
        non_blocking=accelerator.non_blocking,
    )  # fmt: skip
