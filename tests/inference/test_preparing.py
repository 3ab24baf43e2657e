"""Between being built and the first pack: the check of a few rows, and a choice that a whole run keeps to."""

from __future__ import annotations

import numpy as np
import pytest
from fake_scorers import ChoosingScorer, expected_logits

from kaggle_utils.inference import engine
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.preparing import rows_to_check
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.store import ResultStore


def make_rows(count: int, *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, 60, size=count)]


@pytest.fixture
def run(tmp_path):
    """Scores rows with a ChoosingScorer in threads; ``run.lines(what)`` reads its log."""
    log = tmp_path / "log"

    def run(rows, *, devices=("cpu",), workers="threads", store=None, self_check=True, deadline=None, **kwargs):
        ChoosingScorer.tuned = 0
        judge = ScorerSpec("judge", ChoosingScorer, {"log": str(log), **kwargs}, fingerprint="f")
        run.result = engine.score_rows(
            rows, [judge], devices=list(devices), workers=workers, store=store, max_tokens=200, progress=False,
            self_check=self_check, peak_flops=1e15, deadline=deadline,
        )  # fmt: skip
        return run.result.logits["judge"]

    run.lines = lambda what: [line.split() for line in log.read_text().splitlines() if line.startswith(what)]
    return run


def test_a_full_real_pack_decides_and_the_report_says_so(run):
    rows = make_rows(60)
    logits = run(rows)
    assert np.array_equal(logits, expected_logits(rows, scale=2.0))
    lengths = np.array([len(row) for row in rows])
    tuned = run.lines("tune")
    assert len(tuned) == int(tuned[0][3]), "tuned once, with one pack"
    by_digest = {line[4]: None for line in run.lines("done")}
    assert {line[4] for line in tuned} <= set(by_digest)
    assert f"cpu: judge: way 2, {lengths.sum()} tokens, inf s" in run.result.report.notes
    assert run.result.report.notes.count("cpu: judge: built") == 1


def test_the_choice_knows_the_deadline(run):
    run(make_rows(20), deadline=1000.3)
    assert run.result.report.notes[-1].endswith(("tokens, 1000 s", "tokens, 999 s", "tokens, 998 s"))


def test_rows_are_checked_before_anything_is_scored(run):
    rows = make_rows(60)
    run(rows)
    assert [line[0] for line in run.lines("")].index("check") == 0
    assert len(run.lines("check")) == 4
    assert rows_to_check(np.array([3000, 2000])) == [0, 1]
    assert rows_to_check(np.array([], dtype=np.int64)) == []


def test_a_scorer_that_fails_its_check_is_not_used(run):
    with pytest.raises(engine.EngineError, match="rows see each other"):
        run(make_rows(5), wrong=True)
    rows = make_rows(5)
    assert np.array_equal(run(rows, wrong=True, self_check=False), expected_logits(rows, scale=2.0))


def test_a_continued_run_computes_as_it_began(run, tmp_path):
    rows, store = make_rows(60), tmp_path / "r.db"
    run(rows[:30], ways=("3",), store=store)
    again = run(rows, ways=("2",), store=store)
    assert np.array_equal(again, expected_logits(rows, scale=3.0)), "two ways of computing in one run"
    assert [line[3] for line in run.lines("adopt")] == ["3", "3"]
    with ResultStore(store, "f") as results:
        assert results.choice("cpu") == "3"
    with ResultStore(store, "another run") as results:
        assert results.choice("cpu") is None


@pytest.mark.parametrize(("workers", "ways"), [("threads", ("2", "3", "4")), ("processes", ("pid",))])
def test_all_workers_of_a_kind_follow_the_first(run, workers, ways):
    rows = make_rows(200)
    logits = run(rows, devices=["cpu"] * 3, workers=workers, ways=ways, tune_seconds=0.5, seconds_per_token=1e-4)
    ratio = logits[:, 2] / expected_logits(rows)[:, 2]
    assert np.ptp(ratio) < 1e-5, "workers computed in different ways"
    if workers == "threads":  # a process may start when the others are done
        assert len({line[3] for line in run.lines("adopt")}) > 1, "this run had nothing to agree on"


def test_devices_of_another_kind_choose_for_themselves(run):
    run(make_rows(200), devices=["left", "right"], ways=("2", "3"), seconds_per_token=1e-4)
    assert {line[1] for line in run.lines("tune")} == {"left", "right"}


def test_a_process_that_dies_of_measuring_does_not_try_again(run):
    rows = make_rows(20)
    logits = run(rows, workers="processes", ways=("die",))
    assert np.array_equal(logits, expected_logits(rows))
    assert [line[3] for line in run.lines("adopt")] == ["none"]
    assert len({line[2] for line in run.lines("tune")}) == 1


def test_a_pool_stays_with_its_choice_unless_the_store_knows_better(tmp_path):
    log, rows = tmp_path / "log", make_rows(20)
    judge = ScorerSpec("judge", ChoosingScorer, {"log": str(log), "ways": ("2", "3")}, fingerprint="f")
    other = make_rows(20, seed=3)
    with ResultStore(tmp_path / "r.db", "f") as results:
        results.choose("cpu", "5")
    ChoosingScorer.tuned = 0
    with WorkerPool([judge], devices=["cpu"], workers="threads") as pool:
        scale = []
        for run_rows, store in ((rows, None), (other, None), (rows, tmp_path / "r.db"), (other, None)):
            result = engine.score_rows(run_rows, [judge], devices=pool, store=store, progress=False)
            scale.append(float(np.median(result.logits["judge"][:, 2] / expected_logits(run_rows)[:, 2])))
    assert scale == pytest.approx([2, 2, 5, 5])


def test_the_scorers_own_operations_give_the_mfu(run):
    run(make_rows(60), seconds_per_token=1e-5)
    tally = run.result.report.devices["cpu"]
    assert tally.mfu == pytest.approx(tally.tokens * 1e9 / tally.seconds / 1e15)
    assert "MFU" in run.result.report.to_text()
