"""Submissions: everything wrong is said at once, and a file is either whole or not there."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from kaggle_utils.data import submission_csv
from kaggle_utils.data.submission_csv import SubmissionError, check_ids, write_submission, write_winners

NAMES = ("winner_model_a", "winner_model_b", "winner_tie")


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_rows_in_order_with_exact_sums(tmp_path):
    values = np.array([[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    path = write_submission(tmp_path / "submission.csv", [9, 10**30], values, columns=NAMES)
    header, *rows = read(path)
    assert header == ["id", *NAMES] and [row[0] for row in rows] == ["9", str(10**30)]
    found = np.array([row[1:] for row in rows], dtype=np.float64)
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-15 and np.abs(found - values).max() < 1e-6
    assert path.read_bytes().count(b"\r") == 0 and list(tmp_path.iterdir()) == [path]


def test_columns_follow_the_sample(tmp_path):
    (tmp_path / "sample.csv").write_text("winner_tie,id,winner_model_b,winner_model_a\n0,007,0,1\n0,x y,0,1\n")
    path = write_submission(
        tmp_path / "s.csv",
        ["x y", "007"],
        np.array([[0.5, 0.25, 0.25], [1, 0, 0]]),
        columns=NAMES,
        sample=tmp_path / "sample.csv",
    )
    assert read(path) == [
        ["winner_tie", "id", "winner_model_b", "winner_model_a"],
        ["0.25", "x y", "0.25", "0.5"],
        ["0.0", "007", "0.0", "1.0"],
    ]


def test_everything_wrong_is_said_at_once_and_the_old_file_stays(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("old")
    values = np.array([[1, 0, 0], [np.nan, 0, 1], [0.9, 0.9, 0.9], [-1, 1, 1], [np.inf, 0, 0]])
    sample = {"id": [1, 2, 3, 6], **{name: [0] * 4 for name in NAMES}}
    with pytest.raises(SubmissionError) as error:
        write_submission(path, [1, 2, 3, 3, 5], values, columns=NAMES, sample=sample)
    message = str(error.value)
    for part in (
        "more than once: 3",
        "2 rows not finite: 2 [nan",
        "5 [inf",
        "1 rows negative: 3",
        "1 rows not summing to 1: 3 [0.9",
        "1 ids of the sample are absent: 6",
        "1 ids are not in the sample: 5",
    ):
        assert part in message
    assert len(error.value.problems) == 6
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_shapes_columns_and_places_are_checked(tmp_path):
    with pytest.raises(SubmissionError, match=r"(?s)shape \(1, 2\), expected \(2, 3\).*absent does not exist"):
        write_submission(tmp_path / "absent" / "s.csv", [1, 2], np.ones((1, 2)), columns=NAMES)
    with pytest.raises(SubmissionError, match=r"sample has columns \['id', 'winner'\], expected"):
        write_submission(
            tmp_path / "s.csv", [1], np.array([[1, 0, 0]]), columns=NAMES, sample={"id": [1], "winner": [0]}
        )
    with pytest.raises(SubmissionError, match=r"(?s)ids are missing.*is a folder.*named twice: .'id'"):
        write_submission(tmp_path, [None], np.array([[1, 0]]), columns=["id", "x"])


def test_a_failure_in_mid_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.csv"
    path.write_text("old")
    monkeypatch.setattr(submission_csv.os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_submission(path, [1], np.array([[1, 0, 0]]), columns=NAMES)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_winners_by_name(tmp_path):
    path = write_winners(
        tmp_path / "s.csv",
        np.array(["b", "a"]),
        np.array([[0.4, 0.6], [0.5, 0.5]]),
        sample={"winner": [0, 0], "id": ["a", "b"]},
    )
    assert read(path) == [["winner", "id"], ["model_b", "b"], ["model_a", "a"]]
    with pytest.raises(SubmissionError, match="not finite"):
        write_winners(tmp_path / "s.csv", [1], np.array([[np.nan, 1]]))


def test_ids_are_compared_with_the_sample_before_anything_is_scored(tmp_path):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("id,winner_model_a\n0,0\n1,0\n2,0\n3,0\n")
    check_ids([3, 2, 1, 0], sample=sample)
    check_ids(["a"], sample={"row": ["a"]}, id_column="row")
    with pytest.raises(ValueError) as error:
        check_ids([0, 1, 1, 7], sample=sample)
    for part in ("the 4 ids that were read do not fit the 4 of", "sample_submission.csv", "more than once: 1",
                 "2 ids of the sample are absent: 2, 3", "1 ids are not in the sample: 7", "swallowed"):  # fmt: skip
        assert part in str(error.value)
    with pytest.raises(ValueError, match="no column 'row_id'"):
        check_ids([0], sample=sample, id_column="row_id")
