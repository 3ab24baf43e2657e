"""A saved policy plays in the Robot: whole games, from nothing but the transcript."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from kaggle_utils.q20.agent import make_agent  # noqa: E402
from kaggle_utils.q20.arena import play_games, win_rate  # noqa: E402
from kaggle_utils.q20.policy.channel import AnswerChannel  # noqa: E402
from kaggle_utils.q20.policy.files import SavedPolicy, save_policy  # noqa: E402
from kaggle_utils.q20.policy.hu2018 import PaperPolicy, PaperTable  # noqa: E402
from kaggle_utils.q20.policy.residual import ResidualPolicy  # noqa: E402
from kaggle_utils.q20.protocol import Observation, is_valid_reply  # noqa: E402
from kaggle_utils.q20.questions import parse_question  # noqa: E402
from kaggle_utils.q20.robot import Robot  # noqa: E402
from kaggle_utils.q20.strategies.fallback import AnswerNo  # noqa: E402
from kaggle_utils.q20.strategies.lexical import AnswerLexical  # noqa: E402
from kaggle_utils.q20.strategies.policy import AskPolicy, GuessPolicy, PolicyBelief  # noqa: E402

WORDS = ("apple", "banana", "boxes", "cherry", "grape", "lemon", "pear", "plum")
QUESTIONS = tuple(f'Does the keyword contain the letter "{letter}"?' for letter in "aeglnpbcxrmu")
THETA = np.array([[parse_question(text).holds(word) for text in QUESTIONS] for word in WORDS], dtype=np.float32)


def policies():
    return {
        "residual": ResidualPolicy(THETA, channel=AnswerChannel.even(len(QUESTIONS), flip=0.02)),
        "hu2018": PaperPolicy(PaperTable.from_theta(THETA)),
    }


@pytest.mark.parametrize("kind", ["residual", "hu2018"])
def test_a_saved_policy_wins_real_games(kind, tmp_path):
    belief = PolicyBelief(save_policy(policies()[kind], tmp_path, objects=WORDS, questions=QUESTIONS))
    robot = Robot(asking=[AskPolicy(belief)], answering=[AnswerLexical(), AnswerNo()], guessing=[GuessPolicy(belief)])
    records = play_games(make_agent(robot), keywords=WORDS)
    assert win_rate(records) == 1.0
    for record in records:
        questions = [turn.question for turn in record.teams[0].rounds]
        assert questions
        assert len(set(questions)) == len(questions)


def transcript(*pairs, guesses=(), turn="guess"):
    return Observation(turn, questions=tuple(q for q, _ in pairs), answers=tuple(a for _, a in pairs), guesses=guesses)


@pytest.fixture(params=["residual", "hu2018"])
def belief(request):
    return PolicyBelief(SavedPolicy(policies()[request.param], WORDS, QUESTIONS))


def test_answers_move_the_guess_and_guesses_are_not_repeated(belief):
    guess = GuessPolicy(belief)
    has_x = (QUESTIONS[8], "yes")
    assert guess.reply(transcript(has_x)) == "boxes"
    assert guess.reply(transcript(has_x, guesses=("The Box",))) != "boxes", "the environment takes box for boxes"
    assert guess.reply(transcript(has_x, guesses=WORDS)) is None


def test_questions_are_not_repeated_and_run_out(belief):
    ask, pairs = AskPolicy(belief), []
    for _ in QUESTIONS:
        question = ask.reply(transcript(*pairs, turn="ask"))
        assert question in QUESTIONS
        assert is_valid_reply("ask", question)
        pairs.append((question, "no"))
    assert len({question for question, _ in pairs}) == len(QUESTIONS)
    assert ask.reply(transcript(*pairs, turn="ask")) is None


def test_foreign_questions_count_by_their_rule_or_not_at_all(belief):
    nothing = belief.log_belief(transcript())
    assert np.array_equal(belief.log_belief(transcript(("Is it edible?", "yes"), (QUESTIONS[0], "hm"))), nothing)
    assert belief.best_guess(transcript(('Does the keyword start with the letter "g"?', "yes"))) == "grape"
    other_spelling = QUESTIONS[8].upper().replace('"', "'")
    same = belief.log_belief(transcript((other_spelling, "yes")))
    assert np.array_equal(same, belief.log_belief(transcript((QUESTIONS[8], "yes"))))


def test_a_question_that_is_a_bare_keyword_is_never_asked():
    questions = ("Plums?", *QUESTIONS[1:])
    saved = SavedPolicy(policies()["residual"], WORDS, questions)
    ask, pairs = AskPolicy(saved), []
    while (question := ask.reply(transcript(*pairs, turn="ask"))) is not None:
        pairs.append((question, "yes"))
    assert [q for q, _ in pairs if q == "Plums?"] == []
    assert len(pairs) == len(questions) - 1
