"""Golden games for the referee; test_differential holds it against the real environment in hundreds of others."""

from __future__ import annotations

import time

import pytest

from kaggle_utils.q20.rules import EpisodeCrash, Game


def play(game, *, asks="Is it?", answers="yes", guesses="dog", other=None, turns=60):
    """Give the same replies in every round; ``other`` is (ask, answer, guess) of the second team."""
    theirs = other or (asks, answers, guesses)
    for _ in range(turns):
        if game.done:
            break
        turn = game.turn % 3
        mine, yours = (asks, answers, guesses)[turn], theirs[turn]
        game.step([None, mine, None, yours] if turn == 1 else [mine, None, yours, None])
    return game


def test_nobody_finds_it():
    game = play(Game("cat"))
    assert game.done and game.turn == 60
    assert game.rewards == (-1,) * 4 and game.statuses == ("DONE",) * 4


@pytest.mark.parametrize(("round_", "reward"), [(0, 20), (9, 11), (19, 1)])
def test_reward_counts_the_rounds(round_, reward):
    game = play(Game("cat"), turns=3 * round_ + 2)
    game.step(["cats", None, "dog", None])
    assert game.done and game.rewards == (reward, reward, 0, 0)


def test_both_in_the_same_round():
    assert play(Game("cat", alts=["felis"]), guesses="Felis!", other=("Is it?", "no", "the CAT")).rewards == (20,) * 4


@pytest.mark.parametrize(
    ("bad", "seat", "status"),
    [
        ({"asks": ""}, 0, "ERROR"),
        ({"asks": None}, 0, "ERROR"),
        ({"asks": 7}, 0, "INVALID"),
        ({"asks": ValueError("boom")}, 0, "ERROR"),
        ({"answers": "maybe"}, 1, "ERROR"),
        ({"answers": ""}, 1, "ERROR"),
        ({"answers": ["yes"]}, 1, "ERROR"),
        ({"guesses": ""}, 0, "ERROR"),
        ({"guesses": {"a": 1}}, 0, "INVALID"),
    ],
)
def test_a_bad_reply_costs_only_its_own_seat(bad, seat, status):
    """The offender has no reward, the three others one each, and the game is over."""
    game = play(Game("cat"), **bad, other=("Is it?", "yes", "dog"))
    assert game.done
    assert game.rewards == tuple(None if index == seat else 1 for index in range(4))
    assert game.statuses[seat] == status and game.statuses.count("DONE") == 3


def test_one_team_asking_the_keyword_kills_the_episode():
    game = Game("Coffee beans")
    game.step(["coffee bean?", None, "Is it?", None])
    before = game.observations()
    for _ in range(2):
        with pytest.raises(EpisodeCrash, match="Coffee beans"):
            game.step([None, "yes", None, "yes"])
    assert game.observations() == before and not game.done


def test_guesser_never_sees_the_keyword_before_the_end():
    """A leak would make every local win rate a lie."""
    game = Game("cat", "animals")
    for turn in range(60):
        seats = game.observations()
        assert all(seats[seat]["keyword"] == seats[seat]["category"] == "" for seat in (0, 2))
        assert all(seats[seat]["keyword"] == ("cat" if turn else "") for seat in (1, 3))
        game.step([None, "yes", None, "no"] if turn % 3 == 1 else ["Is it?", None, "Is it?", None])
    assert [seat["keyword"] for seat in game.observations()] == ["cat"] * 4


def test_texts_are_cut_and_teams_do_not_see_each_other():
    game = Game("cat")
    game.step(["q" * 800, None, "Is it red?", None])
    game.step([None, "YES of course", None, "none"])
    game.step(["g" * 101, None, "dog", None])
    first, _, third, _ = game.observations()
    assert (first["questions"], first["answers"], first["guesses"]) == (["q" * 750], ["yes"], ["g" * 100])
    assert (third["questions"], third["answers"], third["guesses"]) == (["Is it red?"], ["no"], ["dog"])


def test_comparison_uses_the_uncut_guess():
    word = "x" * 150
    assert play(Game(word), guesses=word).rewards == (20,) * 4


def test_the_clock():
    """60 s a turn are free, the excess comes out of the bank, and more than the bank is the end."""
    game = Game("cat")
    game.step(["Is it?", None, "Is it?", None], durations=[60, 0, 160.5, 0])
    game.step([None, "yes", None, "yes"], durations=[999, 0, 999, 0])  # seats that wait have no clock
    assert [seat["remainingOverageTime"] for seat in game.observations()] == [300, 300, 199.5, 300]
    game.step(["dog", None, "dog", None], durations=[360, 0, 259.6, 0])
    assert game.done and game.rewards == (1, 1, None, 1) and game.statuses[2] == "TIMEOUT"
    strict = Game("cat", act_timeout=1, overage=0)
    strict.step(["Is it?", None, "Is it?", None], durations=[1.01, 0, 1, 0])
    assert strict.statuses[0] == "TIMEOUT"


def test_misuse_is_refused():
    game = Game("cat")
    with pytest.raises(ValueError, match="3 actions"):
        game.step(["a", "b", "c"])
    play(game)
    with pytest.raises(RuntimeError, match="over"):
        game.step([None] * 4)


def test_observations_are_copies():
    game = Game("cat")
    game.observations()[0]["questions"].append("mine")
    assert game.observations()[0]["questions"] == []


def test_a_whole_game_takes_milliseconds():
    start = time.process_time()
    for _ in range(20):
        play(Game("cat"))
    assert (time.process_time() - start) / 20 < 0.05
