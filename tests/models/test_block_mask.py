"""Block masks: the tiles and the rule inside them together allow exactly what a dense mask allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from kaggle_utils.models.block_mask import BLOCK, document_block_mask, first_visible  # noqa: E402


def dense(lengths, total, window):
    """The rule, written without any cleverness: [total, total], True where a token may look."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    allowed = np.zeros((total, total), bool)
    for query in range(total):
        for key in range(query + 1):
            both_rows = query < len(owner) and key < len(owner) and owner[query] == owner[key]
            near = window is None or query - key < window
            allowed[query, key] = (both_rows and near) or query == key
    return allowed


def from_tiles(mask, total, block):
    """What a kernel would compute: full tiles unmasked, partial ones by the rule, the others not at all."""
    allowed = np.zeros((total, total), bool)
    position = torch.arange(total)
    rule = mask.mask_mod(0, 0, position[:, None], position[None, :]).numpy()
    lists = [(mask.kv_num_blocks, mask.kv_indices, False), (mask.full_kv_num_blocks, mask.full_kv_indices, True)]
    visited = set()
    for counts, indices, full in lists:
        for row in range(total // block):
            for column in indices[0, 0, row, : counts[0, 0, row]].tolist():
                assert (row, column) not in visited, "a tile that is visited twice counts twice in the softmax"
                visited.add((row, column))
                tile = np.s_[row * block : (row + 1) * block, column * block : (column + 1) * block]
                allowed[tile] = True if full else rule[tile]
    return allowed


packs = st.lists(st.integers(1, 30), min_size=0, max_size=8)


@settings(max_examples=60, deadline=None)
@given(lengths=packs, spare=st.integers(0, 20), window=st.none() | st.integers(1, 40))
def test_the_tiles_allow_what_a_dense_mask_allows(lengths, spare, window):
    block = 8
    total = max(block, -(-(sum(lengths) + spare) // block) * block)
    mask = document_block_mask(lengths, total, device="cpu", window=window, block=block)
    np.testing.assert_array_equal(from_tiles(mask, total, block), dense(lengths, total, window))


@pytest.mark.parametrize(
    ("lengths", "total", "window"),
    [([128], 128, None), ([256, 256], 512, None), ([1] * 128, 128, None), ([512], 512, 128), ([512], 512, 129),
     ([300, 84], 384, 64), ([], 128, None), ([128, 127], 256, 1)],
)  # fmt: skip
def test_packs_at_the_edges_of_blocks(lengths, total, window):
    mask = document_block_mask(lengths, total, device="cpu", window=window)
    np.testing.assert_array_equal(from_tiles(mask, total, BLOCK), dense(lengths, total, window))


def test_one_long_row_has_full_tiles_below_the_diagonal():
    mask = document_block_mask([512], 512, device="cpu")
    assert mask.full_kv_num_blocks.flatten().tolist() == [0, 1, 2, 3]
    assert mask.kv_num_blocks.flatten().tolist() == [1, 1, 1, 1]


def test_work_grows_with_the_rows_not_with_the_square_of_the_pack():
    """64 rows of one block each: 64 tiles, where a causal mask over the pack has 2,080."""
    mask = document_block_mask([128] * 64, 8192, device="cpu")
    assert int(mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum()) == 64


def test_torch_reads_the_mask_as_its_own():
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    ours = document_block_mask([100, 200, 60], 384, device="cpu", window=50)
    visible = torch.from_numpy(first_visible([100, 200, 60], 384, window=50))
    theirs = flex.create_block_mask(lambda b, h, q, k: (k <= q) & (k >= visible[q]), 1, 1, 384, 384, device="cpu")
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense())


def test_a_pack_that_is_too_small_or_no_whole_block_is_refused():
    with pytest.raises(ValueError, match="rows of 10 tokens do not fit a pack of 8"):
        first_visible([5, 5], 8)
    with pytest.raises(ValueError, match="no multiple of the block size"):
        document_block_mask([5], 100, device="cpu")
