"""Where replies end."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.inference.stopping import StopAtDeadline, StopAtStrings, cut_at_stop_string, stop_token_ids  # noqa: E402


def test_every_end_of_turn_counts(tiny_generator):
    """A Gemma that stops only at <eos> writes both sides of the conversation until its tokens are used up."""
    tokenizer = tiny_generator.tokenizer
    model = SimpleNamespace(
        generation_config=SimpleNamespace(eos_token_id=[7, 9]), config=SimpleNamespace(eos_token_id=11)
    )
    named = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    found = stop_token_ids(tokenizer, model, ["<|endoftext|>", "<not in this vocabulary>"])
    assert found == sorted({7, 9, 11, named, tokenizer.eos_token_id})


def test_the_earliest_stop_string_cuts():
    assert cut_at_stop_string("a\nb###c", ("###", "\n")) == "a"
    assert cut_at_stop_string("abc", ("###",)) == "abc"
    assert cut_at_stop_string("abc", ()) == "abc"


def test_a_stop_string_is_found_across_tokens_and_stays_found(tiny_generator):
    tokenizer = tiny_generator.tokenizer
    stop = StopAtStrings(tokenizer, ["dog. A"], prompt_width=2)
    rows = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("lazy dog. A keyword", "keyword, a place ")
    ]
    width = min(map(len, rows))
    rows = [[5, 5, *row[:width]] for row in rows]
    assert stop(torch.tensor(rows), None).tolist() == [True, False]
    padded = [[*row, *[0] * 200] for row in rows]  # what generate does with a row that ended
    assert stop(torch.tensor(padded), None).tolist() == [True, False]


def test_the_prompt_is_not_searched(tiny_generator):
    ids = tiny_generator.tokenizer("###", add_special_tokens=False)["input_ids"]
    stop = StopAtStrings(tiny_generator.tokenizer, ["###"], prompt_width=len(ids))
    assert stop(torch.tensor([[*ids, 70]]), None).tolist() == [False]


def test_the_deadline_stops_every_row():
    ids = torch.zeros(3, 5, dtype=torch.long)
    assert StopAtDeadline(time.monotonic() + 60)(ids, None).tolist() == [False] * 3
    assert StopAtDeadline(time.monotonic() - 1)(ids, None).tolist() == [True] * 3
