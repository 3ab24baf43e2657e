"""What every fold of a run needs, and where its files lie.

It is plain data, which may go to other processes and other machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.training.fold_model import PrepareModel
from kaggle_utils.training.fold_predict import Predict
from kaggle_utils.training.kfold_settings import KFoldSettings

__all__ = ["FoldJob", "Report", "fold_done", "fold_folder", "swap_labels"]

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
