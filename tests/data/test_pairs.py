"""Files to tables: ids, labels, unreadable rows, and the same outcome from CSV, parquet, frames and mappings."""

from __future__ import annotations

import csv
import gzip
import json
import time

import numpy as np
import pytest

from kaggle_utils.data.pairs import Pair, UnreadableRowsError, read_pairs

HEADER = ["id", "prompt", "response_a", "response_b"]


def write(path, rows, header=HEADER):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def lists(*texts):
    return [json.dumps([text]) for text in texts]


def test_csv_of_every_trap(tmp_path):
    rows = [
        ["30192", '["a", null]', "[]", '[""]'],
        ["9" * 30, "null", "", '["x", "y", "z"]'],
        ["-5", r'["\ud83d\ude00"]', r'["\ud83d"]', '["a\tb\r\nc"]'],
    ]
    table = read_pairs(write(tmp_path / "test.csv", rows))
    assert table.ids == [30192, int("9" * 30), -5]
    assert table.pairs[0] == Pair(30192, ("a", ""), (), ("",))
    assert table.pairs[1] == Pair(int("9" * 30), (), (), ("x", "y", "z"))  # unequal turn counts are kept
    assert table.pairs[2] == Pair(-5, ("😀",), ("\ufffd",), ("a\tb\r\nc",))
    assert (table.labels, table.num_labels, table.unreadable, table.text) == (None, None, [], "json")
    assert table.readable.all() and len(table) == 3


@pytest.mark.parametrize("ids", [["7", "007"], ["a", "1"], ["1.0", "2"], ["+1", "2"], ["²", "1"], ["9" * 5000, "1"]])
def test_ids_that_are_not_all_plain_integers_stay_text(tmp_path, ids):
    assert read_pairs(write(tmp_path / "t.csv", [[i, *lists("p", "a", "b")] for i in ids])).ids == ids


def test_words_that_pandas_takes_for_missing_are_text(tmp_path):
    words = ["NA", "nan", "None", "null", "", "N/A"]
    table = read_pairs(write(tmp_path / "t.csv", [[i, w, "yes", "no"] for i, w in enumerate(words)]))
    assert table.text == "plain"
    assert [pair.prompt for pair in table.pairs] == [(word,) for word in words]


def test_repeated_and_missing_ids_are_named_all_at_once(tmp_path):
    rows = [[i, *lists("p", "a", "b")] for i in ["1", "2", "1", "", "3", "3", "3"]]
    with pytest.raises(ValueError, match=r"from 0\): 3; .*'1' \(2 times\), '3' \(3 times\)"):
        read_pairs(write(tmp_path / "t.csv", rows), unreadable="report")
    with pytest.raises(ValueError, match=r"'1' \(2 times\)"):  # they would be the same in a submission
        read_pairs({"id": [1, "1"], "prompt": ["p"] * 2, "response_a": ["a"] * 2, "response_b": ["b"] * 2})


def test_unreadable_rows_are_an_error_that_names_all(tmp_path):
    rows = [["1", *lists("p", "a", "b")], ["2", "damaged", '{"a": 1}', '["b"]'], ["3", '["p"]', '["a']]
    path = write(tmp_path / "t.csv", [*rows, ["4", *lists("p", "a", "b"), "extra"]])
    with pytest.raises(UnreadableRowsError) as error:
        read_pairs(path)
    assert [(name, column) for name, column, _ in error.value.problems] == [
        (2, "prompt"),
        (2, "response_a"),
        (3, "row"),
        (4, "row"),
    ]
    for part in (
        "3 rows cannot be read",
        "id 2, prompt: not JSON",
        "3 cells where the header has 4",
        'unreadable="report"',
    ):
        assert part in str(error.value)


def test_unreadable_rows_can_be_kept_aside_in_order(tmp_path, caplog):
    rows = [["1", *lists("p", "a", "b")], ["2", '["p"]', "damaged", '["b"]'], ["3", *lists("p", "a", "b")]]
    table = read_pairs(write(tmp_path / "t.csv", rows), unreadable="report")
    assert table.ids == [1, 2, 3]
    assert table.pairs[1] == Pair(2, ("p",), (), ("b",))
    assert [(name, column) for name, column, _ in table.unreadable] == [(2, "response_a")]
    assert table.readable.tolist() == [True, False, True]
    assert "1 cells kept aside" in caplog.text
    assert table.take([2, 1]).readable.tolist() == [True, False] and table.take([0]).unreadable == []


