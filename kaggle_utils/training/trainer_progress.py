"""What transformers' Trainer tells while it trains, and the checkpoints that it may keep.

It promises the order of batches that belongs to each epoch, the same logged steps in a resumed run, and no more
checkpoints than the newest and the best. It does not know what is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.training.fold_checkpoints import prune_checkpoints
from kaggle_utils.training.step_shares import Batches

__all__ = ["progress_callback"]

_logger = logging.getLogger(__name__)


def progress_callback(
    batches: Batches,
    arguments: Any,
    report: Callable[[int, int, str], None],
    *,
    shown: Mapping[str, str],
) -> Any:
    """Return a ``TrainerCallback``.

    Args:
        batches: of this process; told the epoch when one begins.
        arguments: the ``TrainingArguments``.
        report: is told (steps done, all steps, what was measured last).
        shown: what is told of what the Trainer logs, and under which name.
    """
    return _class()(batches, arguments, report, shown)


@cache
def _class() -> type:
    """Made on first use, because importing transformers takes seconds."""

    class ProgressCallback(require("transformers", extra="llm").TrainerCallback):
        def __init__(self, batches, arguments, report, shown) -> None:
            self._batches, self._report, self._shown, self._last = batches, report, shown, ""
            self._steps_per_epoch = -(-len(batches) // arguments.gradient_accumulation_steps)

        def on_epoch_begin(self, args, state, control, **kwargs):
            self._batches.set_epoch(state.global_step // self._steps_per_epoch)

        def on_step_end(self, args, state, control, **kwargs):
            control.should_log = control.should_log or control.should_save  # so that a resumed curve is the same
            self._report(state.global_step, state.max_steps, self._last)

        def on_log(self, args, state, control, logs=None, **kwargs):
            told = {self._shown[name]: value for name, value in (logs or {}).items() if name in self._shown}
            if told:
                self._last = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
                _logger.info("step %d of %d: %s", state.global_step, state.max_steps, self._last)

        def on_save(self, args, state, control, **kwargs):
            if state.is_world_process_zero:
                prune_checkpoints(Path(args.output_dir), newest=state.global_step, best=state.best_model_checkpoint)

    return ProgressCallback
