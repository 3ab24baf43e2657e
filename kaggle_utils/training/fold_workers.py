"""Folds on devices: one after another here, or one process for each device, each taking the next fold that is left.

It promises that a process sees its own GPU only (with two in sight the Trainer would wrap the model in DataParallel),
that a fold which fails in a process does not stop the others, that none runs on after this one ends, and that every
failure is reported. It does not know what a fold does.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.training.fold_job import FoldJob, Report
from kaggle_utils.training.fold_run import run_fold
from kaggle_utils.training.team import Team

__all__ = ["FoldError", "log_to", "run_folds"]

_logger = logging.getLogger(__name__)
_GPUS = "CUDA_VISIBLE_DEVICES"


class FoldError(RuntimeError):
    """Folds that were not finished, with the reason of each as ``failures``: fold -> text."""

    def __init__(self, failures: dict[int, str], folder: Path) -> None:
        self.failures = failures
        reasons = "\n".join(f"  - fold {fold}: {text.strip()}" for fold, text in sorted(failures.items()))
        super().__init__(
            f"{len(failures)} folds were not finished:\n{reasons}\nWhat is done is kept in {folder}; the same call "
            "goes on from there"
        )


def run_folds(
    job: FoldJob, folds: Sequence[int], devices: Sequence[str], *, report: Report, done: Callable[[int], None],
    team: Team | None = None,
) -> None:  # fmt: skip
    """Run ``folds``.

    Args:
        job: of the run. With several devices it is sent to processes, so its functions have to be importable by name.
        folds: their numbers.
        devices: a worker each, such as ``["cuda:0", "cuda:1"]``. One CPU, or the only GPU in sight, is used by this
            process itself.
        report: is told how far each fold is.
        done: is called with each fold that is finished.
        team: processes that all call this, to train one fold after another together; None: this one alone.

    Raises:
        FoldError: some folds failed; the others are finished.
        ValueError: a function that processes cannot import.
    """
    together = team is not None and team.size > 1
    if together or (len(devices) == 1 and (devices[0] == "cpu" or _gpus_in_sight() == 1)):
        for fold in folds:
            run_fold(job, fold, device=devices[0], report=report, team=team)
            done(fold)
        return
    crew = _Crew(job, list(folds), report, done)
    try:
        for device in devices[: len(folds)]:
            crew.start(device, threads=_threads(device, devices))
        crew.work()
    finally:
        crew.end()
    if crew.failures:
        raise FoldError(crew.failures, job.folder)


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what this package's training logs to ``path``; a line is one write, so that processes can share it."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logger = logging.getLogger("kaggle_utils.training")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(before or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


class _Crew:
    """Processes, the folds that are left, and what became of each."""

    def __init__(self, job: FoldJob, folds: list[int], report: Report, done: Callable[[int], None]) -> None:
        self._job, self._left, self._report, self._done = job, folds, report, done
        self._at: dict[Any, int | None] = {}  # line -> the fold that its process is at
        self._bodies: dict[Any, Any] = {}
        self.failures: dict[int, str] = {}

    def start(self, device: str, *, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        line, other = context.Pipe()
        visible, device = _visible(device)
        body = context.Process(target=_serve, args=(other, self._job, device, threads), name=f"folds on {device}")
        with _environment({_GPUS: visible}):
            try:
                body.start()
            except (AttributeError, TypeError) as error:
                raise ValueError(
                    f"predict or prepare_model cannot be sent to a process ({error}); put it into a module, or give "
                    "one device"
                ) from error
        other.close()
        self._bodies[line] = body
        self._give(line)

    def work(self) -> None:
        while busy := [line for line, fold in self._at.items() if fold is not None]:
            for line in connection.wait(busy):
                self._hear(line)
        self.failures |= dict.fromkeys(self._left, "no worker was left to train it")

    def end(self) -> None:
        for line, body in self._bodies.items():
            with contextlib.suppress(OSError):
                line.send(None)
            if self._at.get(line) is None:
                body.join(20)
            body.kill()
            body.join()
            line.close()

    def _give(self, line: Any) -> None:
        self._at[line] = self._left.pop(0) if self._left else None
        if self._at[line] is not None:
            line.send(self._at[line])

    def _hear(self, line: Any) -> None:
        fold = self._at[line]
        try:
            kind, *content = line.recv()
        except (EOFError, OSError):
            self._bodies[line].join(5)
            self.failures[fold] = (
                f"its process died (exit code {self._bodies[line].exitcode}); -9 is what a machine out of memory sends"
            )
            self._at[line] = None
            return
        if kind == "step":
            self._report(*content)
            return
        if kind == "failed":
            _logger.error("fold %d: %s", fold, content[0])
            self.failures[fold] = content[0]
        else:
            self._done(fold)
        self._give(line)


def _serve(line: Any, job: FoldJob, device: str, threads: int) -> None:
    """What a worker's process does until it is told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads:
        require("torch", extra="llm").set_num_threads(threads)
    with log_to(job.folder / "run.log"):
        while (fold := line.recv()) is not None:
            line.send(_attempt(job, fold, device, line))


def _attempt(job: FoldJob, fold: int, device: str, line: Any) -> tuple[str, ...]:
    try:
        run_fold(job, fold, device=device, report=lambda *told: line.send(("step", *told)))
    except Exception:
        return ("failed", traceback.format_exc())
    return ("done",)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    connection.wait([parent.sentinel])  # type: ignore[union-attr]
    os._exit(1)


def _gpus_in_sight() -> int:
    return require("torch", extra="llm").cuda.device_count()


def _visible(device: str) -> tuple[str, str]:
    """What the process may see, and what its device is called there."""
    if device == "cpu":
        return "", "cpu"
    number = int(device.partition(":")[2] or 0)
    there = [name for name in os.environ.get(_GPUS, "").split(",") if name.strip()]
    return (there[number].strip() if there else str(number)), "cuda:0"


def _threads(device: str, devices: Sequence[str]) -> int:
    """For each worker on the CPU its share of the threads; 0 leaves them as they are."""
    if device != "cpu":
        return 0
    return max(1, require("torch", extra="llm").get_num_threads() // devices.count("cpu"))


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
