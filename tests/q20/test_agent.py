"""The agent always replies validly and in time, whatever its strategies and its model do."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from fakes import FakeGenerator, HangingGenerator, RaisingGenerator, SlowGenerator
from tables import synthetic_table

from kaggle_utils.q20.agent import default_robot, make_agent
from kaggle_utils.q20.checks import check_agent
from kaggle_utils.q20.guard import time_left
from kaggle_utils.q20.protocol import ROUNDS, is_valid_reply
from kaggle_utils.q20.questions import HANDSHAKE
from kaggle_utils.q20.robot import Robot
from kaggle_utils.q20.strategies.llm import AskLLM
from kaggle_utils.q20.turn_time import turn_time
from kaggle_utils.q20.vocabulary import Vocabulary

SEMANTIC = {"turnType": "answer", "role": "answerer", "keyword": "cat", "category": "things",
            "questions": ["Is it soft?"], "answers": [], "guesses": []}  # fmt: skip
REFUSED = {"turnType": "ask", "role": "guesser", "questions": [HANDSHAKE], "answers": ["no"], "guesses": ["table"]}
GUESS = {**REFUSED, "turnType": "guess", "questions": [HANDSHAKE, "Is it soft?"], "answers": ["no", "no"]}
WORDS = Vocabulary.from_weights({"apple": 3, "can opener": 1, "is it a game": 1, "zebra": 2})


TABLE = synthetic_table(objects=40, questions=60)


def small(generator=None):
    return default_robot(generator, table=TABLE, vocabulary=WORDS)


# --- conformance


GENERATORS = {
    "none": lambda: None,
    "fake": lambda: FakeGenerator("Is it used in a kitchen?", "dog\ncat", p_yes=0.9),
    "silent": lambda: FakeGenerator("", p_yes=float("nan")),
    "chatty": lambda: FakeGenerator("I'd love to! " * 500, p_yes=7.0),
    "raising": lambda: RaisingGenerator(RuntimeError("CUDA error: device-side assert")),
    "out of memory": lambda: RaisingGenerator(MemoryError()),
    "exiting": lambda: RaisingGenerator(SystemExit(1)),
    "interrupting": lambda: RaisingGenerator(KeyboardInterrupt()),
    "slow": lambda: SlowGenerator("Is it used in a kitchen?", seconds=0.01),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_agent_keeps_every_rule_with_any_model(name):
    check_agent(make_agent(small(GENERATORS[name]()), log=False))


def test_agent_keeps_every_rule_as_it_ships():
    check_agent(make_agent(log=False), count=40)


def test_agent_keeps_every_rule_with_a_hanging_model():
    model = HangingGenerator()
    try:
        check_agent(make_agent(small(model), act_timeout=0.5, log=False))
    finally:
        model.released.set()


def test_make_agent_refuses_what_cannot_play():
    with pytest.raises(TypeError, match=r"str.*Robot"):
        make_agent("gemma")
    for wrong in ({"act_timeout": 0}, {"act_timeout": float("nan")}, {"margin": -1}):
        with pytest.raises(ValueError, match=str(next(iter(wrong)))):
            make_agent(**wrong)


def test_agent_has_the_two_arguments_that_the_environment_counts():
    assert make_agent(log=False).__code__.co_argcount == 2


# --- answers


def answer(agent, keyword, question):
    return agent({"turnType": "answer", "keyword": keyword, "category": "things", "questions": [question]}, None)


def test_what_the_shipped_table_knows_is_answered_without_a_model():
    agent = make_agent(log=False)
    assert answer(agent, "banana", "Is it something you can eat?") == "yes"
    assert answer(agent, "banana", "Can you eat it?") == "yes"
    assert answer(agent, "hammer", "Is it something you can eat?") == "no"
    assert answer(agent, "banana", "Is it admired by poets?") == "no", "nobody knows"


def test_the_model_has_a_say_in_what_the_table_is_not_quite_sure_of():
    """Of the answers of which the table claims 90 %, more than 10 % are wrong."""
    word, asked = TABLE.objects.words[0], list(TABLE.stored)
    row = dict(zip(asked, TABLE.rows([0])[0][asked].tolist(), strict=True))
    said_yes = TABLE.bank.texts[max((q for q in asked if row[q] < 0.95), key=row.__getitem__)]
    for p_yes, expected in ((0.001, "no"), (0.999, "yes"), (0.5, "yes")):
        agent = make_agent(small(FakeGenerator(p_yes=p_yes)), log=False)
        assert answer(agent, word, said_yes) == expected
    assert answer(make_agent(small(RaisingGenerator(MemoryError())), log=False), word, said_yes) == "yes"


def test_the_threshold_of_the_model_counts_beside_the_table_too():
    for threshold, expected in ((0.5, "yes"), (0.7, "no")):
        robot = default_robot(FakeGenerator(p_yes=0.6), table=TABLE, vocabulary=WORDS, threshold=threshold)
        assert answer(make_agent(robot, log=False), "cat", "Is it soft?") == expected


def test_a_table_that_cannot_be_read_leaves_rules_and_model(monkeypatch, caplog):
    def broken(path=None):
        raise FileNotFoundError("table.q20")

    monkeypatch.setattr("kaggle_utils.q20.agent.load_table", broken)
    agent = make_agent(FakeGenerator(p_yes=0.9), log=False)
    assert answer(agent, "cat", "Does the keyword start with the letter 'd'?") == "no"
    assert not caplog.text, "rules need no table"
    assert answer(agent, "cat", "Is it soft?") == "yes"
    assert "table.q20" in caplog.text


# --- failures inside


class Replies:
    def __init__(self, reply):
        self.value = reply

    def reply(self, obs):
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


BAD = [42, b"yes", "", "   ", "\ud800", "x" * 9999, ["yes"], ZeroDivisionError(), SystemExit(), RecursionError()]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_the_next_strategy_is_asked_after_a_bad_reply(bad):
    robot = Robot(
        asking=[Replies(bad), Replies("Is it big?")],
        answering=[Replies(bad), Replies("yes")],
        guessing=[Replies(bad), Replies("dog")],
    )
    agent = make_agent(robot, log=False)
    assert [agent(obs, None) for obs in (REFUSED, SEMANTIC, GUESS)] == ["Is it big?", "yes", "dog"]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_robot_of_nothing_but_failures_still_replies(bad):
    chain = [Replies(bad)]
    agent = make_agent(Robot(asking=chain, answering=chain, guessing=chain), log=False)
    for obs in (REFUSED, SEMANTIC, GUESS):
        assert is_valid_reply(obs["turnType"], agent(obs, None))


@pytest.mark.parametrize("answer", ["maybe", "Yes", "yes!", "no, because"])
def test_an_answer_is_exactly_yes_or_no(answer):
    assert make_agent(Robot(answering=[Replies(answer)]), log=False)(SEMANTIC, None) == "no"


@pytest.mark.parametrize("question", ["Can opener?", "Zebras", "the APPLE!", "Is it a game?"])
def test_a_question_is_never_a_candidate_keyword(question):
    """The environment would crash: it compares questions with the keyword too."""
    robot = small()
    robot = Robot(asking=[Replies(question), Replies("Is it heavy?")], beliefs=robot.beliefs)
    assert make_agent(robot, log=False)(REFUSED, None) == "Is it heavy?"


def test_a_vocabulary_that_cannot_be_read_is_no_disaster(monkeypatch, caplog):
    def broken(path=None):
        raise FileNotFoundError("vocabulary.txt.gz")

    monkeypatch.setattr("kaggle_utils.q20.transcript.load_vocabulary", broken)
    agent = make_agent(default_robot(), log=False)
    assert agent(REFUSED, None).endswith("?")
    assert agent(GUESS, None) == "water"
    assert agent({**SEMANTIC, "questions": ["Is it admired by poets?"]}, None) == "no"
    assert "vocabulary.txt.gz" in caplog.text


def test_a_failure_is_logged_in_full_once_and_within_bounds(caplog):
    agent = make_agent(small(RaisingGenerator(RuntimeError("out \u2603 of memory " * 200))), log=False)
    for _ in range(3):
        assert agent(SEMANTIC, None) == "no"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 6, "the model is asked twice a turn: with what the table knows, and alone"
    assert [text.split()[0] for text in messages[:2]] == ["AnswerKnowing", "AnswerLLM"]
    first, second, third = messages[::2]
    assert "RuntimeError" in first
    assert "raise self.error_to_raise" in first
    assert "Traceback" not in second
    assert second == third
    assert all(len(text) < 1000 and text.isascii() for text in (first, second))


def test_an_error_that_cannot_even_be_printed_is_survived():
    class Nasty(Exception):
        def __str__(self):
            raise ValueError("no text")

    assert make_agent(small(RaisingGenerator(Nasty())), log=False)(SEMANTIC, None) == "no"


def test_a_real_interrupt_of_the_user_passes():
    # Started in the background (nohup, `make test &`), a process ignores the signal, and Python leaves it at that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Interrupts:
        def reply(self, obs):
            import _thread

            _thread.interrupt_main()
            time.sleep(20)

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            make_agent(Robot(answering=[Interrupts()]), act_timeout=30, log=False)(SEMANTIC, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 15


# --- time


def test_a_hanging_model_costs_one_turn_and_is_not_asked_again_until_it_is_back():
    model = HangingGenerator()
    agent = make_agent(small(model), act_timeout=2, log=False)
    try:
        started = time.monotonic()
        assert agent(SEMANTIC, None) == "no"
        assert 0.5 < time.monotonic() - started < 4
        started = time.monotonic()
        for obs in (REFUSED, GUESS, SEMANTIC) * 5:
            assert is_valid_reply(obs["turnType"], agent(obs, None))
        assert time.monotonic() - started < 4, "fifteen turns that wait for nothing"
        assert model.calls == 1
    finally:
        model.released.set()
    deadline = time.monotonic() + 10
    while agent(SEMANTIC, None) == "no" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert agent(SEMANTIC, None) == "yes"


def test_a_hanging_rule_is_left_behind_too():
    class Hangs:
        asked = 0

        def reply(self, obs):
            Hangs.asked += 1
            threading.Event().wait(60)

    agent = make_agent(Robot(answering=[Hangs(), Replies("yes")]), act_timeout=0.5, log=False)
    started = time.monotonic()
    assert agent(SEMANTIC, None) == "no"  # nothing was left of this turn
    assert agent(SEMANTIC, None) == "yes"
    assert time.monotonic() - started < 3
    assert Hangs.asked == 1


def test_a_slow_model_is_used_while_it_is_within_the_turn():
    model = SlowGenerator(seconds=0.3, p_yes=1.0)
    assert make_agent(small(model), act_timeout=10, log=False)(SEMANTIC, None) == "yes"


@pytest.mark.parametrize(("overage", "reply"), [(300, "yes"), (60, "yes"), (59.9, "no"), (0, "no"), (-5, "no")])
def test_a_nearly_empty_time_bank_means_no_model(overage, reply):
    model = FakeGenerator(p_yes=1.0)
    agent = make_agent(small(model), log=False)
    assert agent({**SEMANTIC, "remainingOverageTime": overage}, None) == reply
    assert bool(model.conversations) == (reply == "yes")


@pytest.mark.parametrize("cfg", [{"actTimeout": 0.4}, SimpleNamespace(actTimeout=0.4)])
def test_a_shorter_turn_in_the_configuration_counts(cfg):
    model = HangingGenerator()
    started = time.monotonic()
    try:
        assert make_agent(small(model), log=False)(SEMANTIC, cfg) == "no"
    finally:
        model.released.set()
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("cfg", [None, {}, {"actTimeout": "60"}, {"actTimeout": -1}, {"actTimeout": True}, 7, object()])
def test_an_odd_configuration_changes_nothing(cfg):
    assert make_agent(small(FakeGenerator(p_yes=1.0)), log=False)(SEMANTIC, cfg) == "yes"


class Loading(FakeGenerator):
    """A model that is ready after some seconds, like BackgroundGenerator."""

    def __init__(self, *replies, seconds, **options):
        super().__init__(*replies, **options)
        self.loaded, self.error, self.seen = threading.Event(), None, []
        self.timer = threading.Timer(seconds, self.loaded.set)
        self.timer.daemon = True
        self.timer.start()

    @property
    def ready(self):
        return self.loaded.is_set()

    def generate(self, conversations, settings=None):
        self.seen.append(time_left())
        self.loaded.wait(60)
        return super().generate(conversations, settings)

    def yes_no(self, conversations):
        self.seen.append(time_left())
        self.loaded.wait(60)
        return super().yes_no(conversations)


def test_an_answerer_waits_for_its_model_out_of_the_time_bank_and_a_guesser_does_not():
    answerer = make_agent(small(Loading(seconds=1.5, p_yes=1.0)), act_timeout=0.5, log=False)
    assert answerer({**SEMANTIC, "remainingOverageTime": 200}, None) == "yes"
    guesser = make_agent(small(Loading("Is it larger than a house?", seconds=5)), act_timeout=0.5, log=False)
    started = time.monotonic()
    assert guesser({**REFUSED, "remainingOverageTime": 200}, None) != "Is it larger than a house?"
    assert time.monotonic() - started < 4


def test_waiting_for_a_model_never_touches_the_reserve():
    model = Loading(seconds=0.3)
    make_agent(small(model), act_timeout=60, log=False)({**SEMANTIC, "remainingOverageTime": 160}, None)
    assert 48 < model.seen[0] <= 58
    assert turn_time(120, act_timeout=60, waiting=True) == turn_time(120, act_timeout=60)


@pytest.mark.parametrize("act_timeout", [0.1, 0.5, 2, 10, 60])
@pytest.mark.parametrize("margin", [None, 0, 5, 1000])
def test_time_is_shared_out_in_order(act_timeout, margin):
    times = turn_time(300, act_timeout=act_timeout, margin=margin)
    assert 0 < times.model < times.rules <= act_timeout


def test_the_model_is_told_how_long_it_has():
    model = FakeGenerator("Is it larger than a house?")
    make_agent(Robot(asking=[AskLLM(model)]), act_timeout=10, log=False)(REFUSED, None)
    assert 3 < model.settings[0].time_limit <= 8


# --- the log


def test_each_turn_logs_one_short_line_of_json(capsys):
    agent = make_agent(small())
    for obs in (REFUSED, SEMANTIC, GUESS, {"turnType": "☃" * 500}, None):
        agent(obs, None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(len(line) < 300 for line in lines)
    rows = [json.loads(line) for line in lines]
    assert [row["turn"] for row in rows] == ["ask", "answer", "guess", "unknown", "unknown"]
    assert [row["strategy"] for row in rows[:3]] == ["AskBayes", "AnswerNo", "GuessBayes"]
    assert 1 < rows[0]["candidates"] <= len(TABLE.objects) + len(WORDS)
    assert all(row["seconds"] >= 0 for row in rows)


def test_log_can_be_switched_off_and_a_closed_stdout_is_survived(capsys, monkeypatch):
    make_agent(small(), log=False)(SEMANTIC, None)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    assert make_agent(small())(SEMANTIC, None) == "no"


def test_the_keyword_is_never_logged(capsys, caplog):
    with caplog.at_level(logging.DEBUG):
        make_agent(small(RaisingGenerator(RuntimeError("x"))))({**SEMANTIC, "keyword": "xylophone"}, None)
    assert "xylophone" not in capsys.readouterr().out + caplog.text


# --- statelessness


def test_a_turn_that_is_lost_repeated_or_taken_over_by_a_new_process_gives_the_same_reply():
    first = make_agent(small(), log=False)
    for obs in (REFUSED, GUESS, REFUSED, SEMANTIC):
        assert first(obs, None) == first(obs, None) == make_agent(small(), log=False)(obs, None)


def test_twenty_rounds_without_partner_never_repeat_a_question_or_a_guess():
    model = FakeGenerator("Is it larger than a house?", p_yes=0.5)
    for robot in (default_robot(), default_robot(model)):
        agent = make_agent(robot, log=False)
        questions, answers, guesses = [], [], []
        for _ in range(ROUNDS):
            shared = {"questions": questions, "answers": answers, "guesses": guesses}
            questions.append(agent({"turnType": "ask", **shared}, None))
            answers.append("no")
            guesses.append(agent({"turnType": "guess", **shared}, None))
        assert len(set(questions)) == len(set(guesses)) == ROUNDS
