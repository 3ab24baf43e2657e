"""Training batches: every row once an epoch, neighbours in length together, A and B exchanged in turns."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.training.fold_batches import EncodedRows, LengthGroupedBatches, pad_rows

LENGTHS = np.random.default_rng(0).integers(5, 500, 1003)


def epoch(batches: LengthGroupedBatches, number: int) -> list[list[int]]:
    batches.set_epoch(number)
    return list(batches)


@pytest.mark.parametrize("group", [True, False])
def test_every_row_is_there_once_and_epochs_differ(group):
    batches = LengthGroupedBatches([LENGTHS], batch_size=8, seed=3, group=group)
    first, second = epoch(batches, 0), epoch(batches, 1)
    assert len(first) == len(batches) == 126
    for found in (first, second):
        assert sorted(np.concatenate(found)) == list(range(1003))
    assert {tuple(batch) for batch in first} != {tuple(batch) for batch in second}


def test_an_epoch_is_a_function_of_seed_and_number_only():
    batches = LengthGroupedBatches([LENGTHS], batch_size=8, seed=3)
    epoch(batches, 0)
    again = LengthGroupedBatches([LENGTHS], batch_size=8, seed=3)
    assert epoch(again, 5) == epoch(batches, 5)
    assert epoch(LengthGroupedBatches([LENGTHS], batch_size=8, seed=4), 5) != epoch(batches, 5)


def test_grouping_saves_padding_and_the_longest_row_comes_first():
    def padded(group: bool) -> int:
        found = epoch(LengthGroupedBatches([LENGTHS], batch_size=8, seed=0, group=group), 0)
        return sum(len(batch) * LENGTHS[batch].max() for batch in found)

    assert padded(True) < 1.1 * LENGTHS.sum() < 1.5 * LENGTHS.sum() < padded(False)
    first = epoch(LengthGroupedBatches([LENGTHS], batch_size=8, seed=0), 2)[0]
    assert LENGTHS[first].max() == LENGTHS.max()


def test_half_of_the_rows_are_swapped_and_the_other_half_in_the_next_epoch():
    batches = LengthGroupedBatches([LENGTHS, LENGTHS], batch_size=8, seed=0)
    orders = []
    for number in range(3):
        found = np.concatenate(epoch(batches, number))
        assert sorted(found % 1003) == list(range(1003))
        orders.append(set(found[found >= 1003] - 1003))
    assert 400 < len(orders[0]) < 600
    assert orders[0] | orders[1] == set(range(1003)) and not orders[0] & orders[1]
    assert orders[0] == orders[2]


def test_a_number_names_row_order_and_label():
    one, two = [np.array([1, 2]), np.array([3])], [np.array([2, 1]), np.array([4])]
    rows = EncodedRows([one, two], [np.array([0, 2]), np.array([1, 2])])
    assert len(rows) == 2
    assert rows[0]["input_ids"].tolist() == [1, 2] and rows[0]["labels"] == 0
    assert rows[2]["input_ids"].tolist() == [2, 1] and rows[2]["labels"] == 1
    assert rows[3]["input_ids"].tolist() == [4] and rows[3]["labels"] == 2


def test_padding_is_masked_on_the_right():
    padded = pad_rows([np.array([7, 8, 9]), np.array([9])], pad_id=3)
    assert padded["input_ids"].tolist() == [[7, 8, 9], [9, 3, 3]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
