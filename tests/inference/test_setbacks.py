"""Rows that are not finite are seen, counted and timed as such; a scorer that cannot go on is given up alone."""

from __future__ import annotations

import logging

import fake_scorers
import numpy as np
import pytest
from fake_scorers import NumpyScorer, expected_logits

from kaggle_utils.inference import engine, run_loop
from kaggle_utils.inference.report import LEFT_BY_DEADLINE
from kaggle_utils.inference.specs import ScorerSpec


def make_rows(count, *, wrong=(), longest=60):
    """Rows; those at ``wrong`` hold a 998, for which NumpyScorer gives nan."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, longest, size=count)]
    return [np.append(row, 998).astype(np.int32) if i in wrong else row for i, row in enumerate(rows)]


def judge(name="judge", *, safe=fake_scorers.safer, **kwargs):
    return ScorerSpec(name, NumpyScorer, {"nan_token": 998, **kwargs}, fingerprint=name, safe=safe)


def run(rows, *scorers, **options):
    options = {"devices": ["cpu"], "workers": "threads", "progress": False, "max_tokens": 150, **options}
    return engine.score_rows(rows, scorers, **options)


def test_the_first_rows_that_are_not_finite_are_logged_once(caplog):
    with caplog.at_level(logging.WARNING, logger="kaggle_utils"):
        result = run(make_rows(60, wrong=range(0, 60, 3)), judge())
    assert caplog.text.count("have logits that are not finite; such rows go alone through its safer path") == 1
    assert len(result.report.notes) == 1 and result.missing == []


class SpyBars:
    """What the bars were told: rows in all, then rows done and rows that wait for the safer path."""

    def __init__(self, labels, *, rows, enabled):
        type(self).rows, type(self).seen = rows, []

    def update(self, label, tally, *, seconds_left, safer_left=0):
        self.seen.append((tally.rows, safer_left))

    def note(self, label, text):
        pass

    def close(self, *, finished):
        type(self).finished = finished


def test_rows_count_as_done_after_their_safer_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(run_loop, "ProgressBars", SpyBars)
    run(make_rows(60, wrong=range(10)), judge(), store=tmp_path / "r.db")
    assert SpyBars.rows == 60 and SpyBars.finished
    assert max(left for _, left in SpyBars.seen) == 10
    assert all(done + left <= 60 for done, left in SpyBars.seen)
    assert SpyBars.seen[-1] == (60, 0)


def test_a_safer_pass_says_nothing_about_the_scorers_speed():
    rows = make_rows(40, wrong=range(3), longest=8)
    result = run(rows, judge(safe=fake_scorers.slow_safer))
    tally = result.report.devices["cpu"]
    assert (tally.rows, tally.safer_rows, tally.tokens) == (40, 3, sum(map(len, rows)))
    assert tally.safer_seconds > 0.3 > tally.seconds


def test_rows_that_wait_for_the_safer_path_at_the_deadline_are_left(tmp_path):
    rows = make_rows(30, wrong=range(20), longest=8)
    cut = run(rows, judge(safe=fake_scorers.slow_safer), deadline=2.0, store=tmp_path / "r.db")
    assert cut.missing
    assert {problem.reason for problem in cut.report.problems} == {LEFT_BY_DEADLINE}
    assert cut.report.left == {"judge": len(cut.missing)}
    again = run(rows, judge(), store=tmp_path / "r.db")
    assert np.array_equal(again.logits["judge"], expected_logits(rows))
    assert set(again.report.safer["judge"]) <= set(cut.missing), "what was done is done"


def test_damaged_weights_end_a_run_before_every_row_goes_alone(tmp_path):
    rows, log = make_rows(300, wrong=range(300)), tmp_path / "log"
    with pytest.raises(
        engine.EngineError, match=r"(?s)no finite logits for its first \d+ rows.*check the files"
    ) as caught:
        run(rows, judge(safe=fake_scorers.still_wrong, log=str(log)))
    assert caught.value.lost == ("judge",)
    started = [line.split() for line in log.read_text().splitlines() if line.startswith("start")]
    assert len(started) < 60, "most rows were scored for nothing"


def test_a_model_that_overflows_everywhere_but_can_be_mended_is_not_given_up():
    rows = make_rows(40, wrong=range(40))
    assert np.array_equal(run(rows, judge()).logits["judge"], expected_logits(rows))


def test_the_others_finish_when_a_scorer_is_given_up(tmp_path):
    rows = make_rows(200)
    bad = judge("bad", error_token=int(rows[0][0]))  # rows fail one by one; all of them, since they begin alike
    same_start = [np.concatenate([rows[0][:1], row]).astype(np.int32) for row in rows]
    with pytest.raises(engine.EngineError, match="'bad' failed 24 times in a row") as caught:
        run({"bad": same_start, "good": rows}, bad, judge("good"), devices=["cpu", "cpu"])
    assert caught.value.lost == ("bad",)
    assert np.array_equal(caught.value.result.logits["good"], expected_logits(rows))
    assert np.isnan(caught.value.result.logits["bad"]).all()
