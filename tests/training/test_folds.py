"""Folds: no prompt on both sides, labels in even shares, the same every time, and never mixed up with other rows."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.data.pairs import Pair, read_pairs
from kaggle_utils.training.folds import assign_folds, fold_splits, prompt_groups, read_folds, write_folds

pytest.importorskip("sklearn")


def labelled_groups(rows=600, groups=150, seed=0):
    generator = np.random.default_rng(seed)
    return generator.choice(3, rows, p=[0.45, 0.4, 0.15]), generator.integers(0, groups, rows)


def test_no_group_is_in_two_folds_and_every_row_is_held_out_once():
    labels, groups = labelled_groups()
    assigned = assign_folds(labels, groups)
    assert all(len(set(assigned[groups == group])) == 1 for group in np.unique(groups))
    held_out = np.concatenate([rows for _, rows in fold_splits(assigned)])
    assert sorted(held_out.tolist()) == list(range(len(labels)))
    for train, rows in fold_splits(assigned):
        assert not set(groups[train]) & set(groups[rows]) and len(train) + len(rows) == len(labels)


def test_labels_and_sizes_are_even():
    labels, groups = labelled_groups()
    assigned = assign_folds(labels, groups)
    shares = np.array([np.bincount(labels[assigned == fold], minlength=3) for fold in range(5)])
    sizes = shares.sum(axis=1)
    assert np.ptp(sizes) <= 0.1 * len(labels) / 5
    assert np.ptp(shares / sizes[:, None], axis=0).max() < 0.05


def test_without_groups_rows_of_one_group_are_torn_apart():
    """That is why groups have to be given, or refused in so many words."""
    labels, groups = labelled_groups()
    assigned = assign_folds(labels, None)
    assert any(len(set(assigned[groups == group])) > 1 for group in np.unique(groups))
    with pytest.raises(TypeError):
        assign_folds(labels)


def test_the_seed_decides():
    labels, groups = labelled_groups()
    first = assign_folds(labels, groups, seed=3)
    assert (first == assign_folds(labels, groups, seed=3)).all()
    assert (first != assign_folds(labels, groups, seed=4)).any()


def test_prompts_that_differ_in_case_and_space_only_are_one():
    prompts = [("Who\nare you?",), ("who are  YOU? ",), ("Who", "are you?"), ("What are you?",), ()]
    groups = prompt_groups([Pair(i, prompt, ("a",), ("b",)) for i, prompt in enumerate(prompts)])
    assert groups.tolist() == [0, 0, 0, 1, 2]


def test_folds_are_read_back_by_id_in_any_order(tmp_path):
    labels, groups = labelled_groups(rows=60, groups=30)
    ids = [f"row {i}" for i in range(60)]
    assigned = assign_folds(labels, groups, folds=3)
    path = write_folds(tmp_path / "folds.csv", ids, assigned)
    order = np.random.default_rng(0).permutation(60)
    assert (read_folds(path, [ids[i] for i in order]) == assigned[order]).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_fold_column_of_another_table_and_other_id_types():
    frame = {"row": [3, 1, 2], "kfold": [1.0, 0.0, 1.0], "text": ["c", "a", "b"]}
    assert read_folds(frame, ["1", 2], id_column="row", column="kfold").tolist() == [0, 1]


def test_a_file_that_does_not_fit_the_rows_is_refused_with_all_reasons():
    table = {"id": ["a", "b", "b", "c", "d"], "fold": ["0", "1", "1", "one", "-1"]}
    with pytest.raises(ValueError, match="1 ids without a fold: e") as caught:
        read_folds(table, list("abcde"))
    assert "1 ids that come more than once: b" in str(caught.value)
    assert "c ('one'), d ('-1')" in str(caught.value)
    with pytest.raises(ValueError, match="no column 'fold'"):
        read_folds({"id": ["a"]}, ["a"])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_folds(tmp_path / "folds.csv", ["a", "b"], [0, 1])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="1 of them repeated"):
        write_folds(path, ["a", "a"], [0, 1])
    with pytest.raises(ValueError, match="2 ids"):
        write_folds(path, ["a", "b"], [0])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "reason"),
    [
        ([0, 1, 0], [1, 1, 2], 3, r"at most as many as there are groups \(2\)"),
        ([0, 1], None, 1, "folds is 1"),
        ([0, 1], None, 3, r"there are rows \(2\)"),
        ([0, -1, 1], [1, 2, 3], 2, "1 labels are below 0"),
        ([0, 1, 1], [1, 2], 2, "2 groups for 3 labels"),
        ([0.0, 1.0], [1, 2], 2, "expected integers"),
    ],
)
def test_what_cannot_be_split_is_refused(labels, groups, folds, reason):
    with pytest.raises(ValueError, match=reason):
        assign_folds(labels, groups, folds=folds)


def test_one_group_that_holds_nearly_everything_leaves_no_fold_empty():
    labels, groups = np.array([0, 1] * 20 + [0, 1]), np.array([0] * 40 + [1, 2])
    assert set(assign_folds(labels, groups, folds=3).tolist()) == {0, 1, 2}


def test_real_rows_repeat_prompts_and_grouped_folds_keep_them_together(shared_data):
    table = read_pairs(shared_data / "pairwise" / "lmsys_like_human.csv")
    groups = prompt_groups(table.pairs)
    assert len(table) == 3268 and len(np.unique(groups)) == 2050
    assigned, torn = assign_folds(table.labels, groups), assign_folds(table.labels, None)

    def leaking(folds):
        return sum(len(set(groups[train]) & set(groups[rows])) for train, rows in fold_splits(folds))

    assert leaking(assigned) == 0 and leaking(torn) > 200
    shares = np.array([np.bincount(table.labels[rows], minlength=3) / len(rows) for _, rows in fold_splits(assigned)])
    assert np.ptp(shares, axis=0).max() < 0.03
