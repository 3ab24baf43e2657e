"""The engine's promises on bad days: kills, memory, numbers that are not finite, rows that break things."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import fake_scorers
import numpy as np
import pytest
from fake_scorers import NumpyScorer, expected_logits

from kaggle_utils.inference import engine
from kaggle_utils.inference.fingerprint import row_digest
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.store import ResultStore

KINDS = ["threads", "processes"]


def make_rows(count: int, *, seed: int = 0, longest: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, longest, size=count)]


def with_tokens(rows: list[np.ndarray], places: dict[int, int]) -> list[np.ndarray]:
    """The rows, with a token appended to those at ``places``."""
    return [np.append(row, places[i]).astype(np.int32) if i in places else row for i, row in enumerate(rows)]


def run(
    rows, *, safe=None, devices=("cpu", "cpu"), workers="threads", store=None, max_tokens=300, restarts=1,
    hung_after=None, **kwargs
):  # fmt: skip
    judge = ScorerSpec("judge", NumpyScorer, kwargs, fingerprint="f", safe=safe)
    return engine.score_rows(
        rows,
        [judge],
        devices=list(devices),
        workers=workers,
        store=store,
        max_tokens=max_tokens,
        progress=False,
        restarts=restarts,
        hung_after=hung_after,
    )


def log_lines(path, what):
    return [line.split() for line in path.read_text().splitlines() if line.startswith(what)]


# ---------------------------------------------------------------------- kills

WHOLE_RUN = """
import sys
import numpy as np
from fake_scorers import NumpyScorer
from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.specs import ScorerSpec

def main(store, log, out):
    rng = np.random.default_rng(0)
    rows = [rng.integers(10, 500, size=n).astype(np.int32) for n in rng.integers(1, 60, size=400)]
    judge = ScorerSpec("judge", NumpyScorer, {"log": log, "seconds_per_token": 4e-4}, fingerprint="f")
    result = score_rows(rows, [judge], devices=["cpu", "cpu"], store=store, max_tokens=256, progress=False)
    assert not result.missing
    result.logits["judge"].tofile(out)

if __name__ == "__main__":
    main(*sys.argv[1:4])
