"""Every kind of cell that preference files are known to hold has one outcome, and none is executed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.data.turns import UnreadableCellError, detect_format, is_missing, parse_turns, repair_surrogates


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        ('["a", "b"]', ("a", "b")),
        ('["a","b"]', ("a", "b")),
        (' ["a" , "b"]\n', ("a", "b")),
        ('["a", null]', ("a", "")),
        ("[null]", ("",)),
        ("[]", ()),
        ('[""]', ("",)),
        ("null", ()),
        ("", ()),
        (" \t", ()),
        (None, ()),
        (float("nan"), ()),
        (np.float64("nan"), ()),
        (r'["\ud83d\ude00"]', ("😀",)),
        ('["😀"]', ("😀",)),
        (r'["\ud83d"]', ("\ufffd",)),
        (r'["a\ude00b"]', ("a\ufffdb",)),
        ('["\ud83d\ude00"]', ("😀",)),
        (r'["a\/b"]', ("a/b",)),
        ('["say \\"hi\\""]', ('say "hi"',)),
        ('["a\tb\nc\x01d"]', ("a\tb\nc\x01d",)),
        (r'["\u0000"]', ("\0",)),
        ('["<eos></s>[CLS]"]', ("<eos></s>[CLS]",)),
        ('"text"', ("text",)),
        ("42", ("42",)),
        ("1e400", ("1e400",)),
        ("true", ("true",)),
        ("[true, 1, 2.50]", ("true", "1", "2.50")),
        ("[" + "9" * 5000 + "]", ("9" * 5000,)),
        ("[NaN]", ("NaN",)),
        (["a", None, np.str_("b")], ("a", "", "b")),
        (("a",), ("a",)),
        (np.array(["a", None], dtype=object), ("a", "")),
        (7, ("7",)),
        (np.bool_(True), ("true",)),
    ],
)
def test_cell_of_a_json_file(cell, turns):
    assert parse_turns(cell) == turns


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("hello", "not JSON"),
        ('["cut', "not JSON"),
        ('["a"] extra', "not JSON"),
        ("['a', 'b']", "as Python prints it"),
        ("__import__('os').system('touch /tmp/executed')", "not JSON"),
        ('{"a": 1}', "turn 1 is a dict"),
        ('["a", ["b"]]', "turn 2 is a list"),
        ("[" * 100_000, "nested too deeply"),
        (b"bytes", "a bytes"),
        ([{"role": "user"}], "turn 1 is a dict"),
    ],
)
def test_unreadable_cell_says_why(cell, reason):
    with pytest.raises(UnreadableCellError, match=reason):
        parse_turns(cell)


@pytest.mark.parametrize("cell", ["hello", "null", "NaN", "", '["a"]', "[see below]", "42", "'; import os"])
def test_plain_files_keep_every_text_as_it_is(cell):
    assert parse_turns(cell, text="plain") == (cell,)


def test_plain_files_repair_surrogates_and_know_missing_values():
    assert parse_turns("a\ud83d", text="plain") == ("a\ufffd",)
    assert parse_turns(None, text="plain") == ()


def test_null_turns_can_read_as_another_text():
    assert parse_turns('[null, "a"]', null_text="(none)") == ("(none)", "a")


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec=None, exclude_categories=())))))
def test_whatever_json_writes_is_read_back_repaired(turns):
    read = parse_turns(json.dumps(turns))
    # json itself joins two escaped halves that meet, so both sides agree
    assert read == tuple(repair_surrogates(turn or "") for turn in turns)
    "".join(read).encode("utf-8")  # what tokenizers do


@given(st.text(st.characters(codec=None, exclude_categories=())), st.sampled_from(["json", "plain"]))
def test_no_text_ends_in_anything_but_turns_or_a_reason(cell, text):
    try:
        turns = parse_turns(cell, text=text)
    except UnreadableCellError as error:
        assert text == "json" and str(error)
    else:
        "".join(turns).encode("utf-8")


def test_format_is_decided_for_the_file(caplog):
    assert detect_format([]) == "json"
    assert detect_format(["", "null", None]) == "json"
    assert detect_format(["[]", "[null]", "['printed by Python']"]) == "json"
    assert detect_format(["[1] is a footnote [2]", "[see this]", "null"]) == "plain"
    assert not caplog.records
    assert detect_format(['["a"]', "b", "c"]) == "plain"
    assert "33%" in caplog.text


def test_missing_values_of_pandas():
    pandas = pytest.importorskip("pandas")
    assert is_missing(pandas.NA) and is_missing(pandas.NaT) and not is_missing("NA")
