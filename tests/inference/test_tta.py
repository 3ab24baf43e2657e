"""Both orders are put together with the right columns, and the right rows are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.inference.tta import least_certain, margins, merge_orders, rows_within_time, swap_columns


def random_probabilities(n: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=n)


@pytest.mark.parametrize("classes", [2, 3])
def test_swapping_twice_changes_nothing_and_once_exchanges_a_and_b(classes):
    p = random_probabilities(20, classes)
    assert np.array_equal(swap_columns(swap_columns(p)), p)
    assert np.array_equal(swap_columns(p)[:, 0], p[:, 1])
    if classes == 3:
        assert np.array_equal(swap_columns(p)[:, 2], p[:, 2])


@pytest.mark.parametrize("shape", [(), (3, 1), (3, 4)])
def test_other_numbers_of_classes_are_refused(shape):
    with pytest.raises(ValueError, match="expected 2 columns"):
        swap_columns(np.zeros(shape))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_judge_without_position_bias_gains_nothing_and_one_with_it_is_evened_out(classes):
    p = random_probabilities(50, classes)
    assert np.allclose(merge_orders(p, swap_columns(p)), p)
    always_first = np.eye(classes)[np.zeros(50, dtype=int)]
    merged = merge_orders(always_first, always_first)
    assert np.array_equal(merged[:, :2], np.full((50, 2), 0.5))


def test_some_rows_only_and_missing_halves():
    p = random_probabilities(6, 3)
    p[1] = np.nan
    other = random_probabilities(3, 3, seed=1)
    other[2] = np.nan
    merged = merge_orders(p, other, rows=np.array([1, 4, 5]))
    assert np.array_equal(merged[[0, 2, 3, 5]], p[[0, 2, 3, 5]])
    assert np.allclose(merged[1], swap_columns(other[0])), "one order is better than none"
    assert np.allclose(merged[4], (p[4] + swap_columns(other[1])) / 2)
    with pytest.raises(ValueError, match=r"shape \(3, 3\), expected \(2, 3\)"):
        merge_orders(p, other, rows=np.array([0, 1]))


def test_the_least_certain_rows_are_those_with_the_smallest_margin():
    p = random_probabilities(101, 3)
    p[7] = np.nan
    rows = least_certain(p, share=0.25)
    assert len(rows) == 25
    assert 7 not in rows
    rest = np.setdiff1d(np.arange(101), [*rows, 7])
    assert margins(p[rows]).max() <= margins(p[rest]).min()
    assert len(least_certain(p, share=1.0)) == 100
    assert len(least_certain(p, share=0.0)) == 0
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        least_certain(p, share=1.5)


def test_time_buys_the_least_certain_rows_first():
    p, lengths = random_probabilities(100, 3), np.full(100, 50)
    rows = rows_within_time(p, lengths, seconds=10.0, tokens_per_second=125.0)
    assert rows.tolist() == least_certain(p, share=0.25).tolist()
    for seconds, speed in ((-1.0, 100.0), (10.0, 0.0)):
        assert len(rows_within_time(p, lengths, seconds=seconds, tokens_per_second=speed)) == 0
