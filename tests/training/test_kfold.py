"""A k-fold run: the same predictions however it was interrupted or spread over devices, in the order of the rows."""

from __future__ import annotations

import csv
import json
import multiprocessing
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from kfold_case import (  # fmt: skip
    FOLDS,
    KILLED_FOLD,
    ROWS,
    TESTS,
    case_rows,
    case_settings,
    predict_or_die,
    run_and_die,
    run_case,
)

from kaggle_utils.training.fold_checkpoints import newest_checkpoint
from kaggle_utils.training.fold_workers import FoldError
from kaggle_utils.training.kfold import RunMismatchError
from kaggle_utils.training.kfold_result import read_kfold


@pytest.fixture
def model(kfold_model) -> Path:
    return kfold_model


@pytest.fixture
def whole(kfold_whole):
    return kfold_whole


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def copied(result, folder: Path) -> Path:
    return Path(shutil.copytree(result.folder, folder))


def test_a_run_killed_in_the_middle_of_fold_3_ends_with_the_same_bits(model, whole, tmp_path):
    run = tmp_path / "run"
    killed = multiprocessing.get_context("fork").Process(target=run_and_die, args=(model, run))
    killed.start()  # a fork has torch and transformers already
    killed.join(250)
    assert killed.exitcode == -signal.SIGKILL
    there = files(run)
    assert {f"fold-{KILLED_FOLD}/checkpoint-8/optimizer.pt", "fold-1/fold.json"} <= there
    assert not any(name.startswith((f"fold-{KILLED_FOLD}/model", f"fold-{KILLED_FOLD + 1}")) for name in there)
    torn = run / f"fold-{KILLED_FOLD}" / "checkpoint-12"  # and as if the kill had come while the next one was written
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    finished = {name: (run / name).stat().st_mtime_ns for name in there if name.startswith(("fold-0/", "fold-1/"))}

    result = run_case(model, run)

    assert result.logits.tobytes() == whole.logits.tobytes()
    assert result.test_logits.tobytes() == whole.test_logits.tobytes()
    assert {name: (run / name).stat().st_mtime_ns for name in finished} == finished  # never repeated
    assert "goes on from step 8" in (run / "run.log").read_text()
    curve = [[e.get("loss"), e.get("eval_log_loss"), e["step"]] for e in result.histories[KILLED_FOLD]]
    assert curve == [[e.get("loss"), e.get("eval_log_loss"), e["step"]] for e in whole.histories[KILLED_FOLD]]
    assert files(run) == files(whole.folder)


def test_two_devices_equal_one_and_a_worker_that_dies_costs_its_fold_only(model, whole, tmp_path, monkeypatch):
    """Workers are forked here, which saves two imports of torch; what spawn would send still goes through pickle."""
    kinds, forks = [], multiprocessing.get_context("fork")

    class Context:
        Pipe = staticmethod(forks.Pipe)

        @staticmethod
        def Process(*, target, args, name):
            line, *rest = args
            return forks.Process(target=target, args=(line, *pickle.loads(pickle.dumps(rest))), name=name)

    def context(kind):
        kinds.append(kind)
        return Context

    monkeypatch.setattr(multiprocessing, "get_context", context)
    settings = case_settings(folds=(0, 1, 2))
    with pytest.raises(FoldError, match=r"(?s)1 folds were not finished.*exit code -9") as caught:
        run_case(model, tmp_path, settings=settings, devices=["cpu", "cpu"], predict=predict_or_die)
    assert list(caught.value.failures) == [1]
    assert kinds == ["spawn", "spawn"]
    partly = read_kfold(tmp_path)
    assert list(partly.fold_metrics) == [0, 2]
    result = run_case(model, tmp_path, settings=settings, predict=predict_or_die)  # only what is left, here
    rows = np.isin(whole.assigned, [0, 1, 2])
    assert result.logits[rows].tobytes() == whole.logits[rows].tobytes()
    assert result.test_logits.tobytes() == whole.test_logits[:3].tobytes()
    assert (result.predicted == rows).all() and np.isnan(result.probabilities[~rows]).all()


def test_predictions_keep_the_order_of_the_rows(model, whole):
    """Against each row alone, in plain transformers: length grouping must not reach predictions."""
    import torch
    import transformers

    rows = case_rows(model)
    for fold in (0, 3):
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(whole.models[fold]).eval()
        with torch.no_grad():
            held_out = np.flatnonzero(rows["assigned"] == fold)
            alone = [loaded(torch.tensor(rows["rows"].ids[i][None].astype(int))).logits[0].numpy() for i in held_out]
            test = [loaded(torch.tensor(ids[None].astype(int))).logits[0].numpy() for ids in rows["test_rows"].ids]
        assert np.abs(np.stack(alone) - whole.logits[held_out]).max() < 1e-4
        assert np.abs(np.stack(test) - whole.test_logits[fold]).max() < 1e-4
        assert np.abs(np.roll(np.stack(alone), 1, axis=0) - whole.logits[held_out]).max() > 1e-2  # it would show


def test_it_learns_and_says_how_well(whole):
    prior = np.bincount(whole.labels) / ROWS
    assert whole.metrics["log_loss"] < -np.log(prior[whole.labels]).mean()
    assert set(whole.fold_metrics) == set(range(FOLDS)) and whole.predicted.all()
    kept = json.loads((whole.folder / "result.json").read_text())
    assert kept["all"]["log_loss"] == whole.metrics["log_loss"] and kept["all"]["rows"] == ROWS
    assert kept["settings"]["learning_rate"] == 2e-3 and kept["versions"]["transformers"]
    assert kept["identity"]["about"]["truncation"] == "middle"
    assert whole.test_probabilities.shape == (TESTS, 3) and np.allclose(whole.test_probabilities.sum(axis=1), 1)


