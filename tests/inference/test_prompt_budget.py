"""Prompts that are too long lose text, never their frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_utils.chat.messages import assistant, system, user
from kaggle_utils.inference.prompt_budget import cut_middle, fit_conversation


def encode(turns):
    """A frame of three tokens a turn, and one token for each character."""
    return [-1, *(n for turn in turns for n in (-2, *map(ord, turn.content), -3)), -4]


def test_a_prompt_that_fits_is_not_touched():
    turns = (system("be brief"), user("is it red?"))
    assert fit_conversation(turns, encode, max_tokens=100) == encode(turns)


def test_the_longest_content_loses_its_middle_and_the_rest_stays():
    turns = (system("rules"), user("start " + "x" * 5000 + " end"), assistant("yes"), user("and now?"))
    ids = fit_conversation(turns, encode, max_tokens=100)
    assert 95 <= len(ids) <= 100, "room was wasted"
    text = "".join(chr(n) if n > 0 else "|" for n in ids)
    assert text.startswith("||rules||start x") and " ... " in text and text.endswith("x end||yes||and now?||")


def test_old_turns_go_when_frames_alone_are_too_many():
    turns = [system("s")]
    for i in range(30):
        turns += [user(f"question {i}"), assistant("no")]
    turns.append(user("last"))
    ids = fit_conversation(turns, encode, max_tokens=40)
    text = "".join(chr(n) for n in ids if n > 0)
    assert len(ids) <= 40 and ids[-1] == -4 and text.endswith("last") and "question 0" not in text


def test_a_limit_below_the_frame_is_an_error():
    with pytest.raises(ValueError, match=r"max_prompt_tokens=2 is too small: .* takes 4 tokens"):
        fit_conversation([user("hello")], encode, max_tokens=2)


def test_a_huge_text_is_never_tokenised_whole():
    longest = 0

    def watch(turns):
        nonlocal longest
        longest = max(longest, sum(len(turn.content) for turn in turns))
        return encode(turns)

    assert len(fit_conversation([user("x" * 3_000_000)], watch, max_tokens=50)) <= 50
    assert longest <= 16 * 50


@given(
    contents=st.lists(st.text(max_size=60), min_size=1, max_size=6),
    limit=st.integers(4, 60),
)
@settings(max_examples=60, deadline=None)
def test_the_limit_holds_for_any_conversation(contents, limit):
    turns = [user(text) if i % 2 == 0 else assistant(text) for i, text in enumerate(contents)]
    ids = fit_conversation(turns, encode, max_tokens=limit)
    assert len(ids) <= limit and ids[0] == -1 and ids[-1] == -4


@given(text=st.text(max_size=50), limit=st.integers(0, 60))
def test_cut_middle_keeps_its_limit(text, limit):
    cut = cut_middle(text, limit)
    assert len(cut) <= limit or cut == text
    assert len(text) > limit or cut == text
