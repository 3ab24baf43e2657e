"""One fold, from wherever an earlier run left it to its predictions.

It promises that a fold which is done is not touched, that one which was killed goes on from its last whole checkpoint
and ends with the same bits on a CPU, and that two processes never train the same fold. What lies in a fold's
folder says where it is: ``fold.json`` (done), else ``model/`` (trained), else ``checkpoint-*`` (in training).
"""

from __future__ import annotations

import gc
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.models.checkpoint import companion_files
from kaggle_utils.training.fold_batches import EncodedRows, LengthGroupedBatches
from kaggle_utils.training.fold_checkpoints import newest_checkpoint
from kaggle_utils.training.fold_model import PrepareModel, freeze, load_fold_model
from kaggle_utils.training.fold_predict import Predict, checked_logits
from kaggle_utils.training.fold_trainer import fold_trainer, training_arguments
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.metrics import prediction_metrics
from kaggle_utils.training.run_files import read_json, write_arrays, write_json
from kaggle_utils.training.run_folder import alone, strip_checkpoint, without_bars
from kaggle_utils.training.run_identity import callable_name, versions

__all__ = ["FoldJob", "Report", "fold_done", "fold_folder", "run_fold", "swap_labels"]

_logger = logging.getLogger(__name__)

Report = Callable[[int, int, int, str], None]
"""(fold, steps done, all steps, what was measured last)."""


@dataclass(frozen=True)
class FoldJob:
    """What every fold needs."""

    folder: Path
    """Of the run."""
    model: Path
    """The folder that every fold begins with."""
    rows: TokenRows
    """All N rows."""
    labels: np.ndarray
    """int64 [N]."""
    assigned: np.ndarray
    """int64 [N]: the fold in which each row is held out."""
    num_labels: int
    """Classes."""
    settings: KFoldSettings
    """Of the run."""
    precision: str
    """bf16, fp16 or no."""
    predict: Predict
    """Gives logits of a fold's model."""
    swapped_rows: TokenRows | None = None
    """The rows with A and B exchanged, for ``swap_augmentation``."""
    test_rows: TokenRows | None = None
    """Rows that every fold predicts."""
    prepare_model: PrepareModel | None = None
    """Changes the loaded model before it is trained."""


def swap_labels(labels: np.ndarray) -> np.ndarray:
    """Return the labels of rows whose A and B were exchanged; 2 is a tie.

    >>> swap_labels(np.array([0, 1, 2])).tolist()
    [1, 0, 2]
    """
    labels = np.asarray(labels)
    return np.where(labels < 2, 1 - labels, labels)


def fold_folder(run: Path, fold: int) -> Path:
    """Where a fold's files lie."""
    return run / f"fold-{fold}"


def fold_done(run: Path, fold: int) -> bool:
    """Whether the fold's predictions are there."""
    return (fold_folder(run, fold) / "fold.json").is_file()


def run_fold(job: FoldJob, fold: int, *, device: str, report: Report) -> None:
    """Train the fold where that is not done yet, and predict its held-out rows and the test rows.

    Args:
        job: of the run.
        fold: its number.
        device: ``"cpu"``, or ``"cuda:0"`` in a process that sees one GPU.
        report: is told how far it is.

    Raises:
        RuntimeError: another process is at this fold.
        ValueError: logits that are not finite, and what :func:`~kaggle_utils.training.fold_model.load_fold_model`
            refuses.
    """
    folder = fold_folder(job.folder, fold)
    folder.mkdir(exist_ok=True)
    with alone(folder), without_bars():
        if not fold_done(job.folder, fold):
            started = time.monotonic()
            if not (folder / "model").is_dir():
                _train(job, fold, folder, device, report)
            _clean(folder, job.model)
            _predict(job, fold, folder, device, seconds=time.monotonic() - started)
        if not job.settings.keep_weights and (folder / "model").is_dir():
            shutil.rmtree(folder / "model")


def _train(job: FoldJob, fold: int, folder: Path, device: str, report: Report) -> None:
    """Train to the end and move the chosen weights to ``model/``."""
    trained = newest_checkpoint(folder)
    if trained is None or not trained.finished:
        trainer = _trainer(job, fold, folder, device, report)
        if trained is not None:
            _logger.info("fold %d goes on from step %d", fold, trained.step)
        trainer.train(resume_from_checkpoint=str(trained.folder) if trained is not None else None)
        history = trainer.state.log_history
        trained = newest_checkpoint(folder)
        if trained is None:  # no checkpoints were asked for
            trainer.save_model(str(folder / "model.partial"))
        _free(trainer)
    if trained is not None:
        history = read_json(trained.folder / "trainer_state.json")["log_history"]
    write_json(folder / "history.json", history)
    chosen = folder / "model.partial" if trained is None else trained.best or trained.folder
    chosen.replace(folder / "model")


