"""Questions of several clauses, and unusual word orders: exact where there is one reading, silent where there are two."""

# ruff: noqa: E501  (one question a line)
from __future__ import annotations

import random
import time

import pytest

from kaggle_utils.q20.questions import parse_question
from kaggle_utils.q20.spelling.clauses import clauses, reworded

# question -> (keywords that hold, keywords that do not)
ANSWERS = {
    # one of two or more, without "one of"
    "Is the keyword 'cat' or 'dog'?": (["Cat", "dogs"], ["catdog", "cow"]),
    'Is it "cat" or "dog"?': (["dog"], ["cow"]),
    'Is the keyword "cat", "dog" or "cow"?': (["cow", "The Cat"], ["pig"]),
    'Could the keyword be "cat"?': (["cat"], ["dog"]),
    'Does the keyword equal "cat" or "dog"?': (["dog"], ["cow"]),
    "Does the keyword match one of: cat, dog, cow?": (["cow"], ["pig"]),
    "Is your keyword any one of these: cat; dog; cow?": (["dog"], ["pig"]),
    "Is the keyword listed here: cat, dog, cow?": (["dog"], ["pig"]),
    "Does the list cat, dog, cow contain the keyword?": (["dog"], ["pig"]),
    "Is the keyword neither 'cat' nor 'dog'?": (["cow"], ["cat", "dog"]),
    # start ... and end ...
    "Does the keyword start with 'a' and end with 'e'?": (["Apple"], ["apricot", "pie"]),
    "Does the keyword start with the letter 'a' and end with the letter 'e'?": (["apple"], ["apricot"]),
    'Does the keyword begin with "s" or end with "t"?': (["sun", "cat", "salt"], ["dog"]),
    "Does it start with a vowel and end with a consonant?": (["apricot"], ["apple", "cat"]),
    "Does the keyword start and end with the same letter?": (["Kayak", "area"], ["cat"]),
    "Does the keyword begin and end with a vowel?": (["apple"], ["apricot", "pie"]),
    "Does the keyword start or end with the letter 's'?": (["sun", "bus"], ["cat"]),
    "Does the keyword have the same first and last letter?": (["kayak"], ["cat"]),
    "Does the keyword start with 'a' but not end with 'e'?": (["apricot"], ["apple", "cat"]),
    "Does the first word of the keyword start with 'a' and the second word start with 'b'?": (["air bag"], ["air", "big air"]),
    "Is the first letter of the keyword 'a' and the last letter 'e'?": (["apple"], ["apricot", "pie"]),
    # verbs of different kinds
    "Does the keyword start with a vowel and have more than 5 letters?": (["orange"], ["apple", "banana"]),
    "Does the keyword contain 'a' and start with 'b'?": (["banana"], ["bee", "cat"]),
    "Does the keyword start with a, b, or c, and have two words?": (["bread knife"], ["bread", "tv stand"]),
    "Is the keyword a single word that starts with 'c'?": (["cat"], ["cat food", "dog"]),
    "Is it a single word starting with the letter 'c'?": (["cat"], ["cat food", "dog"]),
    "Is the keyword a word that has 5 letters?": (["apple"], ["banana"]),
    "Is the keyword a 5 letter word that starts with 'a'?": (["apple"], ["apricot", "bread"]),
    "Is the keyword something that starts with the letter 'a'?": (["apple"], ["bread"]),
    "Does the keyword consist of two words, with the first word starting with 'a'?": (["air bag"], ["air", "bread knife"]),
    "Is the keyword more than 5 letters long and does it start with 'c'?": (["carrot"], ["cat", "banana"]),
    # order, with the mark only at the end
    "Is the keyword before 'm' and after 'c' alphabetically?": (["dog", "cat"], ["apple", "nut"]),
    'Does the keyword come after "dog" and before "mango" in alphabetical order?': (["egg"], ["cat", "dog", "nut"]),
    'Does the keyword come before "dog" or after "mango" in alphabetical order?': (["cat", "nut"], ["egg"]),
    # how often a letter occurs
    "Does the keyword contain at least two 'a's?": (["banana", "llama"], ["cat", "bee"]),
    'Does the keyword contain at least two "e"s?': (["bee"], ["pie"]),
    "Does the keyword have two or more letter 'e's?": (["bee"], ["pie"]),
    "Does the keyword contain more than one 's'?": (["glass"], ["sun"]),
    "Does the keyword have two a's?": (["llama"], ["banana", "cat"]),
    "Does the keyword contain at least two of the letter 'a'?": (["banana"], ["cat"]),
    "Does the letter 'a' appear more than once in the keyword?": (["banana"], ["cat"]),
    # neither, no, not
    "Does the keyword contain neither 'a' nor 'e'?": (["dog"], ["cat", "pie", "apple"]),
    "Does the keyword contain neither the letter 'a' nor the letter 'e'?": (["dog"], ["cat", "pie"]),
    "Does the keyword contain no 'e'?": (["dog"], ["pie"]),
    "Does the keyword lack the letter 'e'?": (["dog"], ["pie"]),
    "Does the keyword contain none of the letters 'a', 'e', 'i'?": (["dog"], ["cat", "fish"]),
    "Does the keyword contain the letter 'a' but not the letter 'e'?": (["cat"], ["apple", "dog"]),
    "Does the keyword contain 'a' without 'e'?": (["cat"], ["apple", "dog"]),
    "Does the keyword not contain 'a' and not contain 'e'?": (["dog"], ["cat", "pie"]),
    # strings and letters of a word
    "Does the keyword contain 'th' or 'sh'?": (["fish", "bath"], ["cat"]),
    'Does the keyword contain any letter from the word "stone"?': (["cat", "dog"], ["lamb"]),
    'Does the keyword contain all the letters in "tea"?': (["plate"], ["cat"]),
    "Does the keyword include a hyphen or a space?": (["air-lock", "tv stand"], ["cat"]),
    # positions, ranges, lengths
    "Does the keyword have an 'e' as its second letter?": (["pear"], ["apple"]),
    "Is 'e' the second letter of the keyword?": (["pear"], ["apple"]),
    "Does the keyword start with a letter from A-F or T-Z?": (["dog", "vase"], ["mango"]),
    "Does the keyword start with a letter between a and f, or between s and z?": (["dog", "sun"], ["mango"]),
    "Is the length of the keyword 5, 6 or 7?": (["apple", "bananas"], ["cat", "tangerine"]),
    "Does the keyword contain more vowels than consonants?": (["area"], ["cat"]),
    # ways to ask
    "Is it true that the keyword starts with the letter 'a'?": (["apple"], ["pear"]),
    "Can you tell me if the keyword starts with 'a'?": (["apple"], ["pear"]),
    "Tell me, does the keyword start with 'a'?": (["apple"], ["pear"]),
    'Does the word that you have start with "a"?': (["apple"], ["pear"]),
    "Starts with a vowel?": (["apple"], ["pear"]),
}  # fmt: skip

