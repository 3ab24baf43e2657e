"""What a k-fold run gave: out-of-fold predictions in the order of the rows, figures, the test average; and its files.

It promises that rows of folds which were not run are nan and counted, never filled in, and that what it reads back is
what was computed. It trains nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.data.probabilities import softmax
from kaggle_utils.training.metrics import prediction_metrics
from kaggle_utils.training.run_files import read_arrays, read_json, write_csv, write_json

__all__ = ["KFoldResult", "collect_result", "read_kfold", "write_result"]


@dataclass(frozen=True, eq=False)
class KFoldResult:
    """Predictions and figures of the folds that are done, F of them."""

    folder: Path
    """Of the run: ``out_of_fold.csv``, ``test.csv``, ``result.json``, ``run.log``, and a folder for each fold."""
    ids: Sequence[Any]
    """Of the N rows, in their order."""
    labels: np.ndarray
    """int64 [N]."""
    assigned: np.ndarray
    """int64 [N]: the fold in which each row was held out."""
    logits: np.ndarray
    """Out of fold, float32 [N, C]; nan where the row's fold was not run."""
    fold_metrics: Mapping[int, Mapping[str, Any]]
    """By fold: log_loss, accuracy, calibration_error, rows, seconds, versions."""
    histories: Mapping[int, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """By fold: what was logged while it was trained (``step``, ``loss``, ``eval_log_loss``, ...)."""
    test_ids: Sequence[Any] = ()
    """Of the M test rows."""
    test_logits: np.ndarray | None = None
    """float32 [F, M, C], by fold; None without test rows."""

    @property
    def predicted(self) -> np.ndarray:
        """bool [N]: rows whose fold was run."""
        return np.isfinite(self.logits).all(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """Out of fold, float64 [N, C]; nan where the row's fold was not run."""
        return softmax(self.logits)

    @property
    def test_probabilities(self) -> np.ndarray | None:
        """The mean of the folds' probabilities, float64 [M, C]; None without test rows."""
        return None if self.test_logits is None else softmax(self.test_logits).mean(axis=0)

    @property
    def metrics(self) -> dict[str, float]:
        """log_loss, accuracy and calibration_error over all rows whose fold was run."""
        known = self.predicted
        return prediction_metrics(self.logits[known], self.labels[known])

    @property
    def models(self) -> list[Path]:
        """Folders of the folds' models, where weights were kept."""
        folders = [self.folder / f"fold-{fold}" / "model" for fold in self.fold_metrics]
        return [folder for folder in folders if folder.is_dir()]

    def to_text(self) -> str:
        """A line for each fold, and one for all."""
        lines = [_line(f"fold {fold}", int(figures["rows"]), figures) for fold, figures in self.fold_metrics.items()]
        return "\n".join([*lines, _line("all", int(self.predicted.sum()), self.metrics)])


def collect_result(
    folder: Path, *, ids: Sequence[Any], labels: np.ndarray, assigned: np.ndarray, num_labels: int,
    test_ids: Sequence[Any] = (),
) -> KFoldResult:  # fmt: skip
    """Put together what the folds that are done left in ``folder``.

    Raises:
        ValueError: predictions of other rows than the folds say, or not of all of them.
    """
    logits = np.full((len(labels), num_labels), np.nan, dtype=np.float32)
    figures, histories, tests = {}, {}, []
    for fold in np.unique(assigned).tolist():
        place = folder / f"fold-{fold}"
        if not (place / "fold.json").is_file():
            continue
        found = read_arrays(place / "predictions.npz")
        if not np.array_equal(found["rows"], np.flatnonzero(assigned == fold)):
            raise ValueError(f"{place} holds predictions of other rows than fold {fold} has; delete it, and run again")
        logits[found["rows"]] = found["logits"]
        figures[fold], histories[fold] = read_json(place / "fold.json"), read_json(place / "history.json")
        tests += [found["test_logits"]] if "test_logits" in found else []
    return KFoldResult(
        folder, ids, labels, assigned, logits, figures, histories, test_ids, np.stack(tests) if tests else None
    )


def write_result(result: KFoldResult, *, about: Mapping[str, Any]) -> None:
    """Write ``out_of_fold.csv``, ``test.csv`` where there are test rows, and ``result.json``; each in one step.

    Args:
        result: of the run.
        about: what else belongs into ``result.json``, such as settings and versions.
    """
    names = [f"probability_{number}" for number in range(result.logits.shape[1])]
    known = np.flatnonzero(result.predicted)
    probabilities = result.probabilities
    write_csv(
        result.folder / "out_of_fold.csv",
        ["id", "fold", "label", *names],
        ([result.ids[i], int(result.assigned[i]), int(result.labels[i]), *probabilities[i].tolist()] for i in known),
    )
    average = result.test_probabilities
    if average is not None:
        rows = zip(result.test_ids, average.tolist(), strict=True)
        write_csv(result.folder / "test.csv", ["id", *names], ([name, *row] for name, row in rows))
    write_json(
        result.folder / "result.json",
        {
            "all": {"rows": len(known), **result.metrics},
            "folds": {str(fold): dict(figures) for fold, figures in result.fold_metrics.items()},
            "rows_without_prediction": len(result.ids) - len(known),
            **about,
        },
    )


def read_kfold(folder: str | os.PathLike[str]) -> KFoldResult:
    """Return what a run in ``folder`` gave so far; folds that are not done are nan.

    Raises:
        FileNotFoundError: no run there.
    """
    place = Path(folder)
    if not (place / "rows.npz").is_file():
        raise FileNotFoundError(f"{place} is not the folder of a k-fold run: it has no rows.npz")
    rows, run = read_arrays(place / "rows.npz"), read_json(place / "run.json")
    return collect_result(
        place,
        ids=run["ids"],
        labels=rows["labels"],
        assigned=rows["assigned"],
        num_labels=run["num_labels"],
        test_ids=run["test_ids"],
    )


def _line(name: str, rows: int, figures: Mapping[str, Any]) -> str:
    return (
        f"{name:>8}: log loss {figures['log_loss']:.4f}, accuracy {figures['accuracy']:.4f}, "
        f"calibration error {figures['calibration_error']:.4f} on {rows:,} rows"
    )
