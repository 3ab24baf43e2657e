"""Replays: the story of a game is told right, from a record, an episode or the arena, into a whole file or none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from replay_games import Document, a_record, a_round, long_game, text_of

from kaggle_utils.q20.page.chart import candidates_chart, time_chart
from kaggle_utils.q20.questions import alphabetical_question
from kaggle_utils.q20.replay import main, render_html, with_candidates, write_html
from kaggle_utils.q20.vocabulary import Vocabulary

# --- the story ---------------------------------------------------------------------------------------------------


def test_a_win_names_the_round_and_marks_the_guess_as_the_environment_compares():
    won = a_record([a_round(), a_round(guess="Coffee-Bean")], [a_round(), a_round(guess="tea")], rewards=(19, 0))
    text = text_of(won)
    assert "Ants wins: found it in round 2, before Bees." in text
    assert text.count("✓ the keyword") == 1
    assert "+19" in text
    assert 'class="round found" id="a2"' in render_html(won)


def test_another_name_of_the_keyword_is_a_hit_and_a_sentence_is_not():
    assert "✓ the keyword" in text_of(a_record([a_round(guess="The coffee!")], [a_round()]))
    assert "✓ the keyword" not in text_of(a_record([a_round(guess="I think it is coffee")], [a_round()]))


def test_ties_are_told_apart():
    assert "Both teams found it in round 1: a tie." in text_of(
        a_record([a_round(guess="coffee")], [a_round(guess="coffee")])
    )
    assert "neither team found the keyword in 20 rounds" in text_of(long_game())


@pytest.mark.parametrize("status", ["ERROR", "INVALID", "TIMEOUT"])
def test_a_fault_names_seat_status_and_round(status):
    broken = a_record(
        [a_round(), a_round(guess="")],
        [a_round(), a_round(answer="", guess="")],
        rewards=(1, None),
        statuses=(("DONE", "DONE"), ("DONE", status)),
    )
    text = text_of(broken)
    assert f"Ended by a fault in round 2. The answerer of Bees: {status}, " in text
    assert f"failed: answerer {status}" in text
    assert "no answer" in text and "(nothing)" in text


def test_unfinished_and_empty_games_are_shown_too():
    assert "stops before the game was over" in text_of(
        a_record([a_round()], [a_round()], statuses=(("ACTIVE", "INACTIVE"),) * 2)
    )
    assert text_of(a_record([], [])).count("No question was recorded.") == 2


def test_a_wrong_answer_to_an_exact_question_is_called_wrong():
    ask = alphabetical_question("dog")
    assert "wrong: it is yes" in text_of(a_record([a_round(ask, "no")], [a_round(ask, "yes")]))
    assert "wrong" not in text_of(a_record([a_round(ask, "yes")], [a_round("Is it food?", "no")])).split("Source")[0]


def test_times_are_shown_and_an_overrun_is_marked():
    html = render_html(a_record([a_round(seconds=(0.05, 75.6, None))], [a_round(seconds=(None, None, None))]))
    text = Document(html).text
    assert "ask 50\xa0ms" in text and "76\xa0s, over 60\xa0s" in text
    assert html.count('class="times"') == 1, "a round without any known time shows none"


def test_teams_of_one_name_are_numbered():
    record = a_record([a_round()], [a_round()])
    same = replace(record, teams=tuple(replace(team, name="Self") for team in record.teams))
    assert "Self 1" in text_of(same) and "Self 2" in text_of(same)


def test_the_charts_hold_a_mark_per_round_and_survive_odd_numbers():
    drawing = candidates_chart([[1000, 100, 0], [900, None]], [2, None])
    assert drawing.count('class="mark a"') == 3 and drawing.count('class="mark b"') == 1
    assert drawing.count('class="ring"') == 1
    assert candidates_chart([[None], []], [None, None]) == "" == time_chart([[(0.0, 0.0)], []])
    for odd in ([[1], []], [[0], [0]], [[-5], [3]], [[10**12] * 300, [1] * 3]):
        assert "nan" not in candidates_chart(odd, [None, None])
    assert time_chart([[(0.001, 0.0)], [(1000.0, 3.0)] * 40]).count("<g") == 41


# --- candidates --------------------------------------------------------------------------------------------------

WORDS = {"apple": 4, "banana": 2, "coffee": 8, "dog": 1, "egg": 1}


def test_candidates_are_those_after_the_answer_and_before_the_guess():
    rounds = [
        a_round("Is it Agent Alpha?", "yes", "coffee"),
        a_round(alphabetical_question("dog"), "yes", "apple"),
        a_round("Is it a fruit?", "yes", "banana"),
    ]
    record = with_candidates(a_record(rounds, [], keyword="banana", alts=()), Vocabulary.from_weights(WORDS))
    first, second, third = record.teams[0].rounds
    assert [played.candidate_count for played in record.teams[0].rounds] == [5, 2, 1]
    assert first.candidates[0] == ("coffee", pytest.approx(0.5)), "a guess counts only from the next round on"
    assert second.candidates == (("apple", pytest.approx(2 / 3)), ("banana", pytest.approx(1 / 3)))
    assert third.candidates == (("banana", pytest.approx(1.0)),) and third.entropy_bits == 0.0
    assert "banana ✓" in text_of(record)


def test_a_transcript_that_no_word_fits_says_so():
    rounds = [a_round(alphabetical_question("banana"), "yes"), a_round(alphabetical_question("apple"), "yes")]
    record = with_candidates(a_record(rounds, []), Vocabulary.from_weights(WORDS))
    last = record.teams[0].rounds[-1]
    assert (last.candidate_count, last.entropy_bits) == (0, None)
    assert "no word fits every answer" in text_of(record)


# --- files and the command line ----------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = write_html(long_game(), tmp_path / "deep" / "game.html")
    before = target.read_bytes()
    with pytest.raises(AttributeError):
        write_html(None, target)
    assert target.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_html(long_game(), tmp_path / "folder")
    assert [path.name for path in tmp_path.rglob("*")].count("game.html") == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_real_episode_becomes_a_replay(shared_data, tmp_path, capsys):
    target = tmp_path / "real.html"
    assert main([str(shared_data / "q20" / "kaggle_replay_55924766.json"), "-o", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    html = target.read_text(encoding="utf-8")
    text = " ".join(Document(html).text.split())
    for piece in (
        "aquarium light",
        "c-number",
        "agent alpha",
        "neither team found",
        'output "LoL"',
        "google home",
        "−1",
    ):
        assert piece in text, piece
    assert html.count('<li class="round') == 40 and "candidates" in text
    assert len(html.encode()) < 200_000


def test_a_saved_record_becomes_a_replay_beside_it(tmp_path, capsys):
    saved = tmp_path / "game.json"
    saved.write_text(long_game().to_json(), encoding="utf-8")
    assert main([str(saved), "--no-candidates"]) == 0
    assert (tmp_path / "game.html").read_text(encoding="utf-8") == render_html(long_game())


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"steps": []}', '{"steps": 3}', "null", "3"])
def test_a_file_that_is_no_game_is_refused_with_its_name(content, tmp_path, capsys):
    path = tmp_path / "odd.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert "odd.json" in capsys.readouterr().err
    assert not (tmp_path / "odd.html").exists()


def test_a_missing_file_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_a_game_of_the_arena_becomes_a_replay():
    from kaggle_utils.q20.arena import play_game

    def agent(obs, cfg):
        replies = {"ask": "Is it alive?", "answer": "no", "guess": "coffee" if obs.step > 5 else "tea"}
        return replies[obs.turnType]

    text = text_of(play_game(agent, keyword="coffee"))
    assert "Both teams found it in round 3: a tie." in text
    assert "Is it alive?" in text


def test_an_episode_that_the_environment_broke_off_shows_its_error():
    broken = replace(a_record([a_round(guess="")], [a_round(guess="")]), error="the episode crashed: <keyword> asked")
    text = text_of(broken)
    assert "No result: the environment itself ended the episode." in text
    assert "Reported: the episode crashed: <keyword> asked" in text


def test_a_game_of_the_real_environment_becomes_a_replay_with_the_time_of_every_turn(tmp_path):
    from real_game import play_real

    player = 'def agent(obs, cfg):\n    return {"ask": "Is it alive?", "answer": "no", "guess": GUESS}[obs.turnType]\n'
    winner = player.replace("GUESS", '"tea" if obs.step < 5 else "The Coffees"')
    episode = play_real([winner, winner, *[player.replace("GUESS", "'<i>tea</i>'")] * 2], "coffee")
    saved = tmp_path / "00-coffee.json"
    saved.write_text(json.dumps(episode), encoding="utf-8")
    assert main([str(saved)]) == 0
    html = (tmp_path / "00-coffee.html").read_text(encoding="utf-8")
    text = " ".join(Document(html).text.split())
    assert "A wins: found it in round 2, before B." in text and "+19" in text
    assert "<i>tea</i>" in text
    assert html.count('class="times"') == 4 and "Seconds per round" in text