UNANSWERED = [
    "Is the keyword cat or dog?", "Does the keyword not start with 'a' and end with 'e'?", "Is it a word that you can eat?",
    "Does the keyword contain the letters 'a' and 'b' or 'c'?", "Does it start with 'a' and end with 'b' or contain 'c'?",
    "Does the keyword start with 'a' and is used in the kitchen?", "Does it have wings and legs?", "Does it have no legs?",
    "Does it have legs but no wings?", "Is it a single thing that starts quickly?", "Does it start and end with a bang?",
    "Is it neither alive nor dead?", "Does it contain neither sugar nor salt?", "Is it longer than 5 inches and shorter than 10 feet?",
    "Does it come before lunch and after breakfast?", "Is it something that contains water?", "Could it be a cat?",
    "Is it a word that contains a prefix and is alive?", "Does it begin in spring and end in summer?",
    "Does the keyword contain letters and numbers?", "Would you say it contains wood?", "Does it contain metal or have a handle?",
    "Can you tell me if it is alive?", "Is it true that it starts with an idea?", 'Is it "cat" and "dog"?', "Does it lack legs?",
    "Is the keyword an animal or does it start with 'a'?", "Does the plot start in the city and end in the country?",
]  # fmt: skip


@pytest.mark.parametrize("question", ANSWERS)
def test_answer(question):
    parsed = parse_question(question)
    assert parsed is not None, "no rule"
    holds, fails = ANSWERS[question]
    for variant in (parsed, parse_question(question.upper()), parse_question(question.rstrip("?"))):
        assert [word for word in holds if not variant.holds(word)] == []
        assert [word for word in fails if variant.holds(word)] == []


@pytest.mark.parametrize("question", UNANSWERED)
def test_no_reading_is_guessed(question):
    parsed = parse_question(question)
    assert parsed is None, f"answered by rule {parsed.family!r}"


def test_a_combination_is_what_its_parts_say():
    """Every pair of statements joined by and, or, but not, against Python's own operators."""
    parts = {
        "start with 'a'": lambda w: w.startswith("a"),
        "end with 'e'": lambda w: w.endswith("e"),
        "contain the letter 'n'": lambda w: "n" in w,
        "have more than 5 letters": lambda w: len(w) > 5,
    }
    words = ["apple", "apricot", "orange", "banana", "cane", "avenue", "ant", "bee"]
    for one, first in parts.items():
        for two, second in parts.items():
            if one == two:
                continue
            for joint, expected in (
                (f"{one} and {two}", lambda w: first(w) and second(w)),  # noqa: B023
                (f"{one} or {two}", lambda w: first(w) or second(w)),  # noqa: B023
                (f"{one} but not {two}", lambda w: first(w) and not second(w)),  # noqa: B023
            ):
                parsed = parse_question(f"Does the keyword {joint}?")
                assert parsed is not None, joint
                assert [w for w in words if parsed.holds(w) != expected(w)] == [], joint


def test_reworded_and_clauses():
    assert reworded('does @ start with "a"') == 'does @ start with "a"'
    assert clauses("is @ alive") is None
    assert clauses('does @ start with "a" or end with "b" and contain "c"') is None, "two readings"
    assert clauses("is it") is None


HOSTILE = [
    "does the keyword contain " + "a or b and " * 200, "does it start with " + "and end with " * 200,
    "does the keyword " + "start with 'a' and " * 150, "is it true that " * 150, "does it have " + "neither nor " * 200,
    "does the keyword contain a " + "but not " * 300, "does it contain the letter a " + "more than once in it " * 90,
    "the keyword " + "is a word that " * 150, "does the keyword have " + "two a's " * 300, "with the first word " * 120,
    "does the keyword start with a letter " + "from a-b or " * 180, "is the length of the keyword " + "5, " * 600 + "or 6",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30])
def test_hostile_text_is_read_in_time(text):
    start = time.process_time()
    parsed = parse_question(text)
    if parsed:
        parsed.holds("cat " * 1000)
    assert time.process_time() - start < 0.25


def test_random_recombinations_never_raise():
    rng = random.Random(2)
    pieces = [word for question in [*ANSWERS, *UNANSWERED] for word in question.split()]
    for _ in range(2000):
        parsed = parse_question(" ".join(rng.choices(pieces, k=rng.randint(2, 25))))
        if parsed:
            assert parsed.holds("bread knife") in (True, False)
