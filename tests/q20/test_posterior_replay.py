"""Replays with the questioner's belief: what answers told, and who is believed in, from a small table."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from replay_games import a_record, a_round, text_of
from tables import synthetic_table

from kaggle_utils.q20.questioner.evidence import slot_p_yes
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.questions import HANDSHAKE, alphabetical_question
from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.replay import main, read_record, render_html, with_posterior
from kaggle_utils.q20.vocabulary import Vocabulary


def a_game(table, word, *, rounds=9):
    """Semantic questions about ``word``, answered as the table says."""
    index = table.objects.index_of(word)
    theta = table.rows([index])[0]
    asked = sorted(table.stored, key=lambda q: -abs(theta[q] - 0.5) * min(table.unknown[q], 1 - table.unknown[q]))
    played = [
        a_round(question=table.bank.texts[q], answer="yes" if theta[q] > 0.5 else "no", guess="zzz")
        for q in asked[:rounds]
    ]
    return a_record(played, [a_round(answer="")])


def test_right_answers_raise_the_right_word_and_tell_bits():
    table = synthetic_table(objects=60, questions=120, seed=3, lexical=False)
    word = table.objects.words[7]
    record = with_posterior(a_game(table, word), PreparedTable(table, None))
    first, second = record.teams
    assert first.rounds[-1].candidates[0][0] == word
    assert sum(played.gain_bits for played in first.rounds) > 3
    assert first.rounds[-1].entropy_bits < first.rounds[0].entropy_bits
    for played in first.rounds:
        assert played.candidate_count == max(1, round(2**played.entropy_bits))
    assert second.rounds[0].gain_bits is None, "no answer, nothing told"


def test_the_page_shows_bits_and_words():
    table = synthetic_table(objects=60, questions=120, seed=3, lexical=False)
    record = with_posterior(a_game(table, table.objects.words[7], rounds=2), PreparedTable(table, None))
    bits = record.teams[0].rounds[0].gain_bits
    assert math.isfinite(bits) and f"{bits:+.2f} bits" in text_of(record)
    assert 'class="gain"' in render_html(record)


def test_the_expected_gain_is_the_mean_of_what_the_two_answers_take_off():
    vocabulary = Vocabulary.from_weights({"apple": 3, "pear": 1, "zebra": 2, "quince": 1})
    table = synthetic_table(objects=60, questions=120, seed=3)
    questioner = Questioner(PreparedTable(table, vocabulary))
    asked = [table.bank.texts[3], "Does the keyword start with the letter 'p'?", alphabetical_question("moth")]
    for question in [*asked, *asked]:  # again, when something is known
        before, told = questioner.entropy_bits, []
        for answer in (True, False):
            other = copy.deepcopy(questioner)
            other.observe(question, answer)
            told.append(before - other.entropy_bits)
        effect = questioner.effect(question)
        p = questioner.posterior.channel.p_yes(np.asarray(effect.theta, dtype=np.float64), lexical=effect.lexical)
        slot = slot_p_yes(questioner.posterior.channel, effect.unknown, lexical=effect.lexical)
        weights = questioner.posterior.weights
        yes = float((weights[:, :-1] * p).sum() + weights[:, -1] @ slot)
        assert questioner.expected_gain(question) == pytest.approx(yes * told[0] + (1 - yes) * told[1], abs=1e-9)
        questioner.observe(question, True)
    assert questioner.expected_gain(HANDSHAKE) is None
    assert questioner.expected_gain("Is it dreamt of?") is None


def test_the_page_shows_what_a_question_promised_beside_what_it_told():
    table = synthetic_table(objects=60, questions=120, seed=3, lexical=False)
    record = with_posterior(a_game(table, table.objects.words[7], rounds=3), PreparedTable(table, None))
    for played in record.teams[0].rounds:
        assert f"{played.expected_bits:.2f} expected" in text_of(record)
    assert record.teams[1].rounds[0].gain_bits is None
    assert GameRecord.from_json(record.to_json()) == record
    assert "what the question was expected to take off" in text_of(record)


def test_words_of_the_vocabulary_are_among_the_likeliest():
    vocabulary = Vocabulary.from_weights({"quince": 9, "zebra": 1})
    table = synthetic_table(objects=30, questions=40, seed=3)
    rounds = [
        a_round(question=HANDSHAKE, answer="yes", guess=""),
        a_round(question="Does the keyword start with the letter 'q'?", answer="yes", guess="quiche"),
        a_round(question=alphabetical_question("quip"), answer="yes", guess=""),
    ]
    record = with_posterior(a_record(rounds, [a_round(answer="")]), PreparedTable(table, vocabulary))
    word, share = record.teams[0].rounds[-1].candidates[0]
    assert word == "quince" and share > 0.9


def test_a_game_of_a_tournament_is_read_by_its_number(tmp_path, capsys):
    games = [a_record([a_round(guess=word)], [a_round()]) for word in ("ant", "bee")]
    path = tmp_path / "games.jsonl"
    rows = [json.loads(game.to_json()) | {"players": ["x"], "seats": [0, 0, 0, 0]} for game in games]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_record(path, game=2) == games[1]
    assert main([str(path), "--game", "1", "--no-candidates"]) == 0
    assert capsys.readouterr().out.strip().endswith("games-1.html")
    for wrong in ([], ["--game", "3"], ["--game", "0"]):
        assert main([str(path), *wrong]) == 2
        assert "2 games" in capsys.readouterr().err
    single = tmp_path / "one.json"
    single.write_text(games[0].to_json(), encoding="utf-8")
    assert main([str(single), "--game", "2"]) == 2
    path.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert read_record(path) == games[0]
