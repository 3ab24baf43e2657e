"""Passes over pairs: what is tokenised when, what a second run with the same store does, and judges that are lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fake_pairs import ByteTokenizer, make_table
from fake_scorers import BrokenJudge, LengthJudge

from kaggle_utils.inference.scoring import Judge, LostJudgeError, score_pairs
from kaggle_utils.inference.specs import ScorerSpec


def judge(name="judge", factory=LengthJudge, *, weight=1.0, tokenizer=None, **kwargs):
    spec = ScorerSpec(name, factory, {"bias": 20.0, **kwargs}, fingerprint=name)
    return Judge(spec, tokenizer or ByteTokenizer(), weight=weight)


def score(table, *judges, **options):
    options = {"devices": ["cpu", "cpu"], "workers": "threads", "progress": False, "max_tokens": 100, **options}
    return score_pairs(table, judges, **options)


# Resuming


@pytest.mark.parametrize("count", [1, 2])
def test_what_an_earlier_run_exchanged_is_exchanged_again_for_nothing(tmp_path, count):
    table, store = make_table(60), tmp_path / "r.db"
    first = score(table, *[judge(f"j{i}") for i in range(count)], swap="time", deadline=60, store=store)
    assert len(first.swapped_rows) == 60
    again = score(table, *[judge(f"j{i}") for i in range(count)], swap="time", deadline=60, store=store)
    assert np.array_equal(again.probabilities, first.probabilities)
    assert np.array_equal(again.swapped_rows, first.swapped_rows)
    assert sum(report.computed for report in again.reports) == 0


def test_a_run_that_comes_too_late_for_more_keeps_what_there_is(tmp_path):
    table, store = make_table(60), tmp_path / "r.db"
    score(table, judge(), store=store)
    first = score(table, judge(), swap="uncertain", swap_share=0.3, store=store)
    assert len(first.swapped_rows) == 18
    again = score(table, judge(), swap="time", deadline=0.0, store=store)
    assert np.array_equal(again.swapped_rows, first.swapped_rows)
    assert np.array_equal(again.probabilities, first.probabilities)


def test_time_is_used_though_the_first_order_came_from_the_store(tmp_path):
    table, store = make_table(60), tmp_path / "r.db"
    plain = score(table, judge(), store=store)
    more = score(table, judge(), swap="time", deadline=60, store=store)
    assert plain.swapped_rows.size == 0 and len(more.swapped_rows) == 60
    assert more.reports[0].computed == 0 and 0 < more.reports[1].computed < 60, "a few rows tell the speed"
    full = score(table, judge(), swap="all")
    assert np.allclose(more.probabilities, full.probabilities)


# Tokenising


class WaitingJudge(LengthJudge):
    """Scores once the other order is being tokenised; ``late`` where that did not begin meanwhile."""

    begun = threading.Event()
    late = False

    def score(self, rows):
        type(self).late |= not self.begun.wait(5)
        return super().score(rows)


class TellingTokenizer(ByteTokenizer):
    """Says when it is asked for the other order."""

    def encode(self, pairs, *, swapped=False):
        if swapped:
            WaitingJudge.begun.set()
        return super().encode(pairs, swapped=swapped)


@pytest.mark.parametrize("swap", [{"swap": "uncertain"}, {"swap": "time", "deadline": 60.0}], ids=["uncertain", "time"])
def test_the_other_order_is_tokenised_while_the_first_is_scored(swap, monkeypatch):
    monkeypatch.setattr(WaitingJudge, "begun", threading.Event())
    monkeypatch.setattr(WaitingJudge, "late", False)
    table = make_table(20)
    scores = score(table, judge(factory=WaitingJudge, tokenizer=TellingTokenizer()), **swap)
    assert len(scores.swapped_rows) and not WaitingJudge.late


# Judges that are lost


@pytest.mark.parametrize("when", ["built", "scoring"])
@pytest.mark.parametrize("swap", ["none", "all", "uncertain"])
def test_the_others_stand_in_for_a_lost_judge_and_say_so(when, swap, caplog):
    table = make_table(60)
    bad = judge("bad", BrokenJudge, weight=3.0, when=when)
    scores = score(table, judge("good"), bad, swap=swap, on_lost_judge="continue")
    alone = score(table, judge("good"), swap=swap)
    assert scores.lost == ("bad",) and scores.missing == []
    assert np.allclose(scores.probabilities, alone.probabilities)
    assert np.isnan(scores.by_judge["bad"]).all()
    assert "LOST: bad; good stand in alone" in scores.reports[0].to_text()
    assert "LOST: bad" in caplog.text


@pytest.mark.parametrize(("when", "words"), [("built", "the adapter fits no layer"), ("scoring", "24 times in a row")])
def test_an_error_holds_what_the_others_say(when, words):
    table = make_table(60)
    with pytest.raises(LostJudgeError, match=rf"(?s){words}.*\.scores; on_lost_judge='continue'") as caught:
        score(table, judge("good"), judge("bad", BrokenJudge, when=when))
    assert caught.value.lost == caught.value.scores.lost == ("bad",)
    assert caught.value.scores.missing == []
    assert np.allclose(caught.value.scores.probabilities, score(table, judge("good")).probabilities)


@pytest.mark.parametrize("others", [[], [{"name": "useless", "weight": 0.0}]], ids=["none", "weight 0"])
def test_where_nobody_stands_in_it_is_an_error(others):
    with pytest.raises(LostJudgeError, match="no worker is left for bad"):
        judges = [judge("bad", BrokenJudge), *(judge(**other) for other in others)]
        score(make_table(8), *judges, on_lost_judge="continue")