def test_a_file_cut_short_is_noticed(tmp_path):
    path = write(tmp_path / "t.csv", [[i, *lists("p, q", "a", "b")] for i in range(3)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableRowsError, match=r"id 2, row: .*a quote is never closed"):
        read_pairs(path)


def test_a_row_that_swallowed_others_is_named(tmp_path):
    """A quote too many in row 1, closed by one of row 2: both are one row of the file, and 2 is nowhere."""
    path = tmp_path / "t.csv"
    path.write_text(",".join(HEADER) + '\n0,p,a,b\n1,"p,a,b\n2,p",a,b,c\n3,p,a,b\n')
    table = read_pairs(path, unreadable="report")
    assert table.ids == [0, 1, 3] and table.readable.tolist() == [True, False, True]
    assert "it spans several lines: a stray quote may have swallowed the rows after it" in table.unreadable[0][2]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet"])
@pytest.mark.parametrize("left", [0.5, 0.99])
def test_a_damaged_file_is_named(tmp_path, name, left):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"id": range(2000), **{n: [f"{i * 7919}" for i in range(2000)] for n in HEADER[1:]}})
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    whole = path.read_bytes()
    size = int(left * len(whole))
    for data in (whole[:size], whole[:100] + b"\xa5" * 900 + whole[1000:]):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=rf"{name} cannot be read \(\d+ bytes\): \w+: .*; copy or download it again"
        ):
            read_pairs(path)


def test_huge_cells_and_raw_control_characters_and_bad_bytes(tmp_path):
    huge = "x" * 300_000
    path = write(tmp_path / "t.csv", [["1", huge, "a\x01b\rc", "nul"]])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"nul", b"n\x00\xff"))
    pair = read_pairs(path).pairs[0]
    assert pair == Pair(1, (huge,), ("a\x01b\rc",), ("n\ufffd\ufffd",))


