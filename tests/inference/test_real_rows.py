"""The whole way on real rows, from the CSV to submission.csv, killed again and again: equal to the byte."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import submission_run
from tiny_classifiers import write_tiny_classifier
from tiny_models import write_tiny_tokenizer

from kaggle_utils.data.pairs import read_pairs
from kaggle_utils.inference.pool import WorkerPool

ROWS = 3268


def stored(store: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute("SELECT COUNT(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        return 0


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start(folder: Path, csv: Path, model: Path, *, commits: int = 0) -> subprocess.Popen:
    tests = Path(submission_run.__file__).parent
    command = [sys.executable, tests / "submission_run.py", csv, model, folder / "killed.csv", commits]
    return subprocess.Popen(list(map(str, command)), env={**os.environ, "PYTHONPATH": str(tests.parent)})


def kill_when(process: subprocess.Popen, ready) -> None:
    end = time.monotonic() + 300
    while not ready() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    late = time.monotonic() >= end
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert not late, "five minutes were not enough to get there"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_submission_from_real_rows_survives_three_kills(tmp_path, shared_data):
    csv = shared_data / "pairwise" / "lmsys_like_human.csv"
    model = write_tiny_classifier(tmp_path / "model", "llama", num_hidden_layers=1, vocab_size=2000)
    texts = [turn for pair in read_pairs(csv).pairs[:50] for turn in (*pair.prompt, *pair.response_a)]
    write_tiny_tokenizer(model, vocab_size=2000, corpus=texts)
    store, chance = tmp_path / "killed.db", random.Random(os.getpid())
    at = []

    # While the workers load their models: a random moment after they exist.
    process, moments = start(tmp_path, csv, model), []

    def loading():
        if not moments and len(children(process.pid)) >= 2:
            moments.append(time.monotonic() + chance.uniform(0.0, 2.0))
        return bool(moments) and time.monotonic() > moments[0]

    kill_when(process, loading)
    at.append(stored(store))
    # In the middle of a write to the store.
    process = start(tmp_path, csv, model, commits=chance.randint(3, 15))
    assert process.wait(timeout=300) == -signal.SIGKILL
    at.append(stored(store))
    # At a random moment of scoring.
    process, goal = start(tmp_path, csv, model), at[-1] + chance.randint(1, ROWS // 4)
    kill_when(process, lambda: stored(store) >= goal)
    at.append(stored(store))
    assert at[0] <= at[1] < at[2] < 3000, f"stored after each kill: {at}"

    judge = submission_run.judge_of(model)
    with WorkerPool([judge.spec], devices=submission_run.DEVICES) as pool:
        report = submission_run.submit(csv, judge, tmp_path / "killed.csv", devices=pool)
        whole = submission_run.submit(csv, judge, tmp_path / "whole.csv", devices=pool)
    assert subprocess.run(["cmp", tmp_path / "killed.csv", tmp_path / "whole.csv"], check=False).returncode == 0
    assert (whole.from_store, whole.computed + whole.duplicates) == (0, ROWS)
    assert (report.from_store, report.computed) == (at[2], whole.computed - at[2]), "something was computed twice"
    written = np.loadtxt(tmp_path / "whole.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
    assert written.shape == (ROWS, 3) and np.ptp(written, axis=0).min() > 0.01, "rows that do not differ show nothing"
