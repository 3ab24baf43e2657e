"""Bars of a k-fold run: one for the folds, one below it for the steps of each fold in training.

It only shows; what it is told may come from other processes through the caller.
"""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

__all__ = ["FoldBars"]


class FoldBars:
    """Use as a context; ``report`` and ``done`` are what :func:`~kaggle_utils.training.fold_workers.run_folds` calls.

    Args:
        folds: all that the run has.
        done: those that an earlier run finished.
        show: False shows nothing.
    """

    def __init__(self, folds: int, *, done: int = 0, show: bool = True) -> None:
        self._show = show
        self._folds = tqdm(total=folds, initial=done, desc="folds", unit="fold", disable=not show)
        self._steps: dict[int, Any] = {}

    def __enter__(self) -> FoldBars:
        return self

    def __exit__(self, *exception: object) -> None:
        for bar in [*self._steps.values(), self._folds]:
            bar.close()

    def report(self, fold: int, step: int, total: int, note: str) -> None:
        """Show that ``step`` of ``total`` steps of a fold are done, and what was measured last."""
        bar = self._steps.get(fold)
        if bar is None:  # begins at the step it resumed from, so that the rate is this run's
            bar = tqdm(
                total=total, initial=step - 1, desc=f"fold {fold}", unit="step", disable=not self._show, leave=False
            )
            self._steps[fold] = bar
        bar.set_postfix_str(note, refresh=False)
        bar.update(step - bar.n if self._show else 0)

    def done(self, fold: int) -> None:
        """Count a fold as finished."""
        bar = self._steps.pop(fold, None)
        if bar is not None:
            bar.close()
        self._folds.update()
