"""k-fold training of a sequence classifier: token rows, labels and folds in, out-of-fold and test predictions out.

It promises that predictions stand in the order of the rows, that a run which is killed goes on where it stopped and
ends with the same predictions, that folds which are done are never repeated, and that a folder never holds the results
of two different runs. Tokens, labels and folds come from the caller; prediction by a faster engine is passed in.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.models.checkpoint import open_checkpoint
from kaggle_utils.training.fold_bars import FoldBars
from kaggle_utils.training.fold_cluster import on_cluster, run_folds_on_cluster
from kaggle_utils.training.fold_job import FoldJob, fold_folder
from kaggle_utils.training.fold_model import PrepareModel
from kaggle_utils.training.fold_predict import Predict, predict_logits
from kaggle_utils.training.fold_workers import log_to, run_folds
from kaggle_utils.training.kfold_begin import begin_run
from kaggle_utils.training.kfold_inputs import TrainingPlace, check_inputs, training_place
from kaggle_utils.training.kfold_result import KFoldResult, collect_result, write_result
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.run_identity import RunMismatchError as RunMismatchError
from kaggle_utils.training.run_identity import (
    array_digest,
    callable_name,
    folder_digest,
    rows_digest,
    versions,
)

__all__ = ["run_kfold"]

_logger = logging.getLogger(__name__)

_NOT_DECIDING = ("folds", "keep_weights", "mixed_precision")
"""Settings that may change between calls: what they lead to is recorded otherwise, or does not touch predictions."""


def run_kfold(
    model: str | os.PathLike[str],
    rows: TokenRows,
    labels: np.ndarray | Sequence[int],
    assigned: np.ndarray | Sequence[int],
    *,
    folder: str | os.PathLike[str],
    settings: KFoldSettings | None = None,
    ids: Sequence[Any] | None = None,
    num_labels: int | None = None,
    swapped_rows: TokenRows | None = None,
    test_rows: TokenRows | None = None,
    test_ids: Sequence[Any] | None = None,
    devices: Sequence[str] | None = None,
    cluster: str | None = None,
    predict: Predict | None = None,
    prepare_model: PrepareModel | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> KFoldResult:
    """Train the folds that are not done yet, and return and save everything that is known then.

    Under ``torchrun`` or ``accelerate launch`` every process makes the same call: one fold after another is trained by
    all of them together (DDP, or FSDP where the launcher says so), each on its own device; the first one writes, and
    all return the same result. An optimizer step has the same rows whatever the number of processes, so the loss curve
    is that of one process (but for dropout, which each draws for itself): processes share the
    ``gradient_accumulation_steps`` passes of a step, or the rows of a pass. Several hosts need a folder that all share.

    Args:
        model: folder of the model that every fold begins with; its head is made anew where it has none.
        rows: N token rows, tokenised once for all folds.
        labels: int [N], from 0.
        assigned: int [N], of :func:`~kaggle_utils.training.folds.assign_folds`: the fold in which each row is held out.
        folder: of the run; made where it is not there. The same call with the same folder goes on.
        settings: how to train, and which folds.
        ids: of the rows, all different; None: 0 to N - 1.
        num_labels: classes; None: as many as the labels show.
        swapped_rows: ``rows`` with A and B exchanged (``PairTokenizer.encode(pairs, swapped=True)``), for
            ``swap_augmentation``.
        test_rows: M rows that every fold predicts.
        test_ids: theirs; None: 0 to M - 1.
        devices: such as ``["cuda:0", "cuda:1"]``, a worker with a fold of its own each; None: all GPUs, else the CPU.
            Under a launcher each process has its own: None, or ``["cpu"]`` for the CPU.
        cluster: send each fold to a Ray cluster as a task of its own, with a GPU where the cluster has any:
            ``"auto"`` or an address for one that runs, ``"local"`` for one on this machine; None: train here. All its
            machines need ``folder`` and ``model`` under the same paths. A fold whose machine is lost goes on elsewhere
            from its last checkpoint.
        predict: gives the logits of a fold's model, see :data:`~kaggle_utils.training.fold_predict.Predict`; None:
            :func:`~kaggle_utils.training.fold_predict.predict_logits`.
        prepare_model: changes the loaded model before training (and prediction by the default ``predict``), such as
            into one with fused attention; names and shapes of its weights have to stay.
        about: plain values that decide the rows, such as ``PairTokenizer.settings()``; kept with the results.
        progress: bars for folds and steps.

    Raises:
        ValueError: contradicting arguments, all named.
        TeamError: under a launcher: another process failed, was given other rows, or does not see the folder.
        RunMismatchError: the folder holds a run of other rows, settings or weights.
        OSError: too little disk.
        FoldError: folds that failed where several devices, or a cluster, train.
        ModuleNotFoundError: ``cluster`` without ray.
    """
    settings = settings or KFoldSettings()
    labels, assigned = np.asarray(labels), np.asarray(assigned)
    source, place = open_checkpoint(model, tokenizer=False).folder, Path(folder)
    ids = list(range(len(rows))) if ids is None else list(ids)
    tests = 0 if test_rows is None else len(test_rows)
    test_ids = list(range(tests)) if test_ids is None else list(test_ids)
    check_inputs(rows, labels, assigned, settings, ids, num_labels, swapped_rows, tests, test_ids)
    classes = num_labels or max(2, int(labels.max()) + 1)
    with contextlib.ExitStack() as held:
        if cluster is None:
            where = training_place(devices, settings)
        else:
            where = held.enter_context(on_cluster(cluster, devices, settings))
            place, source = place.absolute(), source.absolute()
        identity = {
            "settings": {k: v for k, v in settings.as_dict().items() if k not in _NOT_DECIDING},
            "mixed_precision": where.precision,
            "num_labels": classes,
            "model": folder_digest(source),
            "rows": rows_digest(rows),
            "swapped_rows": rows_digest(swapped_rows) if settings.swap_augmentation else None,
            "test_rows": rows_digest(test_rows) if tests else None,
            "labels": array_digest(labels.astype(np.int64)),
            "folds": array_digest(assigned.astype(np.int64)),
            "ids": array_digest([str(name) for name in ids]),
            "test_ids": array_digest([str(name) for name in test_ids]),
            "predict": callable_name(predict),
            "prepare_model": callable_name(prepare_model),
            "about": dict(about or {}),
        }
        default = partial(predict_logits, prepare_model=prepare_model, mixed_precision=where.precision, progress=False)
        job = FoldJob(
            place, source, rows, labels.astype(np.int64), assigned.astype(np.int64), classes, settings, where.precision,
            predict or default, swapped_rows if settings.swap_augmentation else None, test_rows if tests else None,
            prepare_model,
        )  # fmt: skip
        return _run(job, identity, where, cluster, ids, test_ids, progress=progress)


def _run(
    job: FoldJob, identity: Mapping[str, Any], where: TrainingPlace, cluster: str | None, ids: Sequence[Any],
    test_ids: Sequence[Any], *, progress: bool,
) -> KFoldResult:  # fmt: skip
    settings, team = job.settings, where.team
    team.check_same(identity)
    wanted = list(settings.folds) if settings.folds is not None else np.unique(job.assigned).tolist()
    parallel = len(wanted) if cluster is not None else len(where.devices)
    left = team.first(lambda: begin_run(job, identity, wanted, parallel, ids, test_ids))
    team.check_shared(job.folder / "run.json")
    log = log_to(job.folder / "run.log") if team.main else contextlib.nullcontext()
    with log, FoldBars(len(wanted), done=len(wanted) - len(left), show=progress and team.main) as bars:
        _logger.info("%d of %d folds to run on %s, %s", len(left), len(wanted), _where(where, cluster), job.precision)
        if left and cluster is not None:
            run_folds_on_cluster(job, left, cluster=cluster, device=where.devices[0], done=bars.done)
        elif left:
            run_folds(job, left, where.devices, report=bars.report, done=bars.done, team=team)
        for fold in left:
            team.check_shared(fold_folder(job.folder, fold) / "fold.json")
        result = collect_result(
            job.folder, ids=ids, labels=job.labels, assigned=job.assigned, num_labels=job.num_labels, test_ids=test_ids
        )
        about_run = {"settings": settings.as_dict(), "versions": versions(), "identity": identity}
        team.first(lambda: write_result(result, about=about_run))
        _logger.info("%s", result.to_text())
    return result


def _where(place: TrainingPlace, cluster: str | None) -> str:
    if cluster is not None:
        return f"the cluster {cluster} ({place.devices[0]})"
    together = f", {place.team.size} processes together" if place.team.size > 1 else ""
    return ", ".join(place.devices) + together
