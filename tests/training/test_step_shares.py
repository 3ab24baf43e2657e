"""Steps shared by processes: every row once, each with its part of the one process's mean, the same passes for all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from kaggle_utils.training.fold_batches import LengthGroupedBatches
from kaggle_utils.training.step_shares import SharedBatches, SharedItems, share_step

LENGTHS = np.random.default_rng(0).integers(5, 500, 103)


@pytest.mark.parametrize(
    ("size", "passes", "processes"), [(4, 2, 2), (4, 1, 2), (5, 4, 2), (8, 6, 4), (1, 8, 8), (12, 3, 6), (3, 5, 5)]
)
def test_processes_together_make_the_steps_of_one(size, passes, processes):
    batches = LengthGroupedBatches([LENGTHS], batch_size=size, seed=3)
    share = share_step(size, passes, processes)
    shared = [SharedBatches(batches, share, rank=rank) for rank in range(processes)]
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        alone = list(batches)
        steps = [alone[start : start + passes] for start in range(0, len(alone), passes)]
        theirs = [list(each) for each in shared]
        assert {len(each) for each in theirs} == {len(shared[0])}  # else some would wait for the others for ever
        done, seen = 0, Counter()
        for step in steps:
            rounds = -(-len(step) // share.groups)
            parts: Counter = Counter()
            for own in theirs:
                for batch in own[done : done + rounds]:
                    assert len(batch) <= -(-size // share.splits)
                    seen.update(row for row, weight in batch if weight)
                    for row, weight in batch:  # averaged over a step's passes and over processes
                        parts[row] += weight / rounds / processes
            expected = Counter({row: 1 / len(step) / len(batch) for batch in step for row in batch})
            assert {row: part for row, part in parts.items() if part} == pytest.approx(expected)
            done += rounds
        assert done == len(shared[0])
        assert seen == Counter(range(len(LENGTHS)))


def test_steps_that_cannot_be_shared_are_refused_with_what_can():
    with pytest.raises(ValueError, match=r"3 passes of 5 rows cannot be shared equally by 2.*such as 4, or"):
        share_step(5, 3, 2)
    assert share_step(4, 1, 1).passes_each == 1


def test_an_item_knows_its_weight():
    items = SharedItems(["a", "b"], lambda item, weight: (item, weight))
    assert items[1, 0.5] == ("b", 0.5) and len(items) == 2
