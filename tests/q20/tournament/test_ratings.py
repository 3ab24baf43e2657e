"""Ratings: known values of the update, order of skill, what intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kaggle_utils.q20.tournament.ratings import START, GameResult, RatingSettings, rate


def one_game(winner, teams=((0,), (1,)), players=2, draw=0.1):
    settings = RatingSettings(sigma=25 / 3, beta=25 / 6, least_sigma=1e-6, draw_share=draw)
    names = [str(index) for index in range(players)]
    standings = rate([GameResult(teams, winner)], names, settings=settings, replicas=0, orders=0)
    return [standing.rating - START for standing in sorted(standings, key=lambda s: s.player)]


def test_update_equals_published_values():
    """Two new players of the usual scale (25, 25/3): 29.396 and 20.604 after a win, 25 and 25 after a draw."""
    assert one_game(0) == pytest.approx([4.396, -4.396], abs=2e-3)
    assert one_game(1) == pytest.approx([-4.396, 4.396], abs=2e-3)
    assert one_game(None) == pytest.approx([0, 0], abs=1e-9)


def test_two_against_two_moves_partners_alike_and_less_than_one_against_one():
    """Four new players: 28.108 and 21.892."""
    moved = one_game(0, teams=((0, 1), (2, 3)), players=4)
    assert moved == pytest.approx([3.108, 3.108, -3.108, -3.108], abs=2e-3)


def test_one_player_in_two_seats_is_one_unknown():
    """Twice the same player against twice another tells about two skills, not four: sigma 8.33, gap 2 (a - b)."""
    moved = one_game(0, teams=((0, 0), (1, 1)))
    beta, sigma, margin = 25 / 6, 25 / 3, 0.12566 * 2 * 25 / 6
    scale = (8 * sigma**2 + 4 * beta**2) ** 0.5
    x = -margin / scale
    v = np.exp(-x * x / 2) / (2 * np.pi) ** 0.5 / (0.5 * math.erfc(-x / 2**0.5))
    assert moved == pytest.approx([2 * sigma**2 / scale * v, -2 * sigma**2 / scale * v], rel=1e-3)
    assert one_game(0, teams=((0, 1), (0, 1))) == pytest.approx([0, 0])  # on both sides: nothing can be learned


def season(skills, games, *, seed=0, ties=0.3, beta=100.0):
    random = np.random.default_rng(seed)
    results = []
    for _ in range(games):
        a, b, c, d = random.permutation(len(skills))[:4].tolist()
        gap = skills[a] + skills[b] - skills[c] - skills[d] + random.normal() * 2 * beta
        winner = None if random.random() < ties else int(gap < 0)
        results.append(GameResult(((a, b), (c, d)), winner))
    return results


def test_the_better_player_stands_above_and_the_interval_holds_its_place():
    skills = [0, 40, 80, 160, 240, 320]
    names = [f"player {skill}" for skill in skills]
    standings = rate(season(skills, 1500), names, replicas=100)
    assert [standing.player for standing in standings] == names[::-1]
    for standing in standings:
        assert standing.low < standing.rating < standing.high
        assert standing.wins + standing.losses + standing.ties == standing.games
    assert standings[0].low > standings[-1].high
    assert sum(s.games for s in standings) == 4 * 1500


def test_without_ties_ratings_are_skills_on_the_same_scale():
    skills = [0, 100, 200, 300]
    standings = rate(season(skills, 1500, ties=0), [str(skill) for skill in skills], replicas=0)
    ratings = [standing.rating for standing in standings][::-1]
    assert np.diff(ratings) == pytest.approx([100, 100, 100], rel=0.3)


def test_more_games_narrow_the_interval():
    def widths(games):
        return np.mean(
            [s.high - s.low for s in rate(season([0, 50, 100, 150], games), list("abcd"), replicas=60, orders=10)]
        )

    assert widths(800) < 0.7 * widths(100)


def test_equal_players_are_not_told_apart():
    standings = rate(season([100] * 5, 500, seed=4), list("abcde"), replicas=60, orders=10)
    assert max(s.low for s in standings) < min(s.high for s in standings)


def test_points_within_a_game_do_not_count_and_the_seed_fixes_the_intervals():
    results = season([0, 100, 200, 300], 60)
    assert rate(results, list("abcd"), seed=3) == rate(results, list("abcd"), seed=3)
    assert rate(results, list("abcd"), seed=3) != rate(results, list("abcd"), seed=4)


def test_extreme_gaps_stay_finite():
    """A long row of wins of one side, then the upset: no overflow, no NaN."""
    results = [GameResult(((0, 0), (1, 1)), 0)] * 300 + [
        GameResult(((0, 0), (1, 1)), 1),
        GameResult(((0,), (1,)), None),
    ]
    standings = rate(results, ["strong", "weak"], settings=RatingSettings(draw_share=0.01), replicas=20)
    assert np.isfinite([[s.rating, s.low, s.high] for s in standings]).all()
    assert standings[0].player == "strong"


def test_no_games_and_wrong_games():
    assert [s.rating for s in rate([], ["a", "b"])] == [START, START]
    with pytest.raises(ValueError, match=r"game 0 names the players \[7\]; game 1 has an empty team"):
        rate([GameResult(((0,), (7,)), 0), GameResult(((), (1,)), 0)], ["a", "b"])
    with pytest.raises(ValueError, match=r"sigma is 0.*draw_share is 1"):
        RatingSettings(sigma=0, draw_share=1)