def test_missing_columns_are_named_with_what_is_there(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'response_a', 'response_b'; .* there are id, prompt, answer"):
        read_pairs(write(tmp_path / "t.csv", [], header=["id", "prompt", "answer"]))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_pairs(tmp_path / "empty.csv")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_pairs(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"\.xlsx"):
        read_pairs(write(tmp_path / "t.xlsx", []))
    with pytest.raises(ValueError, match="more than one column named 'id'"):
        read_pairs(write(tmp_path / "t.csv", [], header=["id", *HEADER]))


def test_wrong_settings_are_reported_together():
    words = r"labels is 'yes'.*unreadable is 'skip'.*text is 'xml'.*num_labels is 4.*names 'promt', expected only id"
    with pytest.raises(ValueError, match=words):
        read_pairs({}, labels="yes", unreadable="skip", text="xml", num_labels=4, columns={"promt": "q", "id": "n"})


def test_other_names_no_rows_and_gzip(tmp_path):
    names = {"id": "row", "prompt": "question"}
    path = write(tmp_path / "t.csv", [["1", "p", "bad", "b"]], header=["row", "question", "response_a", "response_b"])
    assert read_pairs(path, columns=names).pairs == [Pair(1, ("p",), ("bad",), ("b",))]
    with pytest.raises(UnreadableRowsError, match="id 1, prompt"):
        read_pairs(path, columns=names, text="json")
    broken = write(
        tmp_path / "b.csv", [["1", "p", "a", "b"], ["2", "p", "a"]], header=path.read_text().split()[0].split(",")
    )
    table = read_pairs(broken, columns=names, unreadable="report")  # "row" is a column's name here, too
    assert table.unreadable == [(2, "row", "3 cells where the header has 4")] and table.readable.tolist() == [
        True,
        False,
    ]
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write(",".join(HEADER) + "\n")
    empty = read_pairs(tmp_path / "t.csv.gz")
    assert len(empty) == 0 and empty.readable.shape == (0,)


def labelled(**columns):
    count = len(next(iter(columns.values())))
    texts = {name: ["x"] * count for name in HEADER[1:]}
    return {"id": list(range(count)), **texts, **columns}


def test_lmsys_labels_have_three_classes():
    table = read_pairs(labelled(winner_model_a=["1", 0, 0.0], winner_model_b=["0", True, 0], winner_tie=["0", 0, 1]))
    assert table.labels.tolist() == [0, 1, 2] and table.labels.dtype == np.int64 and table.num_labels == 3


def test_wsdm_labels_have_two_classes_unless_there_is_a_tie():
    two = read_pairs(labelled(winner=["model_a", "model_b"]))
    assert two.labels.tolist() == [0, 1] and two.num_labels == 2
    assert read_pairs(labelled(winner=["model_a", "tie"])).num_labels == 3
    assert read_pairs(labelled(winner=["model_a"]), num_labels=3).num_labels == 3
    assert read_pairs(labelled(winner_model_a=[1, 0], winner_model_b=[0, 1])).num_labels == 2
    with pytest.raises(ValueError, match="num_labels is 2"):
        read_pairs(labelled(winner=["tie"]), num_labels=2)


def test_bad_labels_are_named_or_kept_aside_without_losing_the_row():
    columns = labelled(winner_model_a=[1, 1, ""], winner_model_b=[0, 1, 0], winner_tie=[0, 0, 0])
    with pytest.raises(UnreadableRowsError, match=r"(?s)id 1, winner_model_a/.*1/1/0.*id 2, .*nothing/0/0"):
        read_pairs(columns)
    table = read_pairs(columns, unreadable="report")
    assert table.labels.tolist() == [0, -1, -1] and table.readable.all()
    with pytest.raises(UnreadableRowsError, match=r"read without labels \(labels=None\)") as error:
        read_pairs(columns)
    assert "prior" not in str(error.value), "the texts of these rows can be scored"
    with pytest.raises(UnreadableRowsError, match="class prior; labels: read without"):
        read_pairs({**columns, "prompt": ["[1", "[]", "[]"]}, text="json")
    assert read_pairs(columns, labels=None).labels is None


@pytest.mark.parametrize(("there", "absent"), [(["winner_model_a"], "winner_model_b"),
                                               (["winner_model_b", "winner_tie"], "winner_model_a"),
                                               (["winner_tie"], "winner_model_a and winner_model_b")])  # fmt: skip
def test_label_columns_that_are_not_enough_are_named(there, absent):
    columns = labelled(**{name: [0, 1] for name in there})
    with pytest.raises(ValueError, match=f"has {' and '.join(there)} without {absent}; .*labels=None"):
        read_pairs(columns)
    assert read_pairs(columns, labels=None).labels is None
    assert read_pairs({**columns, "winner": ["model_a", "model_b"]}).labels.tolist() == [0, 1]


def test_frames_and_parquet_give_what_csv_gives(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = [["1", '["a", null]', "[]", '["b"]'], ["2", "null", "", r'["\ud83d\ude00"]']]
    path = write(tmp_path / "t.csv", rows)
    expected = read_pairs(path).pairs
    frame = pandas.read_csv(path)  # as people do: "null" and "" become NaN
    assert read_pairs(frame).pairs == expected
    assert isinstance(read_pairs(frame).ids[0], int)
    careful = pandas.read_csv(path, dtype=str, keep_default_na=False)
    assert [pair.prompt for pair in read_pairs(careful).pairs] == [pair.prompt for pair in expected]
    assert read_pairs(careful).ids == ["1", "2"]  # the type of a frame's ids is the frame's affair
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_pairs(tmp_path / "t.parquet").pairs == expected
    turned = frame.assign(prompt=[["a", None], None])
    turned.to_parquet(tmp_path / "lists.parquet")
    assert read_pairs(tmp_path / "lists.parquet").pairs == expected


def test_frames_with_string_ids_and_missing_ids():
    pandas = pytest.importorskip("pandas")
    texts = {name: ["x", "y"] for name in HEADER[1:]}
    assert read_pairs(pandas.DataFrame({"id": ["b", "a"], **texts})).ids == ["b", "a"]
    with pytest.raises(ValueError, match=r"without an id .*: 1"):
        read_pairs(pandas.DataFrame({"id": [1.0, None], **texts}))
    with pytest.raises(ValueError, match="unequal length"):
        read_pairs({"id": [1], **texts})


def test_real_rows(shared_data):
    table = read_pairs(shared_data / "pairwise" / "lmsys_like_human.csv")
    assert len(table) == 3268 and not table.unreadable
    assert np.bincount(table.labels).tolist() == [1378, 1413, 477]


def test_ten_thousand_rows_are_read_in_seconds(tmp_path):
    text = json.dumps(['A line of an answer with "quotes", commas and 😀.\n' * 20] * 2)
    cells = ",".join(['"' + text.replace('"', '""') + '"'] * 3)
    path = tmp_path / "t.csv"
    path.write_text(",".join(HEADER) + "\n" + "".join(f"{i},{cells}\n" for i in range(10_000)), encoding="utf-8")
    start = time.process_time()
    assert len(read_pairs(path)) == 10_000
    assert time.process_time() - start < 5, "10,000 rows of 7 kB"
