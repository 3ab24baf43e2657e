"""Rules are counts of labelled rows, the same for A and B, and silent where there are too few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from kaggle_utils.inference.answer_rules import answer_kind, class_prior, fit_rules
from kaggle_utils.inference.tta import swap_columns


@dataclass
class Answers:
    response_a: tuple[str, ...]
    response_b: tuple[str, ...]


NORMAL, EMPTY_A, EMPTY_B = Answers(("x",), ("y",)), Answers(("",), ("y",)), Answers(("x",), ())
SAME, BOTH_EMPTY = Answers(("x", "z"), ("x", "z ")), Answers((), (" \n",))


@pytest.mark.parametrize(
    ("answers", "kind"),
    [(NORMAL, None), (EMPTY_A, "empty_a"), (EMPTY_B, "empty_b"), (SAME, "identical"), (BOTH_EMPTY, "empty_both"),
     (Answers(("", "x"), ("x",)), "identical"), (Answers(("x", "y"), ("y", "x")), None)],
)  # fmt: skip
def test_kinds(answers, kind):
    assert answer_kind(answers.response_a, answers.response_b) == kind


def test_counts_smoothed_towards_the_prior_and_mirrored():
    pairs = [NORMAL] * 80 + [EMPTY_A] * 10 + [EMPTY_B] * 10
    labels = np.array([0, 1] * 40 + [1] * 9 + [0] + [0] * 10)
    rules = fit_rules(pairs, labels, num_labels=3, smoothing=10)
    even = class_prior(labels, num_labels=3)
    even = (even + swap_columns(even)) / 2
    assert rules.counts["empty_b"] == 20
    assert np.allclose(rules.probabilities["empty_b"], (np.array([19, 1, 0]) + 10 * even) / 30)
    assert np.array_equal(rules.probabilities["empty_a"], swap_columns(rules.probabilities["empty_b"]))
    for p in rules.probabilities.values():
        assert p.sum() == pytest.approx(1)
        assert (p > 0).all()


def test_rare_kinds_are_left_to_the_models_and_the_input_is_not_changed():
    pairs = [NORMAL] * 50 + [SAME] * 20 + [BOTH_EMPTY] * 2
    labels = np.array([0] * 25 + [1] * 25 + [2] * 18 + [0, -1] + [2, 2])
    rules = fit_rules(pairs, labels, num_labels=3)
    p = np.full((3, 3), 1 / 3)
    changed = rules.apply(p, [NORMAL, SAME, BOTH_EMPTY])
    assert np.array_equal(changed[[0, 2]], p[[0, 2]])
    assert changed[1, 2] > 0.5
    assert changed[1, 0] == pytest.approx(changed[1, 1])
    assert np.array_equal(p, np.full((3, 3), 1 / 3))


def test_two_classes():
    rules = fit_rules([EMPTY_A] * 6, np.array([1] * 6), num_labels=2)
    assert rules.apply(np.full((1, 2), 0.5), [EMPTY_A])[0, 1] > 0.5


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match="2 pairs and 1 labels"):
        fit_rules([NORMAL] * 2, np.array([0]), num_labels=3)
    with pytest.raises(ValueError, match="labels reach 2"):
        class_prior(np.array([2]), num_labels=2)