def _trainer(job: FoldJob, fold: int, folder: Path, device: str, report: Report) -> Any:
    settings, seed = job.settings, job.settings.seed + fold
    train, held_out = np.flatnonzero(job.assigned != fold), np.flatnonzero(job.assigned == fold)
    orders = [job.rows, *([job.swapped_rows] if settings.swap_augmentation else [])]
    labels = [job.labels, swap_labels(job.labels)]
    batches = LengthGroupedBatches(
        [rows.lengths[train] for rows in orders],
        batch_size=settings.per_device_train_batch_size,
        seed=seed,
        group=settings.group_by_length,
    )
    model = load_fold_model(
        job.model,
        num_labels=job.num_labels,
        seed=seed,
        overrides=settings.config_overrides,
        prepare=job.prepare_model,
    )
    trainable = freeze(model, embeddings=settings.freeze_embeddings, layers=settings.freeze_layers)
    model.config.use_cache = False
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    plan = settings.steps(-(-len(batches) // settings.gradient_accumulation_steps))
    _logger.info("fold %d: %d rows to train on, %d held out, %d steps, %d trainable parameters, %s on %s",
                 fold, len(train), len(held_out), plan.total, trainable, job.precision, device)  # fmt: skip
    return fold_trainer(
        model,
        training_arguments(settings, plan, folder=folder, seed=seed, precision=job.precision, cpu=device == "cpu"),
        settings,
        batches=batches,
        train_rows=EncodedRows([_take(rows.ids, train) for rows in orders], [each[train] for each in labels]),
        eval_rows=_eval_rows(job, held_out, seed),
        report=lambda done, total, note: report(fold, done, total, note),
    )


def _eval_rows(job: FoldJob, held_out: np.ndarray, seed: int) -> EncodedRows | None:
    """The same rows at every evaluation, longest first: metrics do not care for their order, padding does."""
    if job.settings.eval_strategy == "no":
        return None
    most = job.settings.eval_max_rows or len(held_out)
    chosen = np.random.default_rng([seed, 1]).permutation(held_out)[:most]
    chosen = chosen[np.argsort(-job.rows.lengths[chosen], kind="stable")]
    return EncodedRows([_take(job.rows.ids, chosen)], [job.labels[chosen]])


def _predict(job: FoldJob, fold: int, folder: Path, device: str, *, seconds: float) -> None:
    held_out = np.flatnonzero(job.assigned == fold)
    started = time.monotonic()
    logits = _logits(job, folder, TokenRows.of(_take(job.rows.ids, held_out)), device)
    arrays = {"rows": held_out, "logits": logits}
    if job.test_rows is not None and len(job.test_rows):
        arrays["test_logits"] = _logits(job, folder, job.test_rows, device)
    write_arrays(folder / "predictions.npz", arrays)
    metrics = prediction_metrics(logits, job.labels[held_out])
    done = {
        "fold": fold,
        "rows": len(held_out),
        **metrics,
        "training_seconds": round(seconds, 1),
        "prediction_seconds": round(time.monotonic() - started, 1),
        "device": _device_name(device),
        "mixed_precision": job.precision,
        "versions": versions(),
    }
    write_json(folder / "fold.json", done)
    _logger.info("fold %d: log loss %.4f, accuracy %.4f on %d held-out rows", fold, metrics["log_loss"],
                 metrics["accuracy"], len(held_out))  # fmt: skip


def _logits(job: FoldJob, folder: Path, rows: TokenRows, device: str) -> np.ndarray:
    found = job.predict(folder / "model", rows, device)
    return checked_logits(found, rows=len(rows), labels=job.num_labels, who=str(callable_name(job.predict)))


def _clean(folder: Path, source: Path) -> None:
    """Leave of training what a model folder has, and add the tokenizer's files."""
    model = folder / "model"
    strip_checkpoint(model)
    for rest in [*folder.glob("checkpoint-*"), folder / "model.partial"]:
        shutil.rmtree(rest, ignore_errors=True)
    for name in companion_files([file.name for file in source.iterdir() if file.is_file()]):
        if not (model / name).exists():
            shutil.copyfile(source / name, model / name)


def _take(ids: list[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
    return [ids[row] for row in rows]


def _free(trainer: Any) -> None:
    """Give the device's memory back before the fold predicts."""
    trainer.model = trainer.model_wrapped = trainer.optimizer = trainer.lr_scheduler = None
    torch = require("torch", extra="llm")
    if torch.cuda.is_initialized():
        trainer.accelerator.free_memory()
        gc.collect()
        torch.cuda.empty_cache()


def _device_name(device: str) -> str:
    return device if device == "cpu" else require("torch", extra="llm").cuda.get_device_name(device)
