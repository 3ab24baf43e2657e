"""Simulated answerers err as often, and in the way, that they say."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.q20.policy.noise import CELLS, NO, UNSURE, YES, AnswerModel, Noise  # noqa: E402

TABLE = (np.random.default_rng(0).random((40, 60)) < 0.5).astype(np.float32)
TRUTH = torch.arange(40).repeat(50)
RIGHT = torch.as_tensor(TABLE)[TRUTH].to(torch.int8)


def shares(noise: Noise, **options) -> tuple[float, float, float]:
    """Share of "yes" where no is right, of "no" where yes is right, of "unsure"."""
    said = AnswerModel(TABLE, noise, **options).answers(TRUTH, seed=1)
    spoke = said != UNSURE
    false_yes = ((said == YES) & (RIGHT == NO)).sum() / ((RIGHT == NO) & spoke).sum()
    false_no = ((said == NO) & (RIGHT == YES)).sum() / ((RIGHT == YES) & spoke).sum()
    return float(false_yes), float(false_no), float((~spoke).float().mean())


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Noise(), (0.0, 0.0, 0.0)),
        (Noise(flip=0.1), (0.1, 0.1, 0.0)),
        (Noise(false_yes=0.25), (0.25, 0.0, 0.0)),
        (Noise(flip=0.05, false_no=0.2), (0.05, 0.25, 0.0)),
        (Noise(unsure=0.3, flip=0.1), (0.1, 0.1, 0.3)),
    ],
)
def test_rates_are_what_was_asked_for(noise, expected):
    assert shares(noise) == pytest.approx(expected, abs=0.01)


def test_mean_error_is_the_share_of_wrong_answers():
    model = AnswerModel(TABLE, CELLS["says_yes"])
    wrong = (model.answers(TRUTH, seed=3) != RIGHT).float().mean()
    assert float(wrong) == pytest.approx(model.mean_error, abs=0.01)


def test_spread_tells_questions_apart_and_keeps_the_mean():
    even = Noise(flip=0.1).rates(np.zeros(4000, bool))[0]
    uneven = Noise(flip=0.1, spread=0.05).rates(np.zeros(4000, bool))[0]
    assert even.std() < 1e-7 < 0.05 < uneven.std()
    assert uneven.mean() == pytest.approx(0.1, abs=0.01)


def test_persistent_answerers_repeat_their_errors_and_others_do_not():
    same = torch.zeros(400, dtype=torch.int64)
    kept = AnswerModel(TABLE, Noise(flip=0.2, persistent=True), strangers=1)
    rows = kept.answers(same, seed=0)
    assert (rows == rows[0]).all()
    assert (rows[0] == kept.answers(same, seed=9)[0]).all(), "another game, the same answerer"
    assert (rows[0] != kept.answers(same, seed=0, held_out=True)[0]).any(), "held-out answerers are others"
    fresh = AnswerModel(TABLE, Noise(flip=0.2)).answers(same, seed=0)
    assert (fresh != fresh[0]).any()


def test_same_seed_same_answers_and_lexical_questions_can_be_worse():
    lexical = np.arange(60) >= 50
    model = AnswerModel(TABLE, CELLS["letter_blind"], lexical)
    said = model.answers(TRUTH, seed=4)
    assert (said == model.answers(TRUTH, seed=4)).all()
    assert (said != model.answers(TRUTH, seed=5)).any()
    wrong = (said != RIGHT).float().mean(0)
    assert float(wrong[50:].mean()) == pytest.approx(0.4, abs=0.02)
    assert float(wrong[:50].mean()) == pytest.approx(0.05, abs=0.02)


def test_a_soft_answerer_draws_from_the_table():
    said = AnswerModel(np.full((1, 3), 0.7, np.float32), Noise(soft=True)).answers(torch.zeros(4000).long(), seed=0)
    assert float((said == YES).float().mean()) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("rates", [{"flip": 1.0}, {"unsure": -0.1}, {"lexical_flip": 2.0}])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match=next(iter(rates))):
        Noise(**rates)


def test_tables_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        AnswerModel(np.full((2, 2), np.nan), Noise())
    with pytest.raises(ValueError, match="lexical"):
        AnswerModel(TABLE, Noise(), np.zeros(3, bool))
