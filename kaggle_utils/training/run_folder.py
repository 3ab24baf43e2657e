"""A folder that one process trains in, and what training leaves there.

It promises that two processes never train in one folder at a time, however one of them ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from kaggle_utils._optional import require

__all__ = ["alone", "strip_checkpoint", "without_bars"]

_TRAINERS = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth", "trainer_state.json",
             "training_args.bin", "pytorch_model_fsdp.bin")  # fmt: skip
_PATIENCE = 120  # seconds that a killed run's workers may take to end, and a network disk to forget a lost machine
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder; the lock ends with the process, however that ends.

    Raises:
        RuntimeError: another process has held it for two minutes.
    """
    with (folder / ".lock").open("w") as file:
        until, told = time.monotonic() + _PATIENCE, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise RuntimeError(
                        f"another process trains {folder}; wait for it, end it, or give this run another folder"
                    ) from error
                if not told:
                    _logger.warning("waiting for another process that holds %s", folder)
                told = True
                time.sleep(0.2)
        yield


def strip_checkpoint(folder: Path) -> None:
    """Leave of a Trainer's checkpoint what a model folder has, readable by everybody."""
    for name in (*_TRAINERS, *(file.name for file in folder.glob("rng_state_*.pth"))):  # one of each process
        (folder / name).unlink(missing_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)  # some writers leave files that only their owner may read


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from showing a bar for every file that it reads and writes."""
    logging_of = require("transformers", extra="llm").utils.logging
    shown = logging_of.is_progress_bar_enabled()
    logging_of.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging_of.enable_progress_bar()
