"""Workers that stay between runs: models are loaded once, the dead are replaced, runs do not disturb each other."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fake_pairs import ByteTokenizer, make_table
from fake_scorers import CountedJudge, NumpyScorer, expected_logits

from kaggle_utils.inference import engine
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.placement import Placement
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.scoring import Judge, score_pairs
from kaggle_utils.inference.specs import ScorerSpec

KINDS = ["threads", "processes"]


def make_rows(count: int, *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, 60, size=count)]


def counted(log, name="judge", **kwargs) -> Judge:
    kwargs = {"log": str(log), "bias": 20.0, **kwargs}
    return Judge(ScorerSpec(name, CountedJudge, kwargs, fingerprint=name), ByteTokenizer())


def numpy_judge(**kwargs) -> ScorerSpec:
    return ScorerSpec("judge", NumpyScorer, kwargs, fingerprint="f")


def builds(log) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines() if line.startswith("built")] if log.exists() else []


@pytest.mark.parametrize("workers", KINDS)
@pytest.mark.parametrize("swap", [{"swap": "uncertain"}, {"swap": "time", "deadline": 60.0}], ids=["uncertain", "time"])
def test_both_orders_are_scored_by_models_that_are_loaded_once(tmp_path, workers, swap):
    log, table = tmp_path / "log", make_table(60)
    scores = score_pairs(
        table, [counted(log, seconds=0.02)], devices=["left", "right"], workers=workers, progress=False,
        max_tokens=100, **swap,
    )  # fmt: skip
    assert len(scores.reports) == 2 and scores.reports[1].computed > 0, "there was no second pass"
    assert sorted(line[1] for line in builds(log)) == ["left", "right"], "a factory was called again"
    full = score_pairs(table, [counted(log)], devices=["cpu"], workers="threads", progress=False, swap="all")
    rows = scores.swapped_rows
    assert np.allclose(scores.probabilities[rows], full.probabilities[rows])


def test_two_judges_on_two_devices_are_loaded_once_each(tmp_path):
    log, table = tmp_path / "log", make_table(40)
    judges = [counted(log, name, seconds=0.01, load_seconds=0.3) for name in ("one", "two")]
    placement = Placement("model-per-device", ("left", "right"), (("one",), ("two",)), False, "a test")
    scores = score_pairs(
        table, judges, devices=placement.devices, placement=placement, workers="threads", progress=False,
        swap="uncertain", swap_share=0.5, max_tokens=100,
    )  # fmt: skip
    assert scores.missing == [] and len(scores.swapped_rows) == 20
    assert sorted(line[1] for line in builds(log)) == ["left", "right"]


def test_models_load_while_pairs_are_tokenised(tmp_path):
    class SlowTokenizer(ByteTokenizer):
        def encode(self, pairs, *, swapped=False):
            time.sleep(1.0)
            SlowTokenizer.done = time.monotonic()
            return super().encode(pairs, swapped=swapped)

    log, table = tmp_path / "log", make_table(10)
    judge = Judge(counted(log, load_seconds=0.2).spec, SlowTokenizer())
    options = {"devices": ["cpu"], "workers": "threads", "progress": False, "store": tmp_path / "r.db"}
    scores = score_pairs(table, [judge], **options)
    assert float(builds(log)[0][3]) < SlowTokenizer.done
    # A run that may be finished waits for the rows: this one builds nothing.
    again = score_pairs(table, [judge], **options)
    assert np.array_equal(again.probabilities, scores.probabilities)
    assert len(builds(log)) == 1


@pytest.mark.parametrize("workers", KINDS)
def test_one_pool_serves_several_runs(tmp_path, workers):
    judge, log = numpy_judge(log=str(tmp_path / "log")), tmp_path / "log"
    loaded = Counter()
    with WorkerPool([judge], devices=["cpu", "cpu"], workers=workers) as pool:
        for seed in range(3):
            rows = make_rows(40, seed=seed)
            result = engine.score_rows(
                rows, [judge], devices=pool, store=tmp_path / f"{seed}.db", progress=False, max_tokens=200
            )
            assert np.array_equal(result.logits["judge"], expected_logits(rows))
            assert result.report.computed == 40
            loaded.update(name for name, tally in result.report.devices.items() if tally.load_seconds)
    assert max(loaded.values()) == 1, "a worker loaded twice"  # one that was late may load in a later run
    pids = {int(line.split()[2]) for line in log.read_text().splitlines()} - {os.getpid()}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "workers outlived the pool"


def test_a_worker_that_died_between_runs_is_replaced():
    judge, rows = numpy_judge(), make_rows(30)
    with WorkerPool([judge], devices=["cpu"]) as pool:
        engine.score_rows(rows, [judge], devices=pool, progress=False)
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        result = engine.score_rows(rows, [judge], devices=pool, progress=False)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))


def test_a_pool_whose_workers_all_died_serves_the_next_run():
    judge, rows = numpy_judge(kill_token=999), make_rows(30)
    with WorkerPool([judge], devices=["cpu"]) as pool:
        with pytest.raises(engine.EngineError, match="killed by signal 9"):
            engine.score_rows([np.array([999]), *rows], [judge], devices=pool, progress=False, restarts=0)
        result = engine.score_rows(rows, [judge], devices=pool, progress=False)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))


def test_a_run_that_was_broken_off_does_not_disturb_the_next(monkeypatch):
    judge, rows, others = numpy_judge(seconds_per_token=2e-4), make_rows(60), make_rows(60, seed=5)
    record = Ledger.record

    def interrupted(self, places, logits, **options):
        record(self, places, logits, **options)
        raise KeyboardInterrupt

    with WorkerPool([judge], devices=["cpu", "cpu"], workers="threads") as pool:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Ledger, "record", interrupted)
            engine.score_rows(rows, [judge], devices=pool, progress=False, max_tokens=100)
        result = engine.score_rows(others, [judge], devices=pool, progress=False, max_tokens=100)
    assert np.array_equal(result.logits["judge"], expected_logits(others))
    assert result.report.computed == 60


def test_a_device_without_models_of_its_own_leaves_them_to_the_others(tmp_path):
    log, rows = tmp_path / "log", make_rows(30)
    placement = Placement("copies", ("small", "large"), ((), ("judge",)), False, "too small: small")
    judge = numpy_judge(log=str(log), load_seconds=0.2, seconds_per_token=1e-5)
    engine.score_rows(rows, [judge], devices=placement.devices, placement=placement, workers="threads", progress=False)
    assert {line.split()[1] for line in log.read_text().splitlines()} == {"large"}


def test_what_a_pool_cannot_do_is_said():
    judge, rows = numpy_judge(), make_rows(3)
    with pytest.raises(ValueError, match=r"(?s)no scorer.*devices is 'cpu'.*workers is 'fork'"):
        WorkerPool([], devices="cpu", workers="fork")
    placement = Placement("copies", ("a",), (("judge",),), False, "a test")
    pool = WorkerPool([judge], devices=["cpu"], workers="threads")
    with pytest.raises(ValueError, match=r"(?s)placement is the pool's own.*\['other'\] are not the pool's"):
        engine.score_rows(rows, [ScorerSpec("other", NumpyScorer)], devices=pool, placement=placement)
    with pytest.raises(ValueError, match=r"placement is for devices \['a'\], not for \['b'\]"):
        engine.score_rows(rows, [judge], devices=["b"], workers="threads", placement=placement)
