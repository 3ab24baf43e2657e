"""Checkpoints of a fold in training, and how much disk they take.

It promises that a checkpoint which a kill cut short is never resumed from, and that only the newest one carries the
optimizer's state. It does not write checkpoints: transformers' Trainer does, ``trainer_state.json`` last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_utils.training.run_files import write_json
from kaggle_utils.training.team import Team

__all__ = ["TrainedTo", "agreed_checkpoint", "check_disk", "disk_needed", "newest_checkpoint", "prune_checkpoints"]

_STATE = "trainer_state.json"
_OPTIMIZER = ("optimizer.pt", "optimizer.bin")
_FLOAT32 = 4
_SMALL = 64 << 20  # tokenizer, configs, logs and predictions, all folds together


@dataclass(frozen=True)
class TrainedTo:
    """A whole checkpoint."""

    folder: Path
    """Where it lies."""
    step: int
    """Optimizer steps done."""
    finished: bool
    """Early stopping or the last step ended training here."""
    best: Path | None
    """The checkpoint of the best evaluation so far."""


def newest_checkpoint(folder: Path) -> TrainedTo | None:
    """Return the newest whole checkpoint in ``folder``; those that a kill cut short are deleted.

    The path of the best one is set right in it, so that a run folder can be moved.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        state = _state(path)
        if state is None or not any((path / name).is_file() for name in _OPTIMIZER):
            if state is None:  # else the best one, without its optimizer
                shutil.rmtree(path)
            continue
        named = state.get("best_model_checkpoint")
        best = folder / Path(named).name if named else None
        best = best if best is not None and _state(best) is not None else None
        if state.get("best_model_checkpoint") != (str(best) if best else None):
            write_json(path / _STATE, {**state, "best_model_checkpoint": str(best) if best else None})
        stopped = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        finished = bool(stopped.get("should_training_stop")) or state["global_step"] >= state["max_steps"]
        return TrainedTo(path, state["global_step"], finished, best)
    return None


def agreed_checkpoint(folder: Path, team: Team) -> TrainedTo | None:
    """Return what :func:`newest_checkpoint` is in the first process, in every process of ``team``."""

    def find() -> list[Any] | None:
        found = newest_checkpoint(folder)
        return found and [str(found.folder), found.step, found.finished, str(found.best) if found.best else None]

    found = team.first(find)
    return found and TrainedTo(Path(found[0]), found[1], found[2], Path(found[3]) if found[3] else None)


def prune_checkpoints(folder: Path, *, newest: int, best: str | None) -> None:
    """Delete all checkpoints but that of step ``newest`` and the weights of the best one.

    Call it when the newest is whole. Of the best, the optimizer's state goes too: two thirds of its size.
    """
    for path in folder.glob("checkpoint-*"):
        if _step(path) == newest:
            continue
        if best is None or path.name != Path(best).name:
            shutil.rmtree(path)
        for name in _OPTIMIZER:
            (path / name).unlink(missing_ok=True)


def disk_needed(
    parameters: int, trainable: int, *, folds: int, parallel: int, checkpoints: bool, best: bool, keep_weights: bool
) -> int:
    """Return the most bytes that a run has on disk at one time.

    Weights are float32, and Adam has two more numbers for each trainable one. While a checkpoint is written, a
    training fold has the new one, the one before it, and, where the best are kept, the weights of the best.

    >>> gb = disk_needed(434_000_000, 434_000_000, folds=5, parallel=1, checkpoints=True, best=True, keep_weights=True)
    >>> round(gb / 1e9, 1)
    19.2
    """
    weights, optimizer = parameters * _FLOAT32, 2 * trainable * _FLOAT32
    training = 2 * (weights + optimizer) + (weights if best else 0) if checkpoints else weights
    parallel = min(parallel, folds)
    kept = (folds - parallel) * weights if keep_weights else 0
    return parallel * training + kept + _SMALL


def check_disk(folder: Path, needed: int, *, unfinished: Iterable[Path] = ()) -> None:
    """Refuse to begin what would not fit; what ``unfinished`` folds have on disk already counts as room for them.

    Raises:
        OSError: too little room, with the numbers and what would make it less.
    """
    free = shutil.disk_usage(folder).free
    there = sum(file.stat().st_size for fold in unfinished for file in fold.rglob("*") if file.is_file())
    if free + there < needed:
        raise OSError(
            f"training needs {needed / 1e9:.2f} GB at its peak, and {folder} has {(free + there) / 1e9:.2f} GB "
            f"({there / 1e9:.2f} GB of them unfinished folds'). Free some, give another folder (a scratch disk), train "
            "fewer folds (folds=(0,)), or set keep_weights=False, load_best_model_at_end=False or save_strategy='no'"
        )


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _state(path: Path) -> dict[str, Any] | None:
    """What the Trainer wrote last into a checkpoint; None where it did not come to that."""
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if any(path.glob("*.safetensors")) or any(path.glob("*.bin")) else None
