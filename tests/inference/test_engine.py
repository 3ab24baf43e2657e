"""The engine's promises on ordinary days: order, duplicates, packs, several models, resuming, deadlines."""

from __future__ import annotations

import time
from collections import Counter

import fake_scorers
import numpy as np
import pytest
from fake_scorers import LaunchingScorer, NumpyScorer, expected_logits

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.inference import engine
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.dispatch import PackQueue, cut_packs
from kaggle_utils.inference.placement import Placement
from kaggle_utils.inference.report import LEFT_BY_DEADLINE
from kaggle_utils.inference.specs import Job, ScorerSpec


def make_rows(count: int, *, seed: int = 0, longest: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, longest, size=count)]


def spec(name="judge", factory=NumpyScorer, **kwargs) -> ScorerSpec:
    own = {k: kwargs.pop(k) for k in ("safe", "fits_beside", "padded", "flops_per_token") if k in kwargs}
    return ScorerSpec(name, factory, kwargs, fingerprint=f"print of {name}", **own)


def run(rows, *specs, **options):
    options = {"devices": ["cpu", "cpu"], "workers": "threads", "progress": False, **options}
    return engine.score_rows(rows, specs, **options)


def logged(path, what: str) -> Counter:
    return Counter(line.split()[-1] for line in path.read_text().splitlines() if line.startswith(what))


@pytest.mark.parametrize("workers", ["threads", "processes"])
@pytest.mark.parametrize("padded", [False, True])
def test_order_is_kept_and_duplicates_are_computed_once(tmp_path, workers, padded):
    rows = make_rows(150)
    rows = rows + rows[::3] + [rows[0]] * 5
    log = tmp_path / "log"
    result = run(TokenRows.of(rows), spec(log=str(log), padded=padded), workers=workers, max_tokens=300)
    assert result.logits["judge"].dtype == np.float32
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert result.missing == []
    assert max(logged(log, "done").values()) == 1
    assert (result.report.computed, result.report.duplicates) == (150, 55)
    assert sum(t.rows for t in result.report.devices.values()) == 150


def test_no_rows_and_longer_rows_than_a_pack():
    assert run([], spec()).logits["judge"].shape == (0, 3)
    rows = [np.arange(1, 500), *make_rows(20), np.arange(1, 700)]
    result = run(rows, spec(max_tokens=100))
    assert np.array_equal(result.logits["judge"], expected_logits(rows))


def test_packs_stay_within_both_budgets(tmp_path):
    rows = make_rows(200)
    for name, engine_budget, own_budget in (("a", 200, 1000), ("b", 1000, 150)):
        log = tmp_path / name
        run(rows, spec(log=str(log), max_tokens=own_budget), max_tokens=engine_budget, devices=["cpu"])
        lines = [line.split() for line in log.read_text().splitlines() if line.startswith("start")]
        assert len(lines) == 200
        by_digest = {fake_scorers.row_digest(row).hex(): len(row) for row in rows}
        position = 0
        while position < len(lines):
            pack = lines[position : position + int(lines[position][3])]
            assert sum(by_digest[line[4]] for line in pack) <= min(engine_budget, own_budget)
            position += len(pack)


@pytest.mark.parametrize("capacity", [None, 5000])
def test_without_a_budget_the_scorers_own_holds(tmp_path, capacity):
    rows, log = make_rows(600), tmp_path / "log"
    result = run(rows, spec(log=str(log), max_tokens=12_000, capacity=capacity), devices=["cpu"])
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    tokens = {fake_scorers.row_digest(row).hex(): len(row) for row in rows}
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith("done")]
    first = sum(tokens[line[4]] for line in lines[: int(lines[0][3])])
    assert first > 8192 if capacity is None else first <= capacity, "the engine had a limit of its own"


def test_the_longest_rows_come_first(tmp_path):
    rows, log = make_rows(200), tmp_path / "log"
    run(rows, spec(log=str(log)), max_tokens=200, devices=["cpu"])
    by_digest = {fake_scorers.row_digest(row).hex(): len(row) for row in rows}
    lines, longest = [line.split() for line in log.read_text().splitlines() if line.startswith("start")], []
    while lines:
        pack, lines = lines[: int(lines[0][3])], lines[int(lines[0][3]) :]
        longest.append(max(by_digest[line[4]] for line in pack))
    assert len(longest) > 20 and longest == sorted(longest, reverse=True)


def test_two_models_on_two_devices_with_rows_of_their_own(tmp_path):
    one, two = make_rows(60, seed=1), make_rows(60, seed=2)
    log = tmp_path / "log"
    result = run({"a": one, "b": TokenRows.of(two)}, spec("a", log=str(log)), spec("b", scale=2.0, log=str(log)),
                 devices=["left", "right"])  # fmt: skip
    assert np.array_equal(result.logits["a"], expected_logits(one))
    assert np.array_equal(result.logits["b"], expected_logits(two, scale=2.0))
    assert max(logged(log, "done").values()) == 1


