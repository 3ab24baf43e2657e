"""What the table says, by the words of strangers."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable

QUESTIONS = ["Is it alive?", "Is it something you can eat?", "Does it have wheels?", "Does it have an engine?",
             "Is it bigger than a car?", "Is it usually red, pink or orange?"]  # fmt: skip
THETA = np.array([[0.98, 0.7, 0.02, 0.02, 0.1, 0.04], [0.02, 0.02, 0.95, 0.97, 0.5, 0.9]])


@pytest.fixture
def lookup():
    bank = [BankQuestion(text, "made up") for text in QUESTIONS]
    bank.append(BankQuestion("Does the keyword start with the letter 'c'?", "letter", lexical=True))
    objects = Objects([Thing("cat", ("feline",)), Thing("car")])
    return TableLookup(KnowledgeTable(objects, QuestionBank(bank), encode(THETA)))


def test_the_cell_of_keyword_and_question(lookup):
    assert lookup.probability("Cats", "Can people eat it?") == pytest.approx(0.7, abs=0.02)
    assert lookup.probability("feline", "is the keyword ALIVE") == pytest.approx(0.98, abs=0.01)
    assert lookup.probability("car", "Is it alive?") == pytest.approx(0.02, abs=0.01)
    assert lookup.probability("dog", "Is it alive?") is None
    assert lookup.probability("cat", "Is it fluffy?") is None
    assert lookup.probability("cat", "Does the keyword start with the letter 'c'?") is None, "rules answer that"


def test_a_keyword_that_is_not_there_is_taken_for_its_last_words(lookup):
    whole, part = lookup.probability("cat", "Is it alive?"), lookup.probability("Persian house cat", "Is it alive?")
    assert 0.5 < part < whole
    assert lookup.probability("cat food", "Is it alive?") is None
    assert lookup.probability("", "Is it alive?") is None


def test_facts_are_sure_and_near_the_question(lookup):
    facts = lookup.facts("car", "Does it have an engine or wheels that are bigger than those of a bus?")
    assert [fact.question for fact in facts][:2] in (QUESTIONS[2:4], QUESTIONS[3:1:-1])
    assert all(fact.probability > 0.85 for fact in facts), "the size of a car compared with a car is no sure fact"
    assert len(lookup.facts("car", "Does it have an engine or wheels?", count=1)) == 1
    assert lookup.facts("dog", "Does it have wheels?") == []
    assert lookup.facts("car", "Is it?") == []


def test_one_of_several_things_that_are_asked_for_together(lookup):
    """Not red, pink or orange is surely not red; one of these may well be another of them."""
    assert lookup.question_of("Is it pink?") == (5, pytest.approx(0.6))
    assert lookup.probability("cat", "Is it pink?") < 0.04
    assert 0.3 < lookup.probability("car", "Is it red?") < 0.7
    assert lookup.probability("car", "Is it red, pink or orange?") == pytest.approx(0.9, abs=0.01)
    assert lookup.question_of("Is it green?") is None


def test_paraphrases_find_the_question(lookup):
    assert lookup.question_of("Is the object edible?") == (1, 1.0)
    assert lookup.question_of("it's edible") == (1, 1.0)
    assert lookup.question_of("Is it inedible?") is None
