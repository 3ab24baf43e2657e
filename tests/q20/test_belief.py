"""What a transcript leaves possible: exact against a slow reference, robust to lies and gaps, fast."""

from __future__ import annotations

import math
import random
import time

import numpy as np
import pytest

from kaggle_utils.q20.belief import Belief
from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.questions import HANDSHAKE, alphabetical_question, parse_question
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

WORDS = [
    "apple",
    "apple pie",
    "banana",
    "bananas",
    "box",
    "boxes",
    "cat",
    "dog",
    "ice cream",
    "kiwi",
    "mango",
    "pear",
    "zoo",
]
FRUIT = Vocabulary.from_weights({word: 1 + index for index, word in enumerate(WORDS)})


def after(questions=(), answers=(), guesses=(), vocabulary=FRUIT):
    return Belief.after(vocabulary, questions, answers, guesses)


def alive(belief):
    return [belief.vocabulary.words[i] for i in np.flatnonzero(belief.weights)]


def test_nothing_known_is_the_prior():
    belief = after()
    assert belief.count == len(WORDS)
    assert not belief.contradicted
    np.testing.assert_array_equal(belief.weights, FRUIT.probabilities)
    assert belief.best_guess() == "zoo"
    assert belief.entropy_bits == pytest.approx(-(FRUIT.probabilities * np.log2(FRUIT.probabilities)).sum())


def test_random_transcripts_equal_a_slow_reference():
    rng = random.Random(3)
    pool = [alphabetical_question(word) for word in WORDS] + [
        "Does the keyword start with one of the letters 'a', 'b' or 'c'?", "Does the keyword contain a space?",
        'Does the keyword fall between "banana" and "kiwi" alphabetically?',
        "Does the keyword have more than 4 letters?",
        "Does the second word come before 'm' in alphabetical order?",
        'Does the keyword not precede "dog" in alphabetical order?',
        "Is it alive?", HANDSHAKE, "",
    ]  # fmt: skip
    for _ in range(300):
        secret = rng.choice(WORDS)
        questions = rng.choices(pool, k=rng.randint(0, 8))
        rules = [parse_question(question) for question in questions]
        answers = ["yes" if rule and rule.holds(secret) else "no" for rule in rules]
        guesses = [
            word
            for word in rng.choices([*WORDS, "unheard of"], k=rng.randint(0, 5))
            if not keywords_match(word, secret)
        ]
        expected = [
            word for word in WORDS
            if all(rule is None or rule.holds(word) == (a == "yes") for rule, a in zip(rules, answers, strict=True))
            and not any(keywords_match(guess, word) for guess in guesses)
        ]  # fmt: skip
        belief = after(questions, answers, guesses)
        assert alive(belief) == expected
        assert secret in expected
        assert not belief.contradicted


def test_guesses_remove_their_class():
    assert "boxes" not in alive(after(guesses=["The Box"]))
    assert {"banana", "bananas"}.isdisjoint(alive(after(guesses=["BANANAS!"])))


def test_contradiction_keeps_the_newest_consistent_prefix():
    questions = [alphabetical_question("dog"), alphabetical_question("banana"), alphabetical_question("cat")]
    belief = after(questions, ["yes", "no", "no"])  # before dog, not before cat: only cat; fine so far
    assert alive(belief) == ["cat"]
    questions.append(alphabetical_question("box"))
    belief = after(questions, ["yes", "no", "no", "yes"])  # ... and before box: nothing
    assert belief.contradicted
    assert alive(belief) == ["cat"]


def test_exhausted_words_count_as_a_contradiction():
    """The keyword is not in the list: the last candidate was guessed and was wrong."""
    questions = [alphabetical_question("dog"), alphabetical_question("cat")]
    belief = after(questions, ["yes", "no"], ["zebra", "cat"])
    assert belief.contradicted
    assert "cat" not in alive(belief)
    assert alive(belief) == ["apple", "apple pie", "banana", "bananas", "box", "boxes"]


def test_all_guessed_leaves_nothing():
    belief = after(guesses=WORDS)
    assert belief.contradicted
    assert belief.count == 0
    assert belief.best_guess() is None
    assert belief.bisection_word() is None
    assert belief.top(3) == []
    assert belief.entropy_bits == 0.0


