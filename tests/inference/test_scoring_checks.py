"""Whatever would fail after hours of scoring is said before a model is built, all of it at once."""

from __future__ import annotations

import numpy as np
import pytest
from fake_pairs import ByteTokenizer, make_table
from fake_scorers import CountedJudge, LengthJudge

from kaggle_utils.inference.answer_rules import fit_rules
from kaggle_utils.inference.scoring import Judge, score_pairs
from kaggle_utils.inference.specs import ScorerSpec

NAN = float("nan")


def refused(tmp_path, words, *, labels=3, judge=None, tokenizer=None, **options):
    log = tmp_path / "log"
    spec = ScorerSpec("judge", CountedJudge, {"log": str(log), "classes": labels}, num_labels=labels)
    made = Judge(spec, tokenizer or ByteTokenizer(), **(judge or {}))
    with pytest.raises(ValueError, match=words) as caught:
        score_pairs(make_table(4), [made], devices=["cpu"], workers="threads", progress=False, **options)
    assert str(caught.value).startswith("nothing was scored:")
    assert not log.exists(), "a model was built first"


@pytest.mark.parametrize("weight", [0.0, -1.0, NAN, float("inf"), "2"])
def test_weights(tmp_path, weight):
    refused(tmp_path, r"weights are \[.*\]; expected numbers of at least 0, not all 0", judge={"weight": weight})


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN, float("inf")])
def test_temperatures(tmp_path, temperature):
    refused(tmp_path, r"temperatures are \[.*\]; expected finite", judge={"temperature": temperature})


@pytest.mark.parametrize("share", [2, -0.1, NAN, None])
def test_shares(tmp_path, share):
    refused(tmp_path, "swap_share is .*, expected a number from 0 to 1", swap="uncertain", swap_share=share)


@pytest.mark.parametrize("prior", [[NAN] * 3, [0.5, 0.6, -0.1], [1, 1, 1]])
def test_priors(tmp_path, prior):
    refused(tmp_path, r"prior is \[.*\]; expected 3 numbers of at least 0 whose sum is 1", prior=prior)


def test_rules_of_another_number_of_labels(tmp_path):
    rules = fit_rules(make_table(4).pairs, np.array([0, 1, 0, 1]), num_labels=2)
    refused(tmp_path, r"rules are for \[2\] labels, judges have 3; fit_rules", rules=rules)


@pytest.mark.parametrize("options", [{"swap": "all"}, {"swap": "uncertain"}, {"judge": {"swapped": True}}])
def test_orders_of_four_labels(tmp_path, options):
    refused(tmp_path, r"exchanges the columns of A and B, and judges have \[4\] labels", labels=4, **options)


def test_all_of_it_at_once(tmp_path):
    words = (
        r"(?s)no encode\(\).*weights are.*temperatures are.*swap is 'some'.*swap_share is 3.*on_lost_judge is 'stop'"
    )
    options = {"swap": "some", "swap_share": 3, "on_lost_judge": "stop", "tokenizer": object()}
    refused(tmp_path, words, judge={"weight": 0, "temperature": 0}, **options)


def test_four_labels_in_one_order_are_fine():
    spec = ScorerSpec("judge", LengthJudge, {"classes": 4}, num_labels=4)
    scores = score_pairs(
        make_table(4), [Judge(spec, ByteTokenizer())], devices=["cpu"], workers="threads", progress=False
    )
    assert scores.missing == []
