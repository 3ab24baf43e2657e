"""Questions on the spelling: computed for all words at once as the rules decide one word, and worth asking."""

from __future__ import annotations

import numpy as np
import pytest
from tables import synthetic_things

from kaggle_utils.q20.checks import QUESTION_LIMIT
from kaggle_utils.q20.keywords import is_bare_keyword
from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank, lexical_questions
from kaggle_utils.q20.knowledge.objects import Objects
from kaggle_utils.q20.knowledge.spelled import Spelling
from kaggle_utils.q20.questions import parse_question

ODD = [
    "Café au lait",
    "T-shirt",
    "3D printer",
    "X",
    "  Two   spaces ",
    "naïve",
    "O'Hare airport",
    "zz top",
    "é",
    "a b c d",
]


@pytest.fixture(scope="module")
def things() -> Objects:
    return Objects(synthetic_things(500))


@pytest.fixture(scope="module")
def asked(things) -> list[BankQuestion]:
    return lexical_questions(things, count=700)


def test_every_column_is_what_the_rule_says_of_every_word(asked, things):
    words = [*things.words[:150], *ODD]
    spelling = Spelling(words)
    for question in asked:
        rule = parse_question(question.text)
        assert rule is not None, f"no rule reads {question.text}"
        wrong = np.flatnonzero(spelling.answers(question.text) != [rule.holds(word) for word in words])
        assert not len(wrong), (question.text, [words[index] for index in wrong[:5]])


def test_other_wordings_fall_back_to_their_rules():
    spelling = Spelling(["cat", "dog", "zebra crossing"])
    assert spelling.answers('Is the keyword "dogs"?').tolist() == [False, True, False]
    assert spelling.answers('Does the keyword (in lowercase) precede "O\'Hare" in alphabetical order?').tolist() == [
        True, True, False]  # fmt: skip
    with pytest.raises(ValueError, match="store its answers"):
        spelling.answers("Is it alive?")


def test_questions_are_fit_to_ask(asked):
    assert len(asked) == len({question.text for question in asked}) == 700
    assert all(question.lexical and 0 < question.clarity <= 1 for question in asked)
    assert max(len(question.text) for question in asked) < QUESTION_LIMIT
    assert not [question.text for question in asked if is_bare_keyword(question.text)]


def test_no_two_questions_split_alike_and_thresholds_bisect(asked, things):
    spelling = Spelling(things.words)
    columns = np.stack([spelling.answers(question.text) for question in asked]).astype(np.float64)
    order = np.array([question.family == "alphabetical" for question in asked])
    others = columns[~order]
    share = others.mean(axis=1)
    assert share.min() > 0.01
    assert share.max() < 0.99
    correlation = np.abs(np.corrcoef(others))
    np.fill_diagonal(correlation, 0)
    assert correlation.max() < 0.92
    cuts = np.unique(columns[order].sum(axis=1))
    assert len(cuts) >= 60
    assert np.diff(cuts).max() < 0.05 * len(things)


def test_the_choice_depends_on_the_seed_only(things):
    some = Objects(things[:40])
    assert lexical_questions(some, count=80) == lexical_questions(some, count=80)
    assert lexical_questions(some, count=80, seed=1)[:20] == lexical_questions(some, count=80)[:20]


def test_few_words_allow_few_questions():
    few = lexical_questions(Objects(synthetic_things(2)), count=100)
    assert 1 <= len(few) < 100


def test_bank_finds_a_question_however_it_is_typed():
    bank = QuestionBank([BankQuestion("Is it alive?", "kind"), BankQuestion("Is it “big”?", "size", 0.5)])
    assert bank.index_of("  is it ALIVE ") == 0
    assert bank.index_of('Is it "big" ?') == 1
    assert bank.index_of("Is it small?") is None
    assert bank[1] == BankQuestion("Is it “big”?", "size", 0.5)
    assert bank.subset([1]).texts == ("Is it “big”?",)
    with pytest.raises(ValueError, match="come twice"):
        QuestionBank([BankQuestion("Is it red?", "a"), BankQuestion("Is it red?", "b")])