def test_lists_of_unequal_length_and_odd_values():
    belief = after([alphabetical_question("dog"), alphabetical_question("banana")], ["yes"], ["zebra", None, 7])
    assert "cat" in alive(belief)
    assert after([None, 3, alphabetical_question("dog")], ["yes", None, "maybe"]).count == len(WORDS)
    assert after([alphabetical_question("banana")], ["Yes, it does"]).count == 2  # the environment reads it as yes
    assert Belief.after(FRUIT, (), (), ()).count == len(WORDS)


def test_top():
    top = after().top(3)
    assert [word for word, _ in top] == ["zoo", "pear", "mango"]
    assert top[0][1] == pytest.approx(13 / 91)
    assert sum(p for _, p in after().top(100)) == pytest.approx(1)
    assert after().top(0) == []


def test_bisection_word_halves_what_the_guesses_leave():
    even = Vocabulary.from_weights(dict.fromkeys("abcdefgh", 1))
    belief = after(vocabulary=even)
    assert belief.bisection_word() == "e"
    heavy = Vocabulary.from_weights({**dict.fromkeys("abcdefg", 1), "h": 100})
    split = after(vocabulary=heavy).bisection_word()
    assert split in "cdef", "the heavy word will be guessed anyway: the question should split the others"
    assert after(vocabulary=even).bisection_word(exclude="h") == "d"
    assert after(guesses=["zoo"]).bisection_word() != "zoo"


def test_bisection_always_tells_words_apart():
    rng = random.Random(5)
    for _ in range(200):
        words = Vocabulary.from_weights(
            {word: rng.random() ** 8 + 1e-12 for word in rng.sample(WORDS, rng.randint(2, 13))}
        )
        belief = Belief(words, words.probabilities)
        split = belief.bisection_word()
        before = [word for word in words.words if word < split]
        assert 0 < len(before) < len(words)


def test_one_word_left_needs_no_question():
    belief = after(guesses=WORDS[1:])
    assert alive(belief) == ["apple"]
    assert belief.bisection_word() is None
    assert belief.best_guess() == "apple"
    assert belief.entropy_bits == 0.0


def test_tiny_weights_do_not_vanish():
    words = Vocabulary.from_weights({"a": 1e-300, "b": 1e-300, "c": 1.0})
    belief = Belief.after(words, ["Does the keyword start with 'a' or 'b'?"], ["yes"], [])
    assert belief.count == 2
    assert belief.top(2)[0][1] == pytest.approx(0.5)
    assert belief.entropy_bits == pytest.approx(1.0)
    assert math.isfinite(belief.entropy_bits)


@pytest.fixture(scope="module")
def shipped():
    return load_vocabulary()


def test_whole_game_from_the_transcript_alone(shipped):
    """Ask, answer, guess with nothing remembered between turns, over the shipped list."""
    for secret in ("bread knife", "komodo dragon", "zinc"):
        questions, answers, guesses = [HANDSHAKE], ["yes"], []
        for _ in range(20):
            belief = Belief.after(shipped, questions, answers, guesses)
            guess = belief.best_guess()
            if keywords_match(guess, secret):
                break
            guesses.append(guess)
            question = alphabetical_question(Belief.after(shipped, questions, answers, guesses).bisection_word())
            questions.append(question)
            answers.append("yes" if parse_question(question).holds(secret) else "no")
        assert keywords_match(guess, secret), f"{secret} not found, guesses {guesses}"


def test_twenty_alphabetical_questions_are_fast(shipped):
    rng = random.Random(0)
    secret = "komodo dragon"
    questions = [alphabetical_question(word) for word in rng.sample(shipped.words, 20)]
    answers = ["yes" if parse_question(question).holds(secret) else "no" for question in questions]
    guesses = rng.sample(shipped.words, 20)
    Belief.after(shipped, questions, answers, guesses)  # the first call indexes the guesses
    start = time.process_time()
    belief = Belief.after(shipped, questions, answers, guesses)
    seconds = time.process_time() - start
    assert secret in [word for word, _ in belief.top(belief.count)]
    assert seconds < 0.15, "under 50 ms on an idle machine"


def test_other_families_are_fast_enough(shipped):
    start = time.process_time()
    belief = Belief.after(
        shipped,
        ["Does the keyword contain the letter 'z'?", "Does the keyword have an even number of letters?"],
        ["no", "yes"],
        [],
    )
    assert belief.count > 1000
    assert time.process_time() - start < 4
