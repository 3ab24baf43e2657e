"""Folds as tasks of a Ray cluster: each on a machine that has room for it, with what it leaves in a shared folder.

It promises the results of the same folds trained here; that a fold whose machine is lost goes on elsewhere from its
last checkpoint; and that a machine which does not see the run's folder or the model says so before it trains. It does
not know what a fold does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaggle_utils.cluster import ClusterTaskError, connected, run_tasks
from kaggle_utils.training.fold_job import FoldJob
from kaggle_utils.training.fold_run import run_fold
from kaggle_utils.training.fold_workers import FoldError, log_to
from kaggle_utils.training.kfold_inputs import TrainingPlace
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.team import Team, seen_in_time, training_device, world_size

__all__ = ["on_cluster", "run_folds_on_cluster"]


@contextmanager
def on_cluster(cluster: str, devices: Sequence[str] | None, settings: KFoldSettings) -> Iterator[TrainingPlace]:
    """Connect to the cluster for the block, and choose what each fold gets of it: a GPU where there are any.

    Args:
        cluster: of :func:`kaggle_utils.cluster.connected`.
        devices: None, ``["cpu"]`` or ``["cuda"]``.
        settings: of the run. With mixed precision "auto" the first GPU that is free decides for all.

    Raises:
        ValueError: other devices, or a launcher that started several processes.
        ModuleNotFoundError: ray is not installed.
        ConnectionError: nothing answers at the address.
    """
    if world_size() > 1:
        raise ValueError(
            f"cluster={cluster!r} sends folds to other machines itself, and a launcher started {world_size()} "
            "processes; start plain python, or leave cluster out to train every fold in these processes together"
        )
    if devices is not None and list(devices) not in (["cpu"], ["cuda"]):
        raise ValueError(
            f"devices is {list(devices)!r}; for folds on a cluster expected None (GPUs where there are any), ['cuda'] "
            "or ['cpu']: which one, the cluster decides"
        )
    with connected(cluster) as ray:
        gpus = bool(ray.cluster_resources().get("GPU")) if devices is None else list(devices) == ["cuda"]
        precision = settings.mixed_precision
        if precision == "auto":
            probe = run_tasks(_precision, [0], cluster=cluster, num_gpus=1) if gpus else [(0, "no")]
            precision = next(result for _, result in probe)
        device = "cuda:0" if gpus else "cpu"
        yield TrainingPlace([device], precision, Team(device=device))


def run_folds_on_cluster(
    job: FoldJob, folds: Sequence[int], *, cluster: str, device: str, done: Callable[[int], None]
) -> None:
    """Run ``folds``, each as one task with one GPU (``cuda:0``) or one core (``cpu``).

    Args:
        job: of the run; its functions have to be importable on the cluster, or what Ray's cloudpickle can write.
        folds: their numbers.
        cluster: of :func:`kaggle_utils.cluster.connected`.
        device: as a task sees it.
        done: is called with each fold that is finished.

    Raises:
        FoldError: some folds failed; the others are finished.
    """
    shared = {"job": job, "mark": _mark(job.folder), "device": device}
    try:
        tasks = run_tasks(_task, folds, cluster=cluster, num_gpus=float(device != "cpu"), shared=shared)
        for number, _ in tasks:
            done(folds[number])
    except ClusterTaskError as error:
        failures = {folds[number]: str(getattr(failure, "cause", None) or failure)
                    for number, failure in error.failures.items()}  # fmt: skip
        raise FoldError(failures, job.folder) from error


def _task(fold: int, *, job: FoldJob, mark: str, device: str) -> str:
    host = os.uname().nodename
    if not seen_in_time(lambda: _mark(job.folder) == mark):
        found = _mark(job.folder)
        raise FileNotFoundError(
            f"{host} sees {'another' if found else 'no'} run.json in {job.folder}; folds on a cluster need a folder "
            "that all machines share (NFS or another network disk), under the same path"
        )
    if not (job.model / "config.json").is_file():
        raise FileNotFoundError(f"{host} has no model at {job.model}; put it on the shared disk, or under this path")
    with log_to(job.folder / "run.log"):
        run_fold(job, fold, device=device, report=lambda *told: None)
    return host


def _precision(_: Any) -> str:
    return training_device()[1]


def _mark(folder: Path) -> str:
    """Names the run whose folder this is; empty where there is none."""
    file = folder / "run.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
