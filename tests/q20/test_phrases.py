"""Guesses inside sentences."""

from __future__ import annotations

import time

import pytest

from kaggle_utils.q20.hostile import hostile_texts
from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.phrases import bare_phrase
from kaggle_utils.q20.protocol import clean_guess, keywords_match

SENTENCES = r"""
{}
{}.
'{}'
[{}]
**{}**
`{}`
*{}*
- {}
1. {}
{}<end_of_turn>
{} <eos>
<guess>{}</guess>
I think it is a **{}**.
I would guess {}\n\nReasoning: it fits.
I'm going to guess {}.
I guess: {}
Let me guess: {}
I believe the keyword is {}, because it is small.
Okay, let's guess {}.
Okay! I think the answer is {}
Hmm, maybe {}?
My guess is: "{}"
My guess would be {}
My final answer is {}!
My next guess would be {}.
Guess: {}
GUESS: {}!
guess = {}
guess: [{}]
**Guess:** {}
**Answer**: {}
Answer: {}\nExplanation: foo
Final guess:\n{}
Sure! Here's my guess: {}
The keyword is [{}].
The keyword is '{}'.
The keyword is most likely a {}.
The object is probably {}
The answer is {}. It fits.
Is it the {}?
Could it be {}?
It's {}
It is an {}
This is a {}
{} is my guess.
{} (because it is round)
Based on the answers, I think the keyword might be {}.
Given that the answer is yes, I will guess {}.
<think>is it a dog? **dog**</think>\n\n{}
{}\n\nLet me know if you want another question.
{} - because it is round
"""


@pytest.mark.parametrize("sentence", SENTENCES.strip().splitlines())
def test_every_keyword_is_found_in_every_sentence(sentence):
    """A keyword that the cleaning cuts or leaves wrapped: the right guess would lose."""
    sentence = sentence.replace("\\n", "\n")
    names = [name for row in load_keywords() for name in (row.word, *row.alts)][::3]
    wrong = [(name, clean_guess(sentence.format(name))) for name in names]
    assert [pair for pair in wrong if not keywords_match(*pair)] == []


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("I think it is a **Cat**.", "cat"),
        ("Is it a type of dog?", "dog"),
        ("My guess is the Great Wall of China.", "great wall of china"),
        ("St. Louis. It is a city.", "st. louis"),
        ("Word search", "word search"),
        ("Thing One", "thing one"),
        ("7 Up", "7 up"),
        ("24", "24"),
        ("cat's eye", "cat's eye"),
        ("猫", "猫"),
        ("\ud800cat\x00", "cat"),
        ("[Guess: cat]", "cat"),
        ("  coffee\t beans ", "coffee beans"),
        ("coffee_beans", "coffee beans"),
        ("", ""),
        ("**", ""),
        ("<eos>", ""),
        ("?!…", ""),
    ],
)
def test_golden_guesses(text, guess):
    assert clean_guess(text) == guess


def test_anything_but_text_is_empty():
    assert bare_phrase(None) == bare_phrase(7) == ""


def test_hostile_texts_cost_little_time():
    """A pattern that backtracks: one opponent's text would eat the whole turn."""
    bombs = ["</think>" * 100_000, "guess " * 400, "i would " * 300, "it is " * 400, ". " * 900, '"' * 3000, " -" * 900]
    for text in [*hostile_texts(), *bombs, "a" * 10**6]:
        start = time.process_time()
        clean_guess(text)
        assert time.process_time() - start < 0.25, text[:60]
