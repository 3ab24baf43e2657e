"""k folds in two processes, as under torchrun: one process's curve and predictions, and files that only one writes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from kfold_case import case_rows, case_settings, run_case
from processes import in_two_processes

from kaggle_utils.training.kfold_result import read_kfold
from kaggle_utils.training.team import TeamError

# Batches of 5 do not go into 48 rows, and 4 passes not into 10: the last step has a pass of 3 rows. No dropout: each
# process draws its own.
SETTINGS = case_settings(
    per_device_train_batch_size=5, gradient_accumulation_steps=4, num_train_epochs=2, eval_steps=2, folds=(3,),
    config_overrides={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def alone(kfold_model, tmp_path_factory):
    return run_case(kfold_model, tmp_path_factory.mktemp("alone"), settings=SETTINGS)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def go_on(rank, model, folder):
    """Goes on, then reads the finished run; and what is refused is refused in both."""
    results = [run_case(model, folder, settings=SETTINGS) for _ in range(2)]
    kept = read_kfold(folder)
    assert all(result.logits.tobytes() == kept.logits.tobytes() for result in results), f"process {rank}"
    assert results[0].histories == kept.histories
    rows = case_rows(model)
    with pytest.raises(ValueError, match=r"devices is \['cpu', 'cpu'\], and a launcher started 2 processes"):
        run_case(model, folder, settings=SETTINGS, devices=["cpu", "cpu"])
    with pytest.raises(ValueError, match="cluster='local' sends folds to other machines itself"):
        run_case(model, folder, settings=SETTINGS, devices=None, cluster="local")
    with pytest.raises(TeamError, match="the 2 processes were given different labels: every process has to make"):
        run_case(model, folder, settings=SETTINGS, labels=(rows["labels"] + rank) % 3)
    with pytest.raises(Exception, match=r"settings\.learning_rate: was 0\.002, is 0\.001") as caught:
        run_case(model, folder, settings=case_settings(learning_rate=1e-3))
    assert type(caught.value).__name__ == ("TeamError" if rank else "RunMismatchError")


def die(rank, model, folder):
    """The second process dies in step 3."""
    import torch

    passes = iter(range(4))  # 2 passes of a step's 4 are this process's
    plain = torch.Tensor.backward

    def backward(self, *given, **options):
        if rank and next(passes, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, *given, **options)

    torch.Tensor.backward = backward
    run_case(model, folder, settings=SETTINGS)


def test_two_processes_that_died_and_went_on_give_what_one_gives(kfold_model, alone, tmp_path):
    run = tmp_path / "two"
    assert in_two_processes(die, kfold_model, run)[1] == -signal.SIGKILL
    assert "fold-3/checkpoint-2/optimizer.pt" in files(run)
    assert in_two_processes(go_on, kfold_model, run) == [0, 0]
    two = read_kfold(run)
    for fold, history in alone.histories.items():
        for name, count in (("loss", 6), ("eval_log_loss", 3)):
            curves = [[entry[name] for entry in each if name in entry] for each in (two.histories[fold], history)]
            assert len(curves[1]) == count
            assert curves[0] == pytest.approx(curves[1], rel=2e-4), (fold, name)
    assert np.abs(two.logits - alone.logits)[alone.predicted].max() < 5e-4
    assert np.abs(two.test_logits - alone.test_logits).max() < 5e-4
    assert [figures["processes"] for figures in two.fold_metrics.values()] == [2]
    assert files(two.folder) == files(alone.folder)
    log = (run / "run.log").read_text()
    assert "goes on from step 2" in log and "2 processes together" in log
    assert log.count("step 1 of 6") == 1  # one process writes
