"""The beginning of a k-fold run in its folder: whether it holds another run, whether there is room, what is left to do.

It promises that a folder says what its run is made of before anything is trained in it, ``run.json`` last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.training.fold_checkpoints import check_disk, disk_needed
from kaggle_utils.training.fold_job import FoldJob, fold_done, fold_folder
from kaggle_utils.training.fold_model import parameter_counts
from kaggle_utils.training.run_files import read_json, write_arrays, write_json
from kaggle_utils.training.run_identity import RunMismatchError, differences, versions

__all__ = ["begin_run"]

_logger = logging.getLogger(__name__)


def begin_run(
    job: FoldJob, identity: Mapping[str, Any], wanted: Sequence[int], parallel: int, ids: Sequence[Any],
    test_ids: Sequence[Any],
) -> list[int]:  # fmt: skip
    """Write what the run is made of into its folder, and return the folds that are left.

    Args:
        job: of the run.
        identity: what decides it.
        wanted: folds.
        parallel: folds that are trained at one time.
        ids: of the rows.
        test_ids: of the test rows.

    Raises:
        RunMismatchError: the folder holds another run.
        OSError: too little disk.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    _claim(job.folder, identity)
    left = [fold for fold in wanted if not fold_done(job.folder, fold)]
    if left:
        _check_room(job, left, parallel)
    _describe(job, identity, ids, test_ids)
    return left


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run."""
    if not (folder / "run.json").is_file():
        return
    before = read_json(folder / "run.json")
    if found := differences(before["identity"], _as_json(identity)):
        raise RunMismatchError(folder, found)
    if found := differences(before["versions"], versions()):
        _logger.warning("packages changed since the run began, so bits may differ: %s", "; ".join(found))


def _describe(job: FoldJob, identity: Mapping[str, Any], ids: Sequence[Any], test_ids: Sequence[Any]) -> None:
    """Write what the run is made of, once; ``run.json`` last."""
    if (job.folder / "run.json").is_file():
        return
    write_arrays(job.folder / "rows.npz", {"labels": job.labels, "assigned": job.assigned})
    write_json(
        job.folder / "run.json",
        {
            "identity": identity,
            "versions": versions(),
            "model": str(job.model),
            "num_labels": job.num_labels,
            "settings": job.settings.as_dict(),
            "ids": [_plain(name) for name in ids],
            "test_ids": [_plain(name) for name in test_ids],
        },
    )


def _check_room(job: FoldJob, folds: Sequence[int], devices: int) -> None:
    settings = job.settings
    needed = disk_needed(
        *parameter_counts(
            job.model,
            num_labels=job.num_labels,
            overrides=settings.config_overrides,
            freeze_embeddings=settings.freeze_embeddings,
            freeze_layers=settings.freeze_layers,
        ),
        folds=len(folds),
        parallel=devices,
        checkpoints=settings.save_strategy != "no",
        best=settings.load_best_model_at_end,
        keep_weights=settings.keep_weights,
    )
    check_disk(job.folder, needed, unfinished=[fold_folder(job.folder, fold) for fold in folds])


def _as_json(value: Any) -> Any:
    """As it comes back from a file: tuples as lists, numbers of keys as text."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(name: Any) -> Any:
    return int(name) if isinstance(name, np.integer) else name if isinstance(name, int | str) else str(name)
