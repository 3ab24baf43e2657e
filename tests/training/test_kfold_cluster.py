"""Folds as tasks of a real Ray cluster: the bits of a run here, also when a machine is lost in the middle of a fold."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from kfold_case import case_settings, prepare_or_hang, run_case

from kaggle_utils.cluster import ClusterTaskError
from kaggle_utils.training import fold_cluster, team
from kaggle_utils.training.fold_workers import FoldError

FOLDS = (0, 3)
ON_CLUSTER = {"settings": case_settings(folds=FOLDS), "devices": None}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def kill_when(mark: Path, cluster) -> None:
    until = time.monotonic() + 120
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.1)
    cluster.kill(cluster.nodes[0])


def test_a_lost_machine_costs_nothing_and_what_fails_is_named(kfold_model, kfold_whole, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray_cluster import local_cluster

    victim, run = tmp_path / "victim", tmp_path / "run"
    monkeypatch.setenv("KFOLD_VICTIM", str(victim))  # read in the workers
    with local_cluster(nodes=2, cpus_each=1) as cluster:
        victim.write_text(cluster.nodes[0].node_id)
        killer = threading.Thread(target=kill_when, args=(victim.with_suffix(".hangs"), cluster))
        killer.start()
        result = run_case(kfold_model, run, cluster=cluster.address, prepare_model=prepare_or_hang, **ON_CLUSTER)
        killer.join()
    rows = np.isin(kfold_whole.assigned, FOLDS)
    assert result.logits[rows].tobytes() == kfold_whole.logits[rows].tobytes()
    assert result.test_logits.tobytes() == kfold_whole.test_logits[list(FOLDS)].tobytes()
    of_folds = {name for name in files(kfold_whole.folder) if not name.startswith(("fold-1", "fold-2", "fold-4"))}
    assert files(run) == of_folds
    log = (run / "run.log").read_text()
    assert log.count("goes on from step 8") == 1 and "2 of 2 folds to run on the cluster" in log
    assert os.environ.get("RAY_ADDRESS") is None


def test_without_ray_one_error_names_the_extra(kfold_model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"'ray' is needed here.*kaggle-notebook-utils\[cluster\]"):
        run_case(kfold_model, tmp_path / "run", cluster="local", **ON_CLUSTER)
    with pytest.raises(ValueError, match=r"devices is \['cuda:1'\]; for folds on a cluster expected None"):
        run_case(kfold_model, tmp_path / "run", cluster="local", **{**ON_CLUSTER, "devices": ["cuda:1"]})
    assert not (tmp_path / "run").exists()


def test_a_machine_that_does_not_see_the_folder_says_so(kfold_model, tmp_path, monkeypatch):
    def elsewhere(function, items, *, shared, **options):
        """A machine whose disk is not the shared one."""
        (tmp_path / "run" / "run.json").unlink()
        try:
            function(items[0], **shared)
        except FileNotFoundError as error:
            raise ClusterTaskError({0: error}, done=0) from error
        yield 0, None

    monkeypatch.setattr(fold_cluster, "run_tasks", elsewhere)
    monkeypatch.setattr(fold_cluster, "connected", lambda cluster: contextlib.nullcontext())
    monkeypatch.setattr(team, "_LAG", 0)
    settings = case_settings(folds=(3,))
    with pytest.raises(FoldError, match=r"(?s)fold 3: .* sees no run.json in .*/run; folds on a cluster need a folder"):
        run_case(kfold_model, tmp_path / "run", cluster="auto", devices=["cpu"], settings=settings)