"""


def start_whole_run(tmp_path, root, name):
    script = tmp_path / "whole_run.py"
    script.write_text(WHOLE_RUN)
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    names = [str(tmp_path / f"{name}.{end}") for end in ("db", "log", "bin")]
    return subprocess.Popen([sys.executable, str(script), *names], env=environment)


def stored(path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as connection:
            return connection.execute("SELECT COUNT(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        return 0


def kill_again_and_again(tmp_path, root, *, rows, times):
    """Kill a run each time it has got an eighth further; return results stored at each kill."""
    seen = [0]
    for _ in range(times):
        process = start_whole_run(tmp_path, root, "killed")
        end = time.monotonic() + 100
        while (
            stored(tmp_path / "killed.db") < seen[-1] + rows // 8 and process.poll() is None and time.monotonic() < end
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
        seen.append(stored(tmp_path / "killed.db"))
        assert seen[-2] < seen[-1] < rows
    return seen


def no_process_of(tmp_path) -> bool:
    """Whether nobody runs any more with this test's folder in its command line or log."""
    log = tmp_path / "killed.log"
    pids = {int(line[2]) for line in log_lines(log, "")} if log.exists() else set()
    return not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_killed_three_times_equals_an_uninterrupted_one_to_the_byte(tmp_path, root):
    whole = start_whole_run(tmp_path, root, "whole")
    kill_again_and_again(tmp_path, root, rows=400, times=3)
    assert whole.wait(timeout=120) == 0
    end = time.monotonic() + 20
    while not no_process_of(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert no_process_of(tmp_path), "workers outlived the killed run"
    last = start_whole_run(tmp_path, root, "killed")
    assert last.wait(timeout=120) == 0
    assert (tmp_path / "killed.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()
    done = Counter(line[4] for line in log_lines(tmp_path / "killed.log", "done"))
    assert len(done) == 400
    # A kill costs what was on two devices and not yet stored, nothing else.
    assert sum(done.values()) < 400 + 3 * 2 * 3 * 60
    assert sum(done.values()) < 700


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_killed_worker_costs_nothing_but_time(tmp_path, restarts):
    rows = make_rows(300)
    log = tmp_path / "log"
    victims = []

    def kill_one():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            lines = log_lines(log, "done") if log.exists() else []
            if len(lines) > 30:
                victims.append(int(lines[-1][2]))
                os.kill(victims[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = run(
        rows, workers="processes", log=str(log), seconds_per_token=2e-4, restarts=restarts, store=tmp_path / "r.db"
    )
    killer.join()
    assert result.missing == []
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert "killed by signal 9" in result.report.to_text()
    assert ("started again" in result.report.to_text()) == bool(restarts)
    assert sum(tally.rows for tally in result.report.devices.values()) == 300, "rows were lost or counted twice"
    assert stored(tmp_path / "r.db") == 300


def test_a_worker_that_hangs_is_ended_and_its_packs_are_scored(tmp_path, capfd):
    rows, hang = make_rows(60), tmp_path / "hang"
    hang.touch()
    spec = ScorerSpec("judge", NumpyScorer, {"hang_file": str(hang)}, fingerprint="f")

    def wait_long(pool):
        end = time.monotonic() + 60
        while hang.exists() and time.monotonic() < end:
            time.sleep(0.05)
        pool.workers[0]._heard -= 1000  # as if all that time had gone by

    with WorkerPool([spec], devices=["cpu"]) as pool:
        clock = threading.Thread(target=wait_long, args=(pool,))
        clock.start()
        result = engine.score_rows(rows, [spec], devices=pool, max_tokens=300, progress=False, hung_after=600)
        clock.join()
    assert result.missing == [] and np.array_equal(result.logits["judge"], expected_logits(rows))
    said = result.report.to_text()
    assert "was scoring a pack and said nothing for 600 s" in said and "started again" in said
    assert "fake_scorers.py" in capfd.readouterr().err, "its stack tells where it hung"


def test_a_worker_that_had_nothing_to_do_does_not_hang():
    spec = ScorerSpec("judge", NumpyScorer, {"seconds_per_token": 0.012}, fingerprint="f")
    with WorkerPool([spec], devices=["cpu"]) as pool:
        for tokens in (1, 110):  # longer than the engine waits before it looks
            rows = [np.arange(tokens, dtype=np.int32)]
            result = engine.score_rows(rows, [spec], devices=pool, progress=False, hung_after=30)
            assert result.missing == [] and result.report.notes == []
            pool.workers[0]._heard -= 1000  # as if that was long ago
    with pytest.raises(ValueError, match="hung_after is 0"):
        run(rows, hung_after=0)


def test_when_all_workers_die_what_was_done_is_kept(tmp_path):
    rows = with_tokens(make_rows(60), dict.fromkeys(range(60), 999))
    good = make_rows(20, seed=9, longest=200)
    with pytest.raises(
        engine.EngineError, match=r"(?s)no worker is left for judge.*killed by signal 9.*start again with it"
    ) as caught:
        # The longest rows come first, so some are done before every worker meets a deadly one.
        run([np.arange(10, 300), *good, *rows], workers="processes", kill_token=999, restarts=0, max_tokens=200,
            store=tmp_path / "r.db")  # fmt: skip
    assert np.isfinite(caught.value.result.logits["judge"][0]).all()
    assert stored(tmp_path / "r.db") == np.isfinite(caught.value.result.logits["judge"]).all(axis=1).sum()


def test_one_deadly_row_is_found_and_reported(tmp_path):
    rows = with_tokens(make_rows(40), {17: 999})
    result = run(rows, workers="processes", kill_token=999)
    assert result.missing == [17]
    assert "killed by signal 9" in result.report.problems[0].reason
    alive = [i for i in range(40) if i != 17]
    assert np.array_equal(result.logits["judge"][alive], expected_logits([rows[i] for i in alive]))
    assert np.isnan(result.logits["judge"][17]).all()


def test_a_store_that_cannot_be_written_costs_no_results(tmp_path, monkeypatch):
    def full(self, results):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ResultStore, "put_many", full)
    rows = make_rows(30)
    result = run(rows, store=tmp_path / "r.db")
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert result.report.to_text().count("could not be stored: OperationalError: database or disk is full") == 1


# ---------------------------------------------------------------------- memory


@pytest.mark.parametrize("workers", KINDS)
@pytest.mark.parametrize("padded", [False, True])
def test_out_of_memory_halves_the_pack_and_is_remembered(tmp_path, workers, padded):
    rows = make_rows(200)
    log = tmp_path / "log"
    result = run(rows, workers=workers, log=str(log), capacity=100, padded=padded, max_tokens=800)
    assert result.missing == []
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    refused = len(log_lines(log, "start")) - len(log_lines(log, "done"))
    assert refused > 0
    packs = Counter((line[1], line[2]) for line in log_lines(log, "start"))
    assert packs
    assert result.report.to_text().count("out of memory") <= 2 * 4, "the smaller budget was forgotten"


def test_two_packs_that_fit_only_one_at_a_time_are_not_halved():
    rows = make_rows(100)
    judge = ScorerSpec("judge", fake_scorers.CrowdedScorer, {"seconds_per_token": 1e-5})
    result = engine.score_rows(rows, [judge], devices=["cpu"], workers="threads", max_tokens=200, progress=False)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert fake_scorers.CrowdedScorer.refused > 0
    assert result.report.notes == []


def test_an_interrupt_ends_the_workers_and_keeps_what_is_stored(tmp_path, monkeypatch):
    rows = make_rows(200)
    log = tmp_path / "log"
    record = Ledger.record

    def interrupted(self, places, logits, **options):
        found = record(self, places, logits, **options)
        if self.computed > 100:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Ledger, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(rows, workers="processes", log=str(log), seconds_per_token=1e-4, store=tmp_path / "r.db")
    assert stored(tmp_path / "r.db") > 100
    assert not any(is_running(pid) for pid in {int(line[2]) for line in log_lines(log, "")})


def test_memory_is_a_matter_of_the_device(tmp_path):
    rows = make_rows(200)
    log = tmp_path / "log"
    result = run(rows, devices=["large", "small"], log=str(log), capacity=100, small=("small",), max_tokens=800,
                 seconds_per_token=1e-4)  # fmt: skip
    assert result.missing == []
    assert all("small" in note for note in result.report.notes)
    assert {line[1] for line in log_lines(log, "done")} == {"large", "small"}


def test_a_row_that_fits_one_device_goes_there(tmp_path):
    rows = [*make_rows(100), np.arange(10, 400)]
    result = run(rows, devices=["small", "large"], capacity=200, small=("small",), log=str(tmp_path / "log"))
    assert result.missing == []
    assert np.array_equal(result.logits["judge"], expected_logits(rows))


def test_a_row_that_fits_nowhere_is_reported_and_others_are_not_hurt():
    rows = [*make_rows(50), np.arange(10, 400), *make_rows(50, seed=3)]
    result = run(rows, capacity=150)
    assert result.missing == [50]
    assert result.report.problems[0].reason == "does not fit into the memory of any device"
    others = [i for i in range(101) if i != 50]
    assert np.array_equal(result.logits["judge"][others], expected_logits([rows[i] for i in others]))


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("workers", KINDS)
def test_rows_that_are_not_finite_go_alone_through_the_safer_scorer(tmp_path, workers):
    rows = with_tokens(make_rows(60), {3: 998, 40: 998})
    log = tmp_path / "log"
    result = run(rows, workers=workers, safe=fake_scorers.safer, nan_token=998, log=str(log))
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    assert result.report.safer == {"judge": [3, 40]}
    assert "2 rows of judge through the safer scorer" in result.report.to_text()
    safe = [line for line in log_lines(log, "done") if line[1].endswith("-safe")]
    assert {line[4] for line in safe} == {row_digest(rows[i]).hex() for i in (3, 40)}
    assert {line[3] for line in safe} == {"1"}


@pytest.mark.parametrize("safe", [None, fake_scorers.still_wrong])
def test_rows_that_stay_wrong_are_reported_by_row(tmp_path, safe):
    rows = with_tokens(make_rows(60), {3: 998, 40: 998})
    rows.append(rows[3])
    result = run(rows, safe=safe, nan_token=998, store=tmp_path / "r.db")
    assert result.missing == [3, 40, 60]
    assert {p.reason for p in result.report.problems} == {"its logits are not finite"}
    assert np.isnan(result.logits["judge"][[3, 40, 60]]).all()
    # A second run knows that they were computed; with a way to mend them it does that and nothing else.
    log = tmp_path / "log"
    again = run(rows, safe=fake_scorers.safer, nan_token=998, store=tmp_path / "r.db", log=str(log))
    assert np.array_equal(again.logits["judge"], expected_logits(rows))
    assert {line[4] for line in log_lines(log, "start")} == {row_digest(rows[i]).hex() for i in (3, 40)}


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("workers", KINDS)
def test_rows_that_raise_are_found_and_reported(workers):
    rows = with_tokens(make_rows(120), {5: 997, 77: 997})
    result = run(rows, workers=workers, error_token=997)
    assert result.missing == [5, 77]
    assert all("a token outside the vocabulary" in p.reason for p in result.report.problems)
    others = [i for i in range(120) if i not in (5, 77)]
    assert np.array_equal(result.logits["judge"][others], expected_logits([rows[i] for i in others]))


def test_a_scorer_that_always_raises_ends_the_run_soon(tmp_path):
    rows = with_tokens(make_rows(500), dict.fromkeys(range(500), 997))
    log = tmp_path / "log"
    with pytest.raises(engine.EngineError, match="in a row; the last time: ValueError: a token outside the vocabulary"):
        run(rows, error_token=997, log=str(log))


@pytest.mark.parametrize("workers", KINDS)
def test_a_device_whose_scorer_cannot_be_built_is_left_out(workers):
    rows = make_rows(40)
    result = run(rows, devices=["good", "bad"], workers=workers, fail_on=("bad",), seconds_per_token=1e-3)
    assert np.array_equal(result.logits["judge"], expected_logits(rows))
    if workers == "threads":  # a process may start after the other one is done
        assert "bad could not build judge: RuntimeError: no driver for bad" in result.report.to_text()


def test_no_device_that_can_build_is_an_error():
    with pytest.raises(engine.EngineError, match=r"(?s)no driver for bad.*3 rows are left; give a store"):
        run(make_rows(3), devices=["bad", "worse"], fail_on=("bad", "worse"))


def test_logits_of_a_wrong_shape_are_an_error():
    judge = ScorerSpec("judge", NumpyScorer, {}, num_labels=2)
    with pytest.raises(engine.EngineError, match=r"shape \(\d+, 3\) for a pack; expected \(\d+, 2\)"):
        engine.score_rows(make_rows(30), [judge], devices=["cpu"], workers="threads", progress=False)