def test_files_hold_the_same_by_id(whole):
    with (whole.folder / "out_of_fold.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == list(whole.ids)
    assert [int(row["fold"]) for row in table] == whole.assigned.tolist()
    found = np.array([[float(row[f"probability_{c}"]) for c in range(3)] for row in table])
    assert (found == whole.probabilities).all()
    again = read_kfold(whole.folder)
    assert again.logits.tobytes() == whole.logits.tobytes() and again.ids == whole.ids
    assert again.metrics == whole.metrics and again.to_text() == whole.to_text()


def test_what_is_left_are_ordinary_folders_without_optimizer_or_pickles(whole):
    import transformers

    assert len(whole.models) == FOLDS
    assert transformers.AutoTokenizer.from_pretrained(whole.models[0]).sep_token == "[SEP]"
    suffixes = {Path(name).suffix for name in files(whole.folder)}
    assert suffixes <= {".json", ".csv", ".npz", ".log", ".safetensors", ""}
    assert not any("checkpoint" in name or "optimizer" in name or ".tmp" in name for name in files(whole.folder))


def test_another_run_in_the_same_folder_is_refused_and_named(model, whole):
    before = {name: (whole.folder / name).read_bytes() for name in files(whole.folder)}
    labels = case_rows(model)["labels"]
    labels[7] = (labels[7] + 1) % 3
    with pytest.raises(RunMismatchError) as caught:
        run_case(model, whole.folder, settings=case_settings(learning_rate=1e-3), labels=labels)
    assert [text.partition(":")[0] for text in caught.value.differences] == ["labels", "settings.learning_rate"]
    assert "was 0.002, is 0.001" in str(caught.value)
    with pytest.raises(RunMismatchError, match="rows: was"):
        run_case(model, whole.folder, rows=case_rows(model)["swapped_rows"])
    assert {name: (whole.folder / name).read_bytes() for name in files(whole.folder)} == before


def test_a_finished_run_is_read_and_not_repeated(model, whole, tmp_path):
    run = copied(whole, tmp_path / "moved")
    result = run_case(model, run, settings=case_settings(keep_weights=True), predict=None)
    assert result.logits.tobytes() == whole.logits.tobytes() and len(result.models) == FOLDS
    log = (run / "run.log").read_text()
    assert "0 of 5 folds to run" in log and log.count("rows to train on") == FOLDS


def test_a_fold_killed_after_training_predicts_only_and_weights_go_when_not_kept(model, whole, tmp_path):
    run = copied(whole, tmp_path / "run")
    (run / "fold-4" / "fold.json").unlink()
    (run / "fold-4" / "predictions.npz").unlink()
    result = run_case(model, run, settings=case_settings(keep_weights=False))
    assert result.logits.tobytes() == whole.logits.tobytes()
    assert (run / "run.log").read_text().count("fold 4: 48 rows to train on") == 1  # the first time
    assert not (run / "fold-4" / "model").exists()


def test_early_stopping_counts_on_after_an_interruption(model, tmp_path, monkeypatch):
    """Nothing is ever better by 10, so the second evaluation after the first one ends it: in step 12 of 24.

    At this learning rate nothing is learned: the first evaluation is the best, and the last checkpoint stays in place.
    """
    settings = case_settings(
        num_train_epochs=4, folds=(0,), early_stopping_patience=2, early_stopping_threshold=10.0, learning_rate=1e-20
    )
    left = [21]  # forward passes: into step 11, past the checkpoint of step 8

    def interrupt(module, given):
        if module.training and left:
            left[0] -= 1
            if left[0] == 0:
                left.clear()
                raise InterruptedError("as by a user")

    def prepare(loaded):
        loaded.register_forward_pre_hook(interrupt)
        return loaded

    with pytest.raises(InterruptedError):
        run_case(model, tmp_path, settings=settings, prepare_model=prepare)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):  # and again, when it was just trained
        patch.setattr("kaggle_utils.training.fold_run._clean", lambda *given: 1 / 0)
        run_case(model, tmp_path, settings=settings, prepare_model=prepare)
    newest = newest_checkpoint(tmp_path / "fold-0")
    assert (newest.step, newest.finished) == (12, True)  # a kill right here would not train on either
    result = run_case(model, tmp_path, settings=settings, prepare_model=prepare)
    assert max(entry["step"] for entry in result.histories[0]) == 12
    assert [entry["step"] for entry in result.histories[0] if "eval_log_loss" in entry] == [4, 8, 12]


def test_too_little_disk_is_said_before_anything_is_trained(model, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"training needs 0\.07 GB at its peak.*has 0\.01 GB.*keep_weights=False"):
        run_case(model, tmp_path / "run")
    assert files(tmp_path) == set()


def test_contradictions_are_reported_together(model, tmp_path):
    rows = case_rows(model)
    with pytest.raises(ValueError, match="nothing was trained") as caught:
        run_case(
            model, tmp_path / "run", ids=["same"] * ROWS, swapped_rows=None, settings=case_settings(folds=(0, 9)),
            num_labels=2,
        )  # fmt: skip
    for text in ("asks for [9]", "60 ids (1 different)", "swap_augmentation needs swapped_rows", "num_labels is 2"):
        assert text in str(caught.value)
    with pytest.raises(ValueError, match="the lowest -1"):
        run_case(model, tmp_path / "run", labels=np.where(rows["labels"] == 2, -1, rows["labels"]))
    assert not (tmp_path / "run").exists()
