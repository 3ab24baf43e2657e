"""The picture of win rates: every player and the bound are in it, with labels a reader needs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kaggle_utils.q20.tournament.noise_chart import noise_chart
from kaggle_utils.q20.tournament.simulate import Simulation


def games(won, lost):
    rounds = np.array([5] * won + [0] * lost, np.int8)
    nothing = np.zeros((won + lost, 1), np.int32)
    return Simulation(np.zeros(won + lost, np.int64), rounds, nothing, nothing.astype(np.int8), nothing)


def test_players_and_bound_are_drawn():
    figure = noise_chart({"bayes": {0.0: games(9, 1), 0.1: games(5, 5)}, "hard": {0.1: games(1, 9)}}, objects=1000)
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["bound, 1,000 keywords", "bayes", "hard"]
    drawn = {container.get_label(): container.lines[0].get_xydata().tolist() for container in axes.containers}
    assert drawn == {"bayes": [[0.0, 0.9], [0.1, 0.5]], "hard": [[0.1, 0.1]]}
    bound = next(line for line in axes.lines if "bound" in str(line.get_label())).get_ydata()
    assert bound[0] == pytest.approx(1.0) and np.all(np.diff(bound) <= 1e-9)


def test_every_flip_rate_that_was_played_has_its_tick():
    figure = noise_chart({"bayes": {0.0: games(9, 1), 0.025: games(8, 2), 0.2: games(5, 5)}}, objects=100)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_xticks().tolist() == [0.0, 0.025, 0.2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0%", "2.5%", "20%"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no results"):
        noise_chart({"bayes": {}}, objects=10)
