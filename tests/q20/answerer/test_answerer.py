"""Who answers, in which order, and what a prompt shows of the keyword and the table."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from fakes import FakeGenerator, RaisingGenerator
from tables import synthetic_table

from kaggle_utils.q20.agent import make_agent
from kaggle_utils.q20.answerer.answerer import Answerer, Judgement
from kaggle_utils.q20.answerer.category import category_answer
from kaggle_utils.q20.answerer.prompts import PROMPTS
from kaggle_utils.q20.hostile import hostile_texts
from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questions import HANDSHAKE
from kaggle_utils.q20.robot import Robot, model_of
from kaggle_utils.q20.strategies.answering import AnswerKnowing, answering_strategies
from kaggle_utils.q20.strategies.fallback import AnswerNo


@pytest.fixture(scope="module")
def table():
    return synthetic_table(60, 40, lexical=False)


def decided(table, low, high):
    """A cell whose probability lies between two bounds: keyword, category, question."""
    theta = table.theta
    row, column = next(zip(*np.nonzero((theta > low) & (theta < high)), strict=True))
    return table.objects.words[row], table.objects.categories[row], table.bank.texts[column], float(theta[row, column])


def test_sources_in_order(table):
    model = FakeGenerator(p_yes=0.8)
    answerer = Answerer(table, model)
    word, category, sure, p = decided(table, 0.95, 1)
    assert answerer.judge(word, category, HANDSHAKE) == Judgement(1.0, "handshake")
    assert answerer.judge(word, category, f'Is it "{word}"?').source == "rule"
    assert answerer.judge("Cat", "things", "Is it a cat?") == Judgement(1.0, "named")
    assert answerer.judge("Paris", "city", "Is it a country?") == Judgement(0.03, "category")
    assert answerer.judge(word, category, sure) == Judgement(pytest.approx(p), "table")
    assert model.conversations == [], "no model is asked where somebody knows"
    assert answerer.judge(word, category, "Is it magnetic?") == Judgement(pytest.approx(0.8), "model")
    assert Answerer(table).judge(word, category, "Is it magnetic?").source == "default"


def test_an_undecided_table_and_the_model_add_their_log_odds(table):
    word, category, question, p = decided(table, 0.55, 0.8)
    found = Answerer(table, FakeGenerator(p_yes=0.9)).judge(word, category, question)
    odds = p / (1 - p) * 9
    assert found == Judgement(pytest.approx(odds / (1 + odds)), "table+model")
    assert Answerer(table, FakeGenerator(p_yes=0.01)).judge(word, category, question).yes is False
    assert Answerer(table, FakeGenerator(p_yes=math.nan)).judge(word, category, question) == Judgement(p, "table")
    assert Answerer(table, FakeGenerator(p_yes=0.5), sure=0.5).judge(word, category, question).source == "table"


def test_the_model_gets_one_batch_of_the_open_questions(table):
    calls = []

    class Model(FakeGenerator):
        def yes_no(self, conversations):
            calls.append(len(conversations))
            return super().yes_no(conversations)

    answerer = Answerer(table, Model(p_yes=lambda text: 0.9 if "red" in text else 0.1), prompts=("named", "it"))
    asked = [("Cat", "things", text) for text in ("Is it red?", "Does the keyword start with 'c'?", "Is it blue?")]
    assert answerer.answer_many(asked) == [True, True, False]
    assert calls == [4], "two questions, two prompts"
    assert answerer.answer_many([]) == []


def test_calibration_is_applied_to_the_model_alone():
    answerer = Answerer(None, FakeGenerator(p_yes=0.6), calibrate=lambda p: p / 2)
    assert answerer.probability("Cat", "things", "Is it red?") == pytest.approx(0.3)
    assert answerer.probability("Cat", "things", "Does the keyword start with 'c'?") == 1.0


def test_facts_stand_in_the_prompt():
    bank = QuestionBank([BankQuestion(text, "made up") for text in ("Does it have wheels?", "Is it alive?")])
    known = KnowledgeTable(Objects([Thing("car"), Thing("cat")]), bank, encode(np.array([[0.98, 0.02], [0.02, 0.98]])))
    model = FakeGenerator(p_yes=0.5)
    Answerer(known, model).judge("car", "things", "Does it have four wheels?")
    assert "Does it have wheels? Yes." in model.conversations[-1][-1].content
    assert "alive" not in model.conversations[-1][-1].content, "it has nothing to do with the question"
    Answerer(known, model).judge("cat", "things", "Does it have four wheels?")
    assert "Does it have wheels? No." in model.conversations[-1][-1].content
    Answerer(known, model, facts=0).judge("car", "things", "Does it have four wheels?")
    assert "Yes." not in model.conversations[-1][-1].content


def test_prompts_share_their_beginning_up_to_the_question():
    for prompt in PROMPTS.values():
        one = prompt.conversation("Cat", "things", "Is it alive?")
        two = prompt.conversation("Cat", "things", "Does it have {named} legs?")
        assert one[0] == two[0]
        shared = [a == b for a, b in zip(one[1].content, two[1].content, strict=False)].index(False)
        assert "Cat" in one[1].content[:shared]
        assert one[1].content.count("alive") == two[1].content.count("legs") == 1
        assert "{named}" in two[1].content, "braces of strangers stay"
        long = prompt.conversation("c" * 10_000, "x" * 10_000, "q" * 100_000)
        assert len(long[1].content) < 1500


def test_settings_are_checked():
    with pytest.raises(ValueError, match="'polite'"):
        Answerer(prompts=("polite",))
    with pytest.raises(ValueError, match="sure=0"):
        Answerer(sure=0.2)
    with pytest.raises(ValueError, match="no language model"):
        Answerer().model_probabilities([("a", "b", "c")])


@pytest.mark.parametrize(
    ("category", "question", "expected"),
    [("city", "Is it a place?", 0.97), ("city", "Is it a country?", 0.03), ("city", "Is it a type of person?", 0.03),
     ("things", "Is it a country?", 0.03), ("things", "Is it a place?", None), ("place", "Is it a landmark?", None),
     ("city", "Is it a landmark?", None), ("city", "Is it a city in Europe?", None), ("", "Is it a city?", None),
     ("Country", "Is the keyword a nation?", 0.97)],
)  # fmt: skip
def test_category(category, question, expected):
    assert category_answer(category, question) == expected


def observed(question, keyword="Cat", category="things"):
    return Observation("answer", keyword=keyword, category=category, questions=(question,))


def test_the_strategy_says_what_is_known_and_nothing_else(table):
    word, category, sure, _ = decided(table, 0, 0.05)
    strategy = AnswerKnowing(Answerer(table))
    assert strategy.reply(observed(sure, word, category)) == "no"
    assert strategy.reply(observed("Does the keyword contain neither 'x' nor 'y'?")) == "yes"
    assert strategy.reply(observed("Is it magnetic?")) is None
    assert strategy.reply(observed("  ")) is None
    assert strategy.reply(observed("Is it red?", keyword="")) is None
    assert AnswerKnowing(Answerer(table, FakeGenerator(p_yes=0.7))).reply(observed("Is it magnetic?")) == "yes"


def test_hostile_questions_get_an_answer(table):
    answerer = Answerer(table, FakeGenerator(p_yes=0.4))
    for text in hostile_texts():
        assert 0 <= answerer.probability(text, text, text) <= 1


def test_what_the_model_raises_passes_on():
    with pytest.raises(RuntimeError, match="broken"):
        Answerer(None, RaisingGenerator(RuntimeError("broken"))).answer("Cat", "things", "Is it red?")


def test_recorded_episode(shared_data):
    """Every answer that follows from a rule or a table-free source equals the one given in a real game."""
    episode = json.loads((shared_data / "q20" / "kaggle_replay_55924766.json").read_text())
    seats = [seat["observation"] for seat in episode["steps"][-1]]
    keyword = next(seat["keyword"] for seat in seats if seat.get("keyword"))
    asked = [pair for seat in seats[::2] for pair in zip(seat["questions"], seat["answers"], strict=False)]
    judged = Answerer().judge_many([(keyword, "things", question) for question, _ in asked])
    known = [(one, answer) for one, (_, answer) in zip(judged, asked, strict=True) if one.source != "default"]
    assert len(known) >= 35
    assert all(one.yes is (answer == "yes") for one, answer in known)


def test_the_chain_asks_the_model_only_where_it_must(table):
    """Sure cells never wait for a model; with a broken model the table still says what it has."""
    word, category, sure, _ = decided(table, 0.95, 1)
    name, kind, unsure, _ = decided(table, 0.55, 0.8)
    model = FakeGenerator(p_yes=0.01)
    chain = answering_strategies(table, model)
    assert [model_of(strategy) for strategy in chain] == [None, model, None]
    assert chain[0].reply(observed(sure, word, category)) == "yes"
    assert chain[0].reply(observed(unsure, name, kind)) is None
    assert chain[1].reply(observed(unsure, name, kind)) == "no"
    assert chain[2].reply(observed(unsure, name, kind)) == "yes"
    robot = Robot(
        asking=[], answering=[*answering_strategies(table, RaisingGenerator(MemoryError())), AnswerNo()], guessing=[]
    )
    agent = make_agent(robot, log=False)
    seen = {"turnType": "answer", "keyword": name, "category": kind, "questions": [unsure]}
    assert agent(seen, None) == "yes"
    assert agent({**seen, "questions": ["Is it magnetic?"]}, None) == "no"
    assert len(answering_strategies(table)) == 1
