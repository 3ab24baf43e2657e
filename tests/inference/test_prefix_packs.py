"""Packs against the prompts they hold: every token sees its own prompt and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.inference.prefix_packs import pack_prefixes, shared_length, split_packs


def seen(pack, end):
    """The tokens that the token at ``end`` may look at, in the order of their positions."""
    places = np.flatnonzero(pack.mask[end])
    order = np.argsort(pack.positions[places], kind="stable")
    return pack.ids[places[order]].tolist()


def random_rows(seed, count=40):
    random = np.random.default_rng(seed)
    return [random.integers(1, 4, random.integers(1, 9)).tolist() for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("in_order", [True, False])
def test_every_token_sees_its_own_prompt(seed, in_order):
    rows = sorted(random_rows(seed)) if in_order else random_rows(seed)
    pack = pack_prefixes(rows, multiple=8)
    assert len(pack.ids) % 8 == 0
    for row, end in zip(rows, pack.ends.tolist(), strict=True):
        assert seen(pack, end) == row
        path = np.flatnonzero(pack.mask[end])
        assert sorted(pack.positions[path].tolist()) == list(range(len(row)))
        for place in path:  # its ancestors see the beginnings of the same prompt: keys are the prompt's own
            assert seen(pack, place) == row[: pack.positions[place] + 1]
    assert (pack.mask.diagonal()).all(), "a row without any key would be NaN"
    assert not np.triu(pack.mask, 1).any(), "nothing looks ahead"


def test_sorted_prompts_share_all_that_they_can():
    rows = sorted(random_rows(3, count=200))
    nodes = {tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)}
    assert len(pack_prefixes(rows).ids) == len(nodes) < sum(map(len, rows)) / 2


@pytest.mark.parametrize("seed", range(10))
def test_packs_hold_every_prompt_once_and_keep_their_size(seed):
    rows = random_rows(seed, count=100)
    packs = split_packs(rows, max_tokens=20)
    assert sorted(index for pack in packs for index in pack) == list(range(100))
    assert all(len(pack_prefixes([rows[index] for index in pack]).ids) <= 20 for pack in packs)
    assert len(packs) < 100


def test_a_prompt_over_the_size_is_alone():
    assert split_packs([[1] * 50, [1, 2], [1, 3]], max_tokens=10) == [[0], [1, 2]]
    assert split_packs([], max_tokens=10) == []


def test_shared_length_and_empty_prompts():
    assert shared_length([1, 2], [1, 2, 3]) == 2
    assert shared_length([], [1]) == 0
    with pytest.raises(ValueError, match="empty prompt"):
        pack_prefixes([[1], []])
