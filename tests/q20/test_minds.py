"""The questioner is kept for many games at once, and the first question of a game waits for nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tables import synthetic_table

from kaggle_utils.q20.agent import default_robot
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.questions import HANDSHAKE
from kaggle_utils.q20.strategies.bayes import AskBayes, Minds
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

TABLE = synthetic_table(objects=60, questions=80)
WORDS = Vocabulary.from_weights({"apple": 3, "zebra": 1})


def play(robot, *, games, rounds, counted=None):
    """Games in step, turn by turn; each is answered by its own pattern. Returns what was asked and guessed in each."""
    seats = [{"questions": (), "answers": (), "guesses": ()} for _ in range(games)]
    for number in range(rounds):
        for index, seat in enumerate(seats):
            seat["questions"] += (robot.on("asking", Observation("ask", **seat)),)
            seat["answers"] += ("yes" if (index + number) % (index + 2) == 0 else "no",)
            seat["guesses"] += (robot.on("guessing", Observation("guess", **seat)),)
    return seats


@pytest.fixture
def observed(monkeypatch):
    """Counts the answers that questioners take in."""
    counts, real = [], Questioner.observe
    monkeypatch.setattr(Questioner, "observe", lambda self, *args: counts.append(1) or real(self, *args))
    return counts


def test_games_beside_each_other_are_not_played_again_at_every_turn(observed):
    together = play(default_robot(table=TABLE, vocabulary=WORDS), games=6, rounds=8)
    assert len(observed) < 2 * 6 * 8, "each game was worked out once, and again where two games parted"
    alone = [play(default_robot(table=TABLE, vocabulary=WORDS), games=n + 1, rounds=8)[n] for n in (0, 5)]
    assert alone == [together[0], together[5]]


def test_no_more_games_are_kept_than_asked_for():
    minds = Minds(TABLE, vocabulary=WORDS, games=2)
    transcripts = [Observation("ask", questions=(text,), answers=("no",)) for text in TABLE.bank.texts[:4]]
    for obs in transcripts:
        minds.of(obs)
    assert [minds.known(obs) is not None for obs in transcripts] == [False, False, True, True]
    assert minds.of(transcripts[3]) is minds.known(transcripts[3])


def test_a_turn_that_comes_again_after_its_game_went_on_is_worked_out_anew():
    minds = Minds(TABLE, vocabulary=WORDS)
    first = Observation("ask", questions=TABLE.bank.texts[:1], answers=("no",))
    later = Observation("ask", questions=TABLE.bank.texts[:2], answers=("no", "yes"), guesses=("zzz",))
    before = minds.of(first).top(5)
    assert len(minds.of(later).asked) == 2
    assert minds.known(first) is None
    assert minds.of(first).top(5) == before


def test_the_known_first_question_is_what_the_questioner_would_ask():
    questioner = Questioner(PreparedTable(load_table(), load_vocabulary()))
    assert questioner.question_text(questioner.ask()) == HANDSHAKE
    minds = Minds()
    assert AskBayes(minds).reply(Observation("ask")) == HANDSHAKE
    minds._loading.join()
    assert minds.opening() is None, "once all is loaded the questioner decides"


def test_another_table_or_vocabulary_decides_for_itself():
    assert Minds(TABLE).opening() is None
    assert Minds(vocabulary=WORDS).opening() is None
    only_meaning = synthetic_table(objects=60, questions=80, lexical=False)
    assert AskBayes(Minds(only_meaning, vocabulary=WORDS)).reply(Observation("ask")).endswith("?")


def test_the_first_question_reads_neither_table_nor_vocabulary():
    code = (
        "import kaggle_utils.q20.questioner.prepared as prepared, kaggle_utils.q20.transcript as transcript\n"
        "from kaggle_utils.q20.agent import make_agent\n"
        "def broken(*_): raise OSError('not there')\n"
        "prepared.load_table = transcript.load_vocabulary = broken\n"
        "print(make_agent(log=False)({'turnType': 'ask'}, None))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == HANDSHAKE
    assert not done.stderr, "what loads in the background is not reported twice"
