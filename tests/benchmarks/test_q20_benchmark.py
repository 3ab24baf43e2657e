"""The 20 Questions benchmark prints the figures that it promises, by their names, and a partial run saves nothing."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys

import pytest


@pytest.fixture
def benchmark(root, monkeypatch):
    """``benchmark(name)`` -> a module of the folder."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module


def test_the_keywords_have_win_rate_bound_and_ratio_for_every_noise_and_protocol(root):
    saved = [root / "benchmarks" / "RESULTS.md", root / "benchmarks" / "results" / "q20.json"]
    before = [path.read_bytes() if path.exists() else None for path in saved]
    command = [sys.executable, "benchmarks/q20.py", "--only", "keywords", "--games", "20"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    for protocol in ("final", "kaggle"):
        for percent in (0, 5, 10, 20):
            won = figures[f"win_{protocol}_keywords_{percent}"]
            bound = figures[f"bound_{protocol}_keywords_{percent}"]
            assert 0.0 <= won <= 1.0 and 0.0 < bound <= 1.0
            assert figures[f"ratio_{protocol}_{percent}"] == pytest.approx(won / bound, abs=1e-3)
        assert figures[f"ratio_{protocol}_0"] > 0.9
        assert figures[f"bound_{protocol}_keywords_20"] < figures[f"bound_{protocol}_keywords_5"]
    assert [path.read_bytes() if path.exists() else None for path in saved] == before


def test_judged_cells_are_counted_and_none_is_left_out_in_silence(benchmark):
    figures, lines = benchmark("_q20_health").judged()
    assert figures["judged_cells"] + figures["judged_gone"] == 200
    assert 0.0 <= figures["judged_error"] <= 0.2
    assert sum("cells wrong" in line for line in lines) == 2


def test_the_learned_policies_say_what_was_kept(benchmark, monkeypatch):
    pytest.importorskip("torch")
    policy = benchmark("_q20_policy")
    cells = {"letter_blind": policy.CELLS["letter_blind"]}
    monkeypatch.setattr(policy, "CELLS", cells)
    monkeypatch.setattr(policy, "_UNEVEN", tuple(cells))
    small = functools.partial(policy.ResidualSettings, batch=125, validation=100, curve_every=10)
    monkeypatch.setattr(policy, "ResidualSettings", small)
    figures, lines = policy.residual(50, 250, free_guess=True)
    assert sum(figures[f"residual_kept_kaggle_{kept}"] for kept in ("untrained", "channel", "residual")) == 1
    assert figures["residual_worst_gap_kaggle"] == figures["residual_gap_kaggle_letter_blind"]
    assert "kept: " in lines[0] and lines[-1].startswith("kaggle_kept: ")
