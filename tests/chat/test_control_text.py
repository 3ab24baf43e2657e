import time

import pytest
from family_tokenizers import ALL_CONTROL
from hypothesis import given
from hypothesis import strategies as st

from kaggle_utils.chat.control_text import KNOWN_CONTROL, control_pattern, defuse

HOSTILE = [*ALL_CONTROL, "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<unk>", "<unused7>",
           "<|reserved_special_token_3|>", "<｜end▁of▁sentence｜>"]  # fmt: skip

mixtures = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=4), st.sampled_from("<>|[]/ _"))).map("".join)


@pytest.mark.parametrize("text", HOSTILE)
def test_each_spelling_is_broken_where_one_can_see_it(text):
    assert defuse(f"a{text}b") == f"a{text[0]} {text[1:]}b"


@pytest.mark.parametrize("text", ["a < b > c", "<b>x</b>", "f(x)|>y", "<| a |>", "[x]", "<not_a_token>", "1 << 2 >> 3"])
def test_harmless_text_is_left_alone(text):
    assert defuse(text) == text


@given(mixtures)
def test_nothing_is_left_of_any_mixture(text):
    assert not KNOWN_CONTROL.search(defuse(text))


@given(mixtures)
def test_only_spaces_are_added(text):
    assert defuse(text).replace(" ", "") == text.replace(" ", "")


def test_overlapping_extra_spellings_are_all_broken():
    assert not control_pattern(["ab<x", "<x>"]).search(defuse("ab<x>", ["ab<x", "<x>"]))


@pytest.mark.parametrize("text", ["<|" * 200_000, "<|a" * 100_000, "[" * 400_000, "<unused" * 60_000, "<" * 400_000])
def test_hostile_text_takes_linear_time(text):
    start = time.process_time()
    defuse(text)
    assert time.process_time() - start < 3
