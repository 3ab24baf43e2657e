"""Packs: every row once, never over the budget, longest first."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.data.batching import token_budget_packs


@given(st.lists(st.integers(1, 100)), st.integers(100, 400), st.booleans())
def test_every_row_once_within_the_budget_longest_first(lengths, max_tokens, padded):
    packs = token_budget_packs(lengths, max_tokens=max_tokens, padded=padded)
    assert sorted(row for pack in packs for row in pack.rows) == list(range(len(lengths)))
    for pack in packs:
        sizes = [lengths[row] for row in pack.rows]
        assert sizes == sorted(sizes, reverse=True)
        assert pack.tokens == (len(sizes) * sizes[0] if padded else sum(sizes)) <= max_tokens
    firsts = [lengths[pack.rows[0]] for pack in packs]
    assert firsts == sorted(firsts, reverse=True)


@given(st.lists(st.integers(1, 100), min_size=1), st.booleans())
def test_packs_depend_on_nothing_but_lengths(lengths, padded):
    one = token_budget_packs(lengths, max_tokens=200, padded=padded)
    assert one == token_budget_packs(np.array(lengths, dtype=np.int32), max_tokens=200, padded=padded)


def test_packed_rows_fill_nearly_every_pack():
    lengths = np.random.default_rng(0).integers(50, 2048, 5_000)
    packs = token_budget_packs(lengths, max_tokens=8192, padded=False)
    assert lengths.sum() / (len(packs) * 8192) > 0.99


def test_rows_that_cannot_fit_are_all_named():
    named = r"2 over max_tokens=5: row 1 \(9 tokens\), row 3 \(6 tokens\); 1 without a token: row 2"
    with pytest.raises(ValueError, match=named):
        token_budget_packs([3, 9, 0, 6], max_tokens=5, padded=True)
    assert token_budget_packs([], max_tokens=5, padded=True) == token_budget_packs([], max_tokens=5, padded=False) == []


@pytest.mark.parametrize("padded", [True, False])
def test_a_hundred_thousand_rows_are_packed_at_once(padded):
    lengths = np.random.default_rng(0).integers(1, 4096, 100_000)
    start = time.process_time()
    token_budget_packs(lengths, max_tokens=8192, padded=padded)
    assert time.process_time() - start < 3