def test_jobs_of_one_scorer_share_its_results(tmp_path):
    rows = make_rows(40)
    judge = spec(log=str(tmp_path / "log"))
    jobs = [Job("plain", judge, rows), Job("swapped", judge, [*rows[::-1], np.arange(1, 9)])]
    result = engine.score_jobs(jobs, devices=["cpu"], workers="threads", progress=False)
    assert np.array_equal(result.logits["plain"], expected_logits(rows))
    assert np.array_equal(result.logits["swapped"][:40], expected_logits(rows[::-1]))
    assert sum(logged(tmp_path / "log", "done").values()) == 41


@pytest.mark.parametrize("fits_beside", [False, True])
def test_a_device_that_is_done_helps_the_other(tmp_path, fits_beside):
    quick, slow = make_rows(4, seed=1), make_rows(120, seed=2)
    log = tmp_path / "log"
    result = run(
        {"quick": quick, "slow": slow},
        spec("quick", log=str(log), fits_beside=fits_beside),
        spec("slow", log=str(log), seconds_per_token=1e-4, fits_beside=fits_beside),
        devices=["left", "right"], max_tokens=100,
    )  # fmt: skip
    assert np.array_equal(result.logits["slow"], expected_logits(slow))
    helped = {line.split()[4] for line in log.read_text().splitlines() if line.startswith("done left")}
    assert len(helped) > 4 + 20, "the left device computed next to nothing of the right one's model"


def test_nobody_helps_where_loading_takes_longer_than_what_is_left(tmp_path):
    quick, slow = make_rows(4, seed=1), make_rows(30, seed=2)
    log = tmp_path / "log"
    quick_one = spec("quick", log=str(log), seconds_per_token=2e-3)
    slow_one = spec("slow", log=str(log), load_seconds=0.2, seconds_per_token=1e-4)
    run({"quick": quick, "slow": slow}, quick_one, slow_one, devices=["left", "right"], max_tokens=100)
    assert len([line for line in log.read_text().splitlines() if line.startswith("done left")]) == 4


def test_one_device_does_several_models_in_turn():
    rows = make_rows(30)
    result = run(rows, spec("a"), spec("b", scale=2.0), spec("c", scale=3.0), devices=["cpu"])
    for name, scale in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        assert np.array_equal(result.logits[name], expected_logits(rows, scale=scale))


def test_a_placement_is_followed(tmp_path):
    rows = make_rows(30)
    placement = Placement("model-per-device", ("left", "right"), (("b",), ("a",)), False, "said so")
    log = tmp_path / "log"
    judges = [spec(name, log=str(log), load_seconds=0.3, scale=scale) for name, scale in (("a", 1.0), ("b", 2.0))]
    result = run({"a": rows, "b": make_rows(30, seed=5)}, *judges, devices=["left", "right"], placement=placement)
    assert np.array_equal(result.logits["a"], expected_logits(rows))
    done = {tuple(line.split()[i] for i in (1, 4)) for line in log.read_text().splitlines() if line.startswith("done")}
    assert {device for device, digest in done if digest in {fake_scorers.row_digest(r).hex() for r in rows}} == {
        "right"
    }


@pytest.mark.parametrize(("device", "depth"), [("cpu", 2), ("cpu,cpu", 3)])
def test_the_next_pack_is_launched_before_the_last_is_collected(device, depth):
    """A pack for each device of a pipeline, and one behind them."""
    LaunchingScorer.most = 0
    rows = make_rows(100)
    result = run(rows, spec(factory=LaunchingScorer, seconds_per_token=1e-5), devices=[device], max_tokens=200)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert LaunchingScorer.most == depth
    assert LaunchingScorer.running == 0


def test_a_second_run_computes_only_what_is_missing(tmp_path):
    rows = make_rows(80)
    log, store = tmp_path / "log", tmp_path / "r.db"
    run(rows[:50], spec(log=str(log)), store=store)
    log.unlink()
    result = run(rows, spec(log=str(log)), store=store)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert (result.report.from_store, result.report.computed) == (50, 30)
    assert sum(logged(log, "done").values()) == 30
    log.unlink()
    assert run(rows, spec(log=str(log)), store=store).report.from_store == 80
    assert not log.exists(), "a finished run built a scorer"


def test_another_fingerprint_is_another_run(tmp_path):
    rows = make_rows(20)
    run(rows, spec(), store=tmp_path / "r.db")
    other = ScorerSpec("judge", NumpyScorer, {"scale": 2.0}, fingerprint="another model")
    result = run(rows, other, store=tmp_path / "r.db")
    assert np.array_equal(result.logits["judge"], expected_logits(rows, scale=2.0))


