"""Replays with the questioner's belief: what answers told, and who is believed in, from a small table."""

from __future__ import annotations

import math

from replay_games import a_record, a_round, text_of
from tables import synthetic_table

from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.replay import render_html, with_posterior


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
