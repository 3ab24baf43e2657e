"""Words that a model proposes join the game with a prior and are weighed by their answers."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeGenerator
from tables import synthetic_table

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.proposals import ProposedRows, weigh_words
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


def test_a_word_that_explains_the_answers_outweighs_one_that_does_not():
    _, _, questioner = odd_transcript()
    fits = [0.95 if heard.answer else 0.05 for heard in questioner.heard]
    weights = weigh_words(questioner, np.array([fits, [1 - p for p in fits]]))
    assert weights[0] > 0.5
    assert weights[0] > 50 * weights[1]


def test_the_model_is_asked_only_where_the_table_seems_not_to_know():
    questions, answers, questioner = odd_transcript()
    above = questioner.posterior.out_of_vocabulary / 2
    assert above > 0.02
    model = FakeGenerator("unicorn\ngriffin", p_yes=0.5)
    strategy = GuessProposed(model, Minds(TABLE, vocabulary=WORDS), above=above)
    obs = Observation("guess", step=44, questions=tuple(questions), answers=tuple(answers))
    assert strategy.reply(obs) in (None, "unicorn", "griffin")
    assert model.conversations
    quiet = FakeGenerator("unicorn")
    early = Observation("guess", questions=tuple(questions[:2]), answers=tuple(answers[:2]))
    assert GuessProposed(quiet, Minds(TABLE, vocabulary=WORDS), above=0.0).reply(early) is None
    assert not quiet.conversations


@pytest.mark.parametrize("text", ["", "???", "yes", TABLE.objects.words[0]])
def test_no_new_word_is_left_to_the_next_strategy(text):
    questions, answers, _ = odd_transcript()
    obs = Observation("guess", step=44, questions=tuple(questions), answers=tuple(answers))
    assert GuessProposed(FakeGenerator(text), Minds(TABLE, vocabulary=WORDS), above=0.0).reply(obs) is None