def test_continued_runs_use_the_packs_of_the_whole_run():
    lengths = np.array([len(row) for row in make_rows(300)])
    for padded in (False, True):
        packs = cut_packs(lengths, range(300), max_tokens=256, padded=padded)
        assert sorted(row for pack in packs for row in pack) == list(range(300))
        stored = {row for pack in packs[::2] for row in pack}
        queue = PackQueue("judge", lengths)
        queue.fill([row for row in range(300) if row not in stored], max_tokens=256, padded=padded)
        assert [task.rows for task in queue.drain()] == packs[1::2]
        assert queue.tokens == 0
        # Rows that an earlier, smaller input had stored are left out; the others stay in the packs of the whole.
        queue.fill(range(0, 300, 3), max_tokens=256, padded=padded)
        wanted = [tuple(row for row in pack if row % 3 == 0) for pack in packs]
        assert [task.rows for task in queue.drain()] == [pack for pack in wanted if pack]


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_deadline_stops_cleanly_and_a_later_call_finishes(tmp_path, workers):
    rows = make_rows(200)
    options = {"max_tokens": 64, "store": tmp_path / "r.db", "workers": workers}
    slow = spec(seconds_per_token=1e-2)  # a minute in all
    seconds = 3.0 if workers == "threads" else 6.0
    started = time.monotonic()
    first = run(rows, slow, deadline=Deadline.after(seconds), **options)
    assert time.monotonic() - started < seconds + 3
    done = np.isfinite(first.logits["judge"]).all(axis=1)
    assert 0 < done.sum() < 200, "this deadline should have left something, and not all"
    assert first.missing == np.flatnonzero(~done).tolist()
    assert {p.reason for p in first.report.problems} == {LEFT_BY_DEADLINE}
    assert first.report.left == {"judge": int((~done).sum())}
    assert "left at the deadline" in first.report.to_text()
    second = run(rows, spec(), **options)
    assert (second.report.from_store, second.missing) == (int(done.sum()), [])
    assert np.array_equal(second.logits["judge"], expected_logits(rows))


def test_a_pack_that_would_not_finish_is_not_begun(tmp_path):
    log = tmp_path / "log"
    started = time.monotonic()
    slow = spec(log=str(log), seconds_per_token=5e-3)  # a second a pack
    run(make_rows(60), slow, devices=["cpu"], deadline=2.5, max_tokens=200)
    assert time.monotonic() - started < 2.8, "the third pack would end after three seconds"
    assert logged(log, "start") == logged(log, "done")


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_deadline_does_not_wait_for_what_hangs(workers):
    started = time.monotonic()
    result = run(make_rows(5), spec(load_seconds=60), deadline=1.0, workers=workers)
    assert time.monotonic() - started < 5
    assert result.missing == [0, 1, 2, 3, 4]
    started = time.monotonic()
    result = run(
        make_rows(5), spec(seconds_per_token=10), deadline=1.0 if workers == "threads" else 3.0, workers=workers
    )
    assert time.monotonic() - started < 8
    assert result.missing == [0, 1, 2, 3, 4]


def test_a_deadline_in_the_past_computes_nothing():
    result = run(make_rows(5), spec(), deadline=0)
    assert result.report.left == {"judge": 5}


def test_time_grows_in_line_with_rows():
    """Twenty thousand rows take about four times as long as five thousand, not sixteen times."""
    seconds = {}
    for count in (5_000, 20_000):
        rows = make_rows(count, longest=12)
        best = float("inf")
        for _ in range(2):
            started = time.process_time()
            assert run(rows, spec(factory=fake_scorers.LengthScorer), max_tokens=128).missing == []
            best = min(best, time.process_time() - started)
        seconds[count] = best
    assert seconds[20_000] < 8 * seconds[5_000], seconds
    assert seconds[20_000] < 20, seconds


def test_progress_counts_all_rows(capsys):
    rows = make_rows(50)
    run(rows, spec(flops_per_token=1e9), progress=True, peak_flops=1e15)
    shown = capsys.readouterr().err
    assert "cpu#0" in shown
    assert "cpu#1" in shown
    assert "tok/s" in shown
    assert "MFU" in shown
    assert "loading judge" in shown
    full = [line for line in shown.replace("\n", "\r").split("\r") if "100%" in line]
    assert (
        sum(int(line.split("|")[2].split("/")[0]) for line in {line.split()[0]: line for line in full}.values()) == 50
    )
    run(rows, spec(), progress=False)
    assert capsys.readouterr().err == ""


def test_everything_wrong_with_a_call_is_said_at_once():
    rows = make_rows(3)
    with pytest.raises(
        ValueError, match=r"(?s)rows \[1\] have no tokens.*two jobs are called 'x'|two jobs.*rows \[1\]"
    ):
        engine.score_jobs([Job("x", spec(), [rows[0], rows[1][:0]]), Job("x", spec(), rows)], devices=["cpu"])
    nameless = ScorerSpec("judge", NumpyScorer)
    with pytest.raises(ValueError, match=r"(?s)devices is \[\].*workers is 'fork'.*max_tokens is 0.*no fingerprint"):
        engine.score_rows(rows, [nameless], devices=[], max_tokens=0, workers="fork", store="unused.db")
    with pytest.raises(ValueError, match="no rows for \\['b'\\]"):
        run({"a": rows}, spec("a"), spec("b"))
    with pytest.raises(ValueError, match=r"(?s)lambda.*workers='threads'"):
        run(rows, ScorerSpec("judge", lambda device: None), workers="processes")
    with pytest.raises(ValueError, match="factory is None"):
        ScorerSpec("judge", None)
