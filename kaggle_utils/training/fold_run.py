"""One fold, from wherever an earlier run left it to its predictions.

It promises that a fold which is done is not touched, that one which was killed goes on from its last whole checkpoint
and ends with the same bits on a CPU, and that two runs never train the same fold. Several processes may train it
together: then the first one alone writes. What lies in a fold's folder says where it is: ``fold.json`` (done), else
``model/`` (trained), else ``checkpoint-*`` (in training).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.models.checkpoint import companion_files
from kaggle_utils.training.fold_batches import EncodedRows, LengthGroupedBatches
from kaggle_utils.training.fold_checkpoints import TrainedTo, agreed_checkpoint
from kaggle_utils.training.fold_job import FoldJob, Report, fold_done, fold_folder, swap_labels
from kaggle_utils.training.fold_model import freeze, load_fold_model
from kaggle_utils.training.fold_predict import predict_together
from kaggle_utils.training.fold_trainer import fold_trainer, training_arguments
from kaggle_utils.training.metrics import prediction_metrics
from kaggle_utils.training.run_files import read_json, write_arrays, write_json
from kaggle_utils.training.run_folder import alone, strip_checkpoint, without_bars
from kaggle_utils.training.run_identity import versions
from kaggle_utils.training.step_shares import SharedBatches, SharedItems, share_step
from kaggle_utils.training.team import Team

__all__ = ["run_fold"]

_logger = logging.getLogger(__name__)


def run_fold(job: FoldJob, fold: int, *, device: str, report: Report, team: Team | None = None) -> None:
    """Train the fold where that is not done yet, and predict its held-out rows and the test rows.

    Args:
        job: of the run.
        fold: its number.
        device: ``"cpu"``, or ``"cuda:0"`` in a process that sees one GPU.
        report: is told how far it is.
        team: processes that all call this, to train the fold together; None: this one alone.

    Raises:
        RuntimeError: another process is at this fold.
        ValueError: logits that are not finite, and what :func:`~kaggle_utils.training.fold_model.load_fold_model`
            refuses.
    """
    team = team or Team(device=device)
    folder = fold_folder(job.folder, fold)
    with contextlib.ExitStack() as held, without_bars():
        done, trained = team.first(lambda: _look(held, job, fold, folder))
        if not done:
            started = time.monotonic()
            if not trained:
                _train(job, fold, folder, team, report)
            team.first(lambda: _clean(folder, job.model))
            _predict(job, fold, folder, team, seconds=time.monotonic() - started)
        if team.main and not job.settings.keep_weights and (folder / "model").is_dir():
            shutil.rmtree(folder / "model")


def _look(held: contextlib.ExitStack, job: FoldJob, fold: int, folder: Path) -> tuple[bool, bool]:
    """Hold the folder, and say whether the fold is done, and whether it is trained."""
    folder.mkdir(exist_ok=True)
    held.enter_context(alone(folder))
    return fold_done(job.folder, fold), (folder / "model").is_dir()


def _train(job: FoldJob, fold: int, folder: Path, team: Team, report: Report) -> None:
    """Train to the end and move the chosen weights to ``model/``."""
    trained = agreed_checkpoint(folder, team)
    history: Any = None
    if trained is None or not trained.finished:
        trainer = _trainer(job, fold, folder, team, report)
        if trained is not None:
            _logger.info("fold %d goes on from step %d", fold, trained.step)
        trainer.train(resume_from_checkpoint=str(trained.folder) if trained is not None else None)
        history = trainer.state.log_history
        team.wait()  # the others still write their random states into the last checkpoint
        trained = agreed_checkpoint(folder, team)
        if trained is None:  # no checkpoints were asked for
            trainer.save_model(str(folder / "model.partial"))
        _free(trainer)
    team.first(lambda: _keep(folder, trained, history))


def _keep(folder: Path, trained: TrainedTo | None, history: Any) -> None:
    if trained is not None:
        history = read_json(trained.folder / "trainer_state.json")["log_history"]
    write_json(folder / "history.json", history)
    chosen = folder / "model.partial" if trained is None else trained.best or trained.folder
    chosen.replace(folder / "model")


def _trainer(job: FoldJob, fold: int, folder: Path, team: Team, report: Report) -> Any:
    settings, seed, device = job.settings, job.settings.seed + fold, team.device
    train, held_out = np.flatnonzero(job.assigned != fold), np.flatnonzero(job.assigned == fold)
    orders = [job.rows, *([job.swapped_rows] if settings.swap_augmentation else [])]
    labels = [job.labels, swap_labels(job.labels)]
    batches: Any = LengthGroupedBatches(
        [rows.lengths[train] for rows in orders],
        batch_size=settings.per_device_train_batch_size,
        seed=seed,
        group=settings.group_by_length,
    )
    items: Any = EncodedRows([_take(rows.ids, train) for rows in orders], [each[train] for each in labels])
    share = share_step(settings.per_device_train_batch_size, settings.gradient_accumulation_steps, team.size)
    plan = settings.steps(-(-len(batches) // share.passes))
    if team.size > 1:
        batches, items = SharedBatches(batches, share, rank=team.rank), SharedItems(items, _weighed)
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
    _logger.info("fold %d: %d rows to train on, %d held out, %d steps, %d trainable parameters, %s on %s",
                 fold, len(train), len(held_out), plan.total, trainable, job.precision,
                 device if team.size == 1 else f"{team.size} processes ({device})")  # fmt: skip
    return fold_trainer(
        model,
        training_arguments(
            settings, plan, folder=folder, seed=seed, precision=job.precision, cpu=device == "cpu", share=share
        ),
        settings,
        batches=batches,
        train_rows=items,
        eval_rows=_eval_rows(job, held_out, seed),
        report=lambda done, total, note: report(fold, done, total, note),
    )


def _weighed(item: dict[str, Any], weight: float) -> dict[str, Any]:
    return {**item, "weight": weight}


def _eval_rows(job: FoldJob, held_out: np.ndarray, seed: int) -> EncodedRows | None:
    """The same rows at every evaluation, longest first: metrics do not care for their order, padding does."""
    if job.settings.eval_strategy == "no":
        return None
    most = job.settings.eval_max_rows or len(held_out)
    chosen = np.random.default_rng([seed, 1]).permutation(held_out)[:most]
    chosen = chosen[np.argsort(-job.rows.lengths[chosen], kind="stable")]
    return EncodedRows([_take(job.rows.ids, chosen)], [job.labels[chosen]])


def _predict(job: FoldJob, fold: int, folder: Path, team: Team, *, seconds: float) -> None:
    held_out = np.flatnonzero(job.assigned == fold)
    started = time.monotonic()
    of_model = {"labels": job.num_labels, "team": team}
    logits = predict_together(job.predict, folder / "model", TokenRows.of(_take(job.rows.ids, held_out)), **of_model)
    arrays = {"rows": held_out, "logits": logits}
    if job.test_rows is not None and len(job.test_rows):
        arrays["test_logits"] = predict_together(job.predict, folder / "model", job.test_rows, **of_model)
    metrics = prediction_metrics(logits, job.labels[held_out])
    done = {
        "fold": fold,
        "rows": len(held_out),
        **metrics,
        "training_seconds": round(seconds, 1),
        "prediction_seconds": round(time.monotonic() - started, 1),
        "device": _device_name(team.device),
        "processes": team.size,
        "mixed_precision": job.precision,
        "versions": versions(),
    }
    team.first(lambda: _finish(folder, arrays, done))
    _logger.info("fold %d: log loss %.4f, accuracy %.4f on %d held-out rows", fold, metrics["log_loss"],
                 metrics["accuracy"], len(held_out))  # fmt: skip


def _finish(folder: Path, arrays: dict[str, np.ndarray], done: dict[str, Any]) -> None:
    write_arrays(folder / "predictions.npz", arrays)
    write_json(folder / "fold.json", done)


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
