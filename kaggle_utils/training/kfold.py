"""k-fold training of a sequence classifier: token rows, labels and folds in, out-of-fold and test predictions out.

It promises that predictions stand in the order of the rows, that a run which is killed goes on where it stopped and
ends with the same predictions, that folds which are done are never repeated, and that a folder never holds the results
of two different runs. Tokens, labels and folds come from the caller; prediction by a faster engine is passed in.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.models.checkpoint import open_checkpoint
from kaggle_utils.models.rooms import device_rooms
from kaggle_utils.training.fold_bars import FoldBars
from kaggle_utils.training.fold_checkpoints import check_disk, disk_needed
from kaggle_utils.training.fold_model import PrepareModel, parameter_counts
from kaggle_utils.training.fold_predict import Predict, predict_logits
from kaggle_utils.training.fold_run import FoldJob, fold_done, fold_folder
from kaggle_utils.training.fold_workers import log_to, run_folds
from kaggle_utils.training.kfold_result import KFoldResult, collect_result, write_result
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.run_files import read_json, write_arrays, write_json
from kaggle_utils.training.run_identity import (
    array_digest,
    callable_name,
    differences,
    folder_digest,
    rows_digest,
    versions,
)

__all__ = ["RunMismatchError", "run_kfold"]

_logger = logging.getLogger(__name__)

_NOT_DECIDING = ("folds", "keep_weights", "mixed_precision")
"""Settings that may change between calls: what they lead to is recorded otherwise, or does not touch predictions."""


class RunMismatchError(ValueError):
    """The folder holds a run of other rows, settings or weights; ``differences`` names them."""

    def __init__(self, folder: Path, found: Sequence[str]) -> None:
        self.differences = tuple(found)
        super().__init__(
            f"{folder} holds another run; going on would mix the two. What differs:\n"
            + "\n".join(f"  - {text}" for text in found)
            + "\nGive this run another folder, or delete that one"
        )


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
    predict: Predict | None = None,
    prepare_model: PrepareModel | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> KFoldResult:
    """Train the folds that are not done yet, and return and save everything that is known then.

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
        predict: gives the logits of a fold's model, see :data:`~kaggle_utils.training.fold_predict.Predict`; None:
            :func:`~kaggle_utils.training.fold_predict.predict_logits`.
        prepare_model: changes the loaded model before training (and prediction by the default ``predict``), such as
            into one with fused attention; names and shapes of its weights have to stay.
        about: plain values that decide the rows, such as ``PairTokenizer.settings()``; kept with the results.
        progress: bars for folds and steps.

    Raises:
        ValueError: contradicting arguments, all named.
        RunMismatchError: the folder holds a run of other rows, settings or weights.
        OSError: too little disk.
        FoldError: folds that failed where several devices train.
    """
    settings = settings or KFoldSettings()
    labels, assigned = np.asarray(labels), np.asarray(assigned)
    source, place = open_checkpoint(model, tokenizer=False).folder, Path(folder)
    ids = list(range(len(rows))) if ids is None else list(ids)
    tests = 0 if test_rows is None else len(test_rows)
    test_ids = list(range(tests)) if test_ids is None else list(test_ids)
    _check(rows, labels, assigned, settings, ids, num_labels, swapped_rows, tests, test_ids)
    classes = num_labels or max(2, int(labels.max()) + 1)
    devices, precision = _devices(devices, settings)
    identity = {
        "settings": {k: v for k, v in settings.as_dict().items() if k not in _NOT_DECIDING},
        "mixed_precision": precision,
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
    default = partial(predict_logits, prepare_model=prepare_model, mixed_precision=precision, progress=False)
    job = FoldJob(
        place, source, rows, labels.astype(np.int64), assigned.astype(np.int64), classes, settings, precision,
        predict or default, swapped_rows if settings.swap_augmentation else None, test_rows if tests else None,
        prepare_model,
    )  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    _claim(place, identity)
    wanted = list(settings.folds) if settings.folds is not None else np.unique(assigned).tolist()
    left = [fold for fold in wanted if not fold_done(place, fold)]
    if left:
        _check_room(job, left, len(devices))
    _describe(job, identity, ids, test_ids)
    with log_to(place / "run.log"), FoldBars(len(wanted), done=len(wanted) - len(left), show=progress) as bars:
        _logger.info("%d of %d folds to run on %s, %s", len(left), len(wanted), ", ".join(devices), precision)
        if left:
            run_folds(job, left, devices, report=bars.report, done=bars.done)
        result = collect_result(
            place, ids=ids, labels=job.labels, assigned=job.assigned, num_labels=classes, test_ids=test_ids
        )
        write_result(result, about={"settings": settings.as_dict(), "versions": versions(), "identity": identity})
        _logger.info("%s", result.to_text())
    return result


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


def _devices(devices: Sequence[str] | None, settings: KFoldSettings) -> tuple[list[str], str]:
    """Names of the devices, and the precision that all of them compute in."""
    rooms = device_rooms(devices)
    if settings.mixed_precision != "auto":
        return [room.name for room in rooms], settings.mixed_precision
    if any(room.capability is None for room in rooms):
        return [room.name for room in rooms], "no"
    modern = all(room.capability >= (8, 0) for room in rooms)
    return [room.name for room in rooms], "bf16" if modern else "fp16"


def _check(
    rows: TokenRows, labels: np.ndarray, assigned: np.ndarray, settings: KFoldSettings, ids: Sequence[Any],
    num_labels: int | None, swapped: TokenRows | None, tests: int, test_ids: Sequence[Any],
) -> None:  # fmt: skip
    count, problems = len(rows), []
    for name, values in (("labels", labels), ("assigned", assigned)):
        if values.shape != (count,) or values.dtype.kind not in "iu" or (count and values.min() < 0):
            lowest = f", the lowest {values.min()}" if values.size and values.dtype.kind in "iuf" else ""
            problems.append(
                f"{name} is {values.dtype} of shape {values.shape}{lowest}; expected integers of at least 0, one for "
                f"each of the {count} rows (leave rows without a label out)"
            )
    if not problems:
        there = np.unique(assigned).tolist()
        if len(there) < 2:
            problems.append(f"assigned has fold {there} only; expected at least 2 folds")
        if settings.folds is not None and (absent := sorted(set(settings.folds) - set(there))):
            problems.append(f"settings.folds asks for {absent}; there are {there}")
        if num_labels is not None and count and labels.max() >= num_labels:
            problems.append(f"labels go up to {labels.max()}, and num_labels is {num_labels}")
    for what, names, expected in (("ids", ids, count), ("test_ids", test_ids, tests)):
        if len(names) != expected or len({str(name) for name in names}) < len(names):
            different = len({str(name) for name in names})
            problems.append(f"{len(names)} {what} ({different} different) for {expected} rows; expected one for each")
    if settings.swap_augmentation and (swapped is None or len(swapped) != count):
        problems.append(
            f"swap_augmentation needs swapped_rows, as many as rows ({count}); there are "
            f"{'none' if swapped is None else len(swapped)}: PairTokenizer.encode(pairs, swapped=True) makes them"
        )
    if problems:
        raise ValueError("nothing was trained:\n" + "\n".join(f"  - {p}" for p in problems))


def _as_json(value: Any) -> Any:
    """As it comes back from a file: tuples as lists, numbers of keys as text."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(name: Any) -> Any:
    return int(name) if isinstance(name, np.integer) else name if isinstance(name, int | str) else str(name)
