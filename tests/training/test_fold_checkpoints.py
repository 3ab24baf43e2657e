"""Checkpoints: none that a kill cut short is used, disk is bounded, and the need is known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaggle_utils.training.fold_checkpoints import check_disk, disk_needed, newest_checkpoint, prune_checkpoints


def checkpoint(folder: Path, step: int, *, best: str | None = None, stop: bool = False, without: str = "") -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    state = {
        "global_step": step, "max_steps": 100, "best_model_checkpoint": best, "log_history": [],
        "stateful_callbacks": {"TrainerControl": {"args": {"should_training_stop": stop}, "attributes": {}}},
    }  # fmt: skip
    contents = {"model.safetensors": "w", "optimizer.pt": "o", "trainer_state.json": json.dumps(state)}
    for name, text in contents.items():
        if name != without:
            (path / name).write_text(text)
    return path


def test_the_newest_whole_one_is_found_by_number(tmp_path):
    for step in (8, 16, 100):
        checkpoint(tmp_path, step)
    found = newest_checkpoint(tmp_path)
    assert (found.step, found.finished, found.best) == (100, True, None)
    assert newest_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize("without", ["trainer_state.json", "model.safetensors"])
def test_one_that_was_cut_short_is_deleted(tmp_path, without):
    checkpoint(tmp_path, 8)
    torn = checkpoint(tmp_path, 16, without=without)
    assert newest_checkpoint(tmp_path).step == 8 and not torn.exists()


def test_half_a_state_counts_as_cut_short(tmp_path):
    checkpoint(tmp_path, 8)
    state = checkpoint(tmp_path, 16) / "trainer_state.json"
    state.write_text(state.read_text()[:40])
    assert newest_checkpoint(tmp_path).step == 8


def test_early_stopping_is_the_end_even_if_the_kill_came_before_anything_else(tmp_path):
    checkpoint(tmp_path, 16, stop=True)
    assert newest_checkpoint(tmp_path).finished


def test_the_best_is_found_where_the_folder_was_moved_to(tmp_path):
    best = checkpoint(tmp_path, 8)
    newest = checkpoint(tmp_path, 16, best="/elsewhere/run/fold-0/checkpoint-8")
    assert newest_checkpoint(tmp_path).best == best
    assert json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"] == str(best)


def test_pruning_leaves_the_newest_and_the_weights_of_the_best(tmp_path):
    for step in (4, 8, 12, 16):
        checkpoint(tmp_path, step)
    prune_checkpoints(tmp_path, newest=16, best=str(tmp_path / "checkpoint-8"))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "checkpoint-8/model.safetensors", "checkpoint-8/trainer_state.json",
        "checkpoint-16/model.safetensors", "checkpoint-16/trainer_state.json", "checkpoint-16/optimizer.pt",
    }  # fmt: skip
    found = newest_checkpoint(tmp_path)
    assert found.step == 16 and (tmp_path / "checkpoint-8").is_dir()


def test_what_is_needed_grows_with_folds_and_shrinks_with_settings():
    options = {"folds": 5, "parallel": 1, "checkpoints": True, "best": True, "keep_weights": True}
    need = lambda **changes: disk_needed(10**9, 10**9, **{**options, **changes}) / 4e9  # noqa: E731
    assert need() == pytest.approx(7 + 4, abs=0.1)
    assert need(parallel=2) == pytest.approx(14 + 3, abs=0.1)
    assert need(keep_weights=False) == pytest.approx(7, abs=0.1)
    assert need(best=False) == pytest.approx(6 + 4, abs=0.1)
    assert need(checkpoints=False) == pytest.approx(1 + 4, abs=0.1)
    assert need(folds=1, parallel=4) == pytest.approx(7, abs=0.1)


def test_what_unfinished_folds_have_counts_as_room(tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for fold in ("fold-0", "fold-1"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "model").write_bytes(b"0" * 5000)
    check_disk(tmp_path, 5999, unfinished=[tmp_path / "fold-1", tmp_path / "fold-2"])
    with pytest.raises(OSError, match=r"folds=\(0,\)"):
        check_disk(tmp_path, 6001, unfinished=[tmp_path / "fold-1", tmp_path / "fold-2"])
