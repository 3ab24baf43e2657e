"""From a table of pairs to probabilities: order, orientation of columns, unreadable rows, rules, time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fake_pairs import ByteTokenizer, make_table
from fake_scorers import LengthJudge

from kaggle_utils.data.probabilities import softmax
from kaggle_utils.inference.answer_rules import class_prior, fit_rules
from kaggle_utils.inference.scoring import Judge, score_pairs
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.tta import swap_columns


def judge(name="judge", *, weight=1.0, swapped=False, temperature=1.0, num_labels=3, **kwargs):
    spec = ScorerSpec(name, LengthJudge, {"classes": num_labels, **kwargs}, fingerprint=name, num_labels=num_labels)
    return Judge(spec, ByteTokenizer(), weight=weight, swapped=swapped, temperature=temperature)


def score(table, *judges, **options):
    options = {"devices": ["cpu", "cpu"], "workers": "threads", "progress": False, **options}
    return score_pairs(table, judges, **options)


def expected(table, *, bias=0.0, temperature=1.0, classes=3):
    lengths = np.array([[len(" ".join(p.response_a)), len(" ".join(p.response_b))] for p in table.pairs], float)
    logits = np.zeros((len(lengths), classes))
    logits[:, 0], logits[:, 1] = (lengths[:, 0] + 1 + bias) / 10, (lengths[:, 1] + 1) / 10
    return softmax(logits / temperature)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("swapped", [False, True])
def test_rows_are_in_order_and_columns_are_the_tables_own(classes, swapped):
    table = make_table()
    scores = score(table, judge(num_labels=classes, swapped=swapped, temperature=2.0))
    assert np.allclose(scores.probabilities, expected(table, temperature=2.0, classes=classes), atol=1e-6)
    assert scores.missing == []
    assert np.asarray(scores).shape == (40, classes)


@pytest.mark.parametrize("swapped", [False, True])
def test_both_orders_take_the_position_bias_out(swapped):
    table = make_table()
    biased = judge(bias=20.0, swapped=swapped)
    scores = score(table, biased, swap="all")
    first = expected(table, bias=20.0)
    lengths = np.array([[len(" ".join(p.response_a)), len(" ".join(p.response_b))] for p in table.pairs], float)
    other = softmax(np.column_stack([(lengths[:, 1] + 21) / 10, (lengths[:, 0] + 1) / 10, np.zeros(40)]))
    assert np.allclose(scores.probabilities, (first + swap_columns(other)) / 2, atol=1e-6)
    assert scores.swapped_rows.tolist() == list(range(40))


def test_only_the_least_certain_share_is_scored_again():
    table = make_table()
    plain = score(table, judge(bias=20.0))
    some = score(table, judge(bias=20.0), swap="uncertain", swap_share=0.25)
    full = score(table, judge(bias=20.0), swap="all")
    assert len(some.swapped_rows) == 10
    rest = np.setdiff1d(np.arange(40), some.swapped_rows)
    assert np.array_equal(some.probabilities[rest], plain.probabilities[rest])
    assert np.allclose(some.probabilities[some.swapped_rows], full.probabilities[some.swapped_rows])
    assert some.reports[1].computed == 10


def test_the_time_that_is_left_buys_the_other_order():
    table, slow = make_table(60), judge(bias=20.0, seconds=0.1)
    for _ in range(3):  # a machine whose speed changes between the two runs makes any deadline wrong once in a while
        started = time.monotonic()
        score(table, slow, max_tokens=100)
        one_order = time.monotonic() - started
        scores = score(table, slow, swap="time", deadline=1.5 * one_order, max_tokens=100)
        assert scores.missing == [] and len(scores.swapped_rows) < 60
        if len(scores.swapped_rows):
            return
    pytest.fail("half the time of one order bought not one row of the other, three times")


def test_judges_are_weighted_and_one_stands_in_for_another(tmp_path):
    table = make_table()
    long, short = judge("long", weight=3.0), judge("short", weight=1.0, bias=5.0, swapped=True)
    scores = score(table, long, short)
    mixed = (3 * scores.by_judge["long"] + scores.by_judge["short"]) / 4
    assert np.allclose(scores.probabilities, mixed)
    assert not np.allclose(scores.by_judge["long"], scores.by_judge["short"])


def test_unreadable_rows_get_the_prior_and_only_they():
    table = make_table(response_b={3: '["cut', 17: '{"a": 1}'})
    assert len(table.unreadable) == 2
    with pytest.raises(ValueError, match="2 rows could not be read"):
        score(table, judge())
    prior = class_prior(np.array([0, 0, 1]), num_labels=3)
    scores = score(table, judge(), prior=prior)
    assert np.array_equal(scores.probabilities[[3, 17]], [prior, prior])
    rest = np.setdiff1d(np.arange(40), [3, 17])
    assert np.allclose(scores.probabilities[rest], expected(table)[rest], atol=1e-6)


def test_rules_answer_the_rows_they_know():
    labelled = make_table(response_a=dict.fromkeys(range(20), '[""]'))
    rules = fit_rules(labelled.pairs, np.array([1] * 20 + [0] * 20), num_labels=3)
    table = make_table(response_a={5: "[null]", 6: "[]"})
    scores = score(table, judge(), rules=rules)
    assert scores.probabilities[5].argmax() == scores.probabilities[6].argmax() == 1
    assert np.allclose(scores.probabilities[7:], expected(table)[7:], atol=1e-6)


def test_rows_that_time_did_not_reach_are_nan_and_named(tmp_path):
    table = make_table(200)
    scores = score(table, judge(seconds=0.3), deadline=1.5, max_tokens=100, store=tmp_path / "r.db")
    assert 0 < len(scores.missing) < 200
    assert np.isnan(scores.probabilities[scores.missing]).all()
    filled = scores.filled(np.array([0.4, 0.4, 0.2]))
    assert np.allclose(filled.sum(axis=1), 1)
    again = score(table, judge(), store=tmp_path / "r.db")
    assert again.missing == []
    assert again.reports[0].from_store == 200 - len(scores.missing)


def test_everything_wrong_is_said_at_once():
    table = make_table(4, response_a={1: "not json"})
    with pytest.raises(ValueError, match=r"(?s)judges have \[2, 3\] labels.*called.*swap is 'some'.*1 rows could not"):
        score(table, judge(), judge(num_labels=2), swap="some")
    with pytest.raises(ValueError, match=r"(?s)no judge"):
        score(table)
    with pytest.raises(
        ValueError, match=r"(?s)temperatures.*needs a deadline.*prior has shape \(2,\), expected \(3,\)"
    ):
        score(table, judge(temperature=0.0), swap="time", prior=np.array([0.5, 0.5]))
