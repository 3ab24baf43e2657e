"""Words that a model proposes join the game with a prior and are weighed by their answers."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeGenerator
from tables import synthetic_table

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.proposals import ProposedRows
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.strategies.bayes import GuessProposed, Minds
from kaggle_utils.q20.vocabulary import Vocabulary

TABLE = synthetic_table(objects=60, questions=80)
WORDS = Vocabulary.from_weights({"apple": 3, "zebra": 1})


def odd_transcript(rounds=14):
    """A transcript that fits no object: every answer is what fewest of the likely objects would get."""
    questioner, answers = Questioner(PreparedTable(TABLE), handshake=False), []
    for _ in range(rounds):
        number = questioner.ask()
        column = TABLE.columns([number])[:, 0] if number < len(TABLE.bank) else None
        answer = bool(questioner.posterior.objects @ column < 0.5 * questioner.posterior.objects.sum())
        answers.append("yes" if answer else "no")
        questioner.hear(answer)
    return questioner.asked, answers, questioner


def test_rows_are_filled_once_and_by_rule_where_spelling_decides():
    calls = []

    def answer(pairs):
        calls.extend(pairs)
        return [0.8] * len(pairs)

    rows = ProposedRows(answer)
    questions = ["Is it alive?", "Does the keyword start with the letter 'q'?"]
    assert rows.theta(["quail"], questions).tolist() == [[0.8, 1.0]]
    rows.theta(["quail", "dog"], questions)
    assert calls == [("quail", "Is it alive?"), ("dog", "Is it alive?")]
    assert ProposedRows(lambda pairs: [float("nan")] * len(pairs)).theta(["x"], questions[:1]).tolist() == [[0.5]]


def fitting(questioner):
    return [0.95 if heard.answer else 0.05 for heard in questioner.heard]


def test_a_word_that_explains_the_answers_outweighs_one_that_does_not():
    _, _, questioner = odd_transcript()
    fits = fitting(questioner)
    questioner.add_words(["unicorn", "griffin"], np.array([fits, [1 - p for p in fits]]))
    posterior = questioner.posterior
    weights = posterior.guests
    assert weights[0] > 0.5
    assert weights[0] > 50 * weights[1]
    assert posterior.objects.sum() + weights.sum() + posterior.out_of_vocabulary == pytest.approx(1)
    assert questioner.best_guess() == "unicorn"
    assert questioner.top(1) == [("unicorn", pytest.approx(weights[0]))]


def test_words_cost_the_slot_its_share_and_the_objects_nothing():
    _, _, questioner = odd_transcript()
    heard, before, slot = questioner.heard, questioner.posterior.objects, questioner.posterior.out_of_vocabulary
    questioner.add_words(["unicorn"], np.array([[heard_one.unknown for heard_one in heard]]))  # any unknown word
    assert questioner.posterior.objects == pytest.approx(before)
    assert questioner.posterior.guests[0] == pytest.approx(slot / 2)


def test_joining_early_and_being_told_later_is_the_same_as_joining_late():
    questions, answers, late = odd_transcript()
    early = Questioner(PreparedTable(TABLE), handshake=False)
    fits = fitting(late)
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), 1):
        early.observe(question, answer == "yes")
        if number in (6, 11):
            early.add_words(["unicorn"], np.array([fits[:number]]))
    early.add_words(["unicorn"], np.array([fits]))
    late.add_words(["unicorn"], np.array([fits]))
    assert early.posterior.guests == pytest.approx(late.posterior.guests)
    assert early.entropy_bits == pytest.approx(late.entropy_bits)
    assert early.ask() == late.ask()


def test_a_word_that_was_guessed_is_out_and_objects_never_join():
    _, _, questioner = odd_transcript()
    known = TABLE.objects.words[0]
    theta = np.array([fitting(questioner)] * 2)
    questioner.add_words(["unicorn", known], theta)
    assert questioner.guests.words == ["unicorn"]
    questioner.rule_out("Unicorns")
    questioner.add_words(["unicorn"], theta[:1])
    assert questioner.posterior.guests.tolist() == [0.0]
    assert questioner.best_guess() != "unicorn"


def knowing(transcript):
    """What a model says that knows the answers for a unicorn, and the opposite for everything else."""

    def p_yes(text):
        asked = [question for question in transcript if question.split("Is it ")[-1].rstrip("?") in text]
        right = transcript[max(asked, key=len)] == "yes"
        return 0.97 if right == ("unicorn" in text.lower()) else 0.03

    return p_yes


def test_the_model_is_asked_only_where_the_table_seems_not_to_know():
    questions, answers, questioner = odd_transcript()
    above = questioner.posterior.out_of_vocabulary / 2
    assert above > 0.02
    model = FakeGenerator("unicorn\ngriffin", p_yes=knowing(dict(zip(questions, answers, strict=True))))
    minds = Minds(TABLE, vocabulary=WORDS)
    strategy = GuessProposed(model, minds, above=above)
    obs = Observation("guess", step=44, questions=tuple(questions), answers=tuple(answers))
    assert strategy.reply(obs) == "unicorn"
    assert model.conversations
    guessed = Observation("guess", step=44, questions=obs.questions, answers=obs.answers, guesses=("unicorn",))
    assert strategy.reply(guessed) != "unicorn"
    assert minds.of(guessed).guests.words[0] == "unicorn", "it stays in the game"
    quiet = FakeGenerator("unicorn")
    early = Observation("guess", questions=tuple(questions[:2]), answers=tuple(answers[:2]))
    assert GuessProposed(quiet, Minds(TABLE, vocabulary=WORDS), above=0.0).reply(early) is None
    assert GuessProposed(quiet, Minds(TABLE, vocabulary=WORDS), above=0.99).reply(obs) is None
    assert not quiet.conversations


@pytest.mark.parametrize("text", ["", "???", "yes", TABLE.objects.words[0]])
def test_no_new_word_is_left_to_the_next_strategy(text):
    questions, answers, _ = odd_transcript()
    obs = Observation("guess", step=44, questions=tuple(questions), answers=tuple(answers))
    assert GuessProposed(FakeGenerator(text), Minds(TABLE, vocabulary=WORDS), above=0.0).reply(obs) is None
