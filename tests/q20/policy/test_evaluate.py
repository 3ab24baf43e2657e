"""The comparisons that benchmarks and notebooks call: on a small table they show what they should, with intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tables import synthetic_table  # noqa: E402

from kaggle_utils.q20.policy.evaluate import compare_paper, compare_residual  # noqa: E402
from kaggle_utils.q20.policy.hu2018_training import PaperSettings  # noqa: E402
from kaggle_utils.q20.policy.intervals import paired_interval, wilson_interval  # noqa: E402
from kaggle_utils.q20.policy.noise import CELLS  # noqa: E402
from kaggle_utils.q20.policy.plots import plot_curves  # noqa: E402
from kaggle_utils.q20.policy.training import Curve, ResidualSettings  # noqa: E402

QUICK = ResidualSettings(games=1200, batch=300, rounds=14, validation=500, curve_every=2)


@pytest.fixture(scope="module")
def comparisons():
    table = synthetic_table(80, 60)
    cells = {name: CELLS[name] for name in ("flip_10", "says_no", "persistent_10")}
    return {c.cell: c for c in compare_residual(table, cells=cells, games=600, settings=QUICK, engine=True)}


def test_the_residual_policy_is_never_below_gain_and_better_where_noise_is_uneven(comparisons):
    assert comparisons["flip_10"].difference > -0.01
    for name in ("says_no", "persistent_10"):
        assert comparisons[name].difference_interval[0] > 0.0, comparisons[name]
        assert comparisons[name].kept in ("channel", "residual")


def test_every_player_has_a_rate_inside_its_interval(comparisons):
    for comparison in comparisons.values():
        assert set(comparison.rates) == {"eig", "residual", "engine"}
        for name, rate in comparison.rates.items():
            low, high = comparison.intervals[name]
            assert 0.0 <= low <= rate <= high <= 1.0
            assert rate > 0.3
        assert json.loads(json.dumps(comparison.row()))["games"] == 600


def test_a_bare_matrix_will_do_but_has_no_engine():
    theta = (np.random.default_rng(0).random((40, 30)) < 0.5).astype(np.float32)
    small = ResidualSettings(games=200, batch=100, validation=100, free_guess=True)
    (found,) = compare_residual(theta, cells={"flip_10": CELLS["flip_10"]}, games=300, settings=small)
    assert found.rates["residual"] >= found.rates["eig"] - 0.05
    with pytest.raises(ValueError, match="KnowledgeTable"):
        compare_residual(theta, engine=True)


def test_the_papers_belief_outlives_elimination_under_flips():
    noises = {"perfect": {}, "flip_20": {"flip": 0.2}}
    settings = PaperSettings(episodes=640, batch=64, evaluate_every=320, evaluation=200)
    clean, noisy = compare_paper(synthetic_table(60, 60), noises=noises, games=600, settings=settings)
    assert clean.rates["elimination"] == 1.0
    assert noisy.difference_interval[0] > 0.1, noisy
    assert set(noisy.rates) == {"paper", "paper_greedy", "untrained", "elimination", "eig"}


def test_curves_become_a_picture(comparisons, tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_curves({name: c.curve for name, c in comparisons.items()}, title="win rate")
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert [axes.get_title() for axes in figure.axes] == list(comparisons)
    assert len(figure.axes[0].get_lines()) == 3
    with pytest.raises(ValueError, match="no curves"):
        plot_curves({})


@pytest.mark.parametrize("panels", [1, 3])
def test_the_legend_of_few_panels_is_not_cut(panels):
    pytest.importorskip("matplotlib")
    curve = Curve(
        games=[0, 100], training=[float("nan"), 0.5], validation=[0.5, 0.6], lines={"greedy gain, assumed noise": 0.5}
    )
    figure = plot_curves({f"cell {number}": curve for number in range(panels)})
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1


def test_intervals_hold_what_they_should():
    low, high = wilson_interval(50, 100)
    assert low == pytest.approx(0.404, abs=1e-3)
    assert high == pytest.approx(0.596, abs=1e-3)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="3 wins in 2 games"):
        wilson_interval(3, 2)
    random = np.random.default_rng(0)
    first = random.random(4000) < 0.5
    mean, low, high = paired_interval(first, first | (random.random(4000) < 0.1))
    assert low < mean < high
    assert mean == pytest.approx(0.05, abs=0.015)
    assert high - low < 0.02, "paired games leave less doubt than two separate rates"
