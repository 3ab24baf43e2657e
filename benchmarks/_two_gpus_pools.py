"""Pools of workers for the two-GPU benchmark: loaded as a whole before anything is timed.

Loading is counted apart: it begins on all workers of all pools at once, and :func:`load_all` returns when each worker
holds everything that it may be asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.placement import Placement
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.report import ScoreResult
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.workers import Facts, receive

__all__ = ["Machine", "best", "load_all", "placed", "sleeping_judge", "timed"]


@dataclass(frozen=True)
class Machine:
    """Where and how large a run is."""

    devices: tuple[str, str]
    """Two GPUs, or the CPU twice."""
    quick: bool
    """Cut models and few rows."""
    scratch: Path
    """Files of the run; gone afterwards."""
    details: dict[str, Any] = field(default_factory=dict)
    """What is worth keeping besides figures, by part."""

    @property
    def tiny(self) -> bool:
        """A rehearsal on a CPU."""
        return self.devices[0] == "cpu"

    @property
    def layers(self) -> int | None:
        """Decoder layers where a GPU run is cut; None: all."""
        return 6 if self.quick and not self.tiny else None

    @property
    def size(self) -> dict[str, Any]:
        """Arguments that all factories have."""
        return {"tiny": self.tiny, "layers": self.layers}

    @property
    def kind(self) -> str:
        """Workers: processes on GPUs, threads in a rehearsal, where each process would import torch for itself."""
        return "threads" if self.tiny else "processes"

    def count(self, full: int, quick: int = 64, *, tiny: int = 12) -> int:
        """Rows of a part."""
        return tiny if self.tiny else quick if self.quick else full


def placed(name: str, devices: Sequence[str], orders: Sequence[Sequence[str]]) -> Placement:
    """A placement of the benchmark's own."""
    return Placement(name, tuple(devices), tuple(map(tuple, orders)), True, "set by the benchmark")


def load_all(pools: Sequence[WorkerPool]) -> tuple[float, list[str]]:
    """Let every worker build its own scorers, all at the same time; seconds, and what the scorers noted.

    Raises:
        RuntimeError: a scorer that could not be built, or a worker that died.
    """
    started, notes = time.perf_counter(), []
    for pool in pools:
        for worker in pool.start():
            for name in worker.order:
                if name in worker.own:
                    worker.build(name)
    while loading := [pool for pool in pools if any(worker.building for worker in pool.workers)]:
        for pool in loading:
            for worker, (kind, *rest) in receive(pool.workers, timeout=0.05):
                if kind in ("unbuilt", "dead"):
                    raise RuntimeError(f"{worker.label}: {kind}: {' '.join(map(str, rest))}")
                if kind == "note":
                    notes.append(f"{worker.label}: {': '.join(rest)}")
                elif kind == "ready":
                    name, facts = rest
                    worker.building.discard(name)
                    worker.resident[name] = Facts(**facts)
                    pool.speed.loaded(name, facts["seconds"])
    return time.perf_counter() - started, notes


def timed(pool: WorkerPool, specs: Sequence[ScorerSpec], rows: list[np.ndarray], **options: Any) -> ScoreResult:
    """One run of the engine over all rows with each scorer."""
    result = score_rows(rows, specs, devices=pool, self_check=False, progress=False, **options)
    if result.missing:
        raise RuntimeError(f"rows without a result: {result.report.to_text()}")
    return result


def best(pool: WorkerPool, specs: Sequence[ScorerSpec], rows: list[np.ndarray], what: str) -> ScoreResult:
    """The faster of two runs, printed with the share of the time in which each device had nothing to compute."""
    runs = [timed(pool, specs, rows) for _ in range(2)]
    found = min(runs, key=lambda result: result.report.seconds)
    seconds = found.report.seconds
    idle = {label: 1 - tally.seconds / seconds for label, tally in found.report.devices.items()}
    shown = ", ".join(f"{label} idle {share:.0%}" for label, share in idle.items())
    slower, rate = max(run.report.seconds for run in runs), len(specs) * len(rows) / seconds
    print(f"  {what:58} {rate:7.1f} rows/s in {seconds:5.2f} s, slower run {slower:5.2f} s  ({shown})", flush=True)
    return found


class _Sleeping:
    padded, max_tokens = True, 1024

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def score(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        with self._log.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {len(rows)}\n")
        time.sleep(0.02)
        return np.array([[row[0], row[-1], len(row)] for row in rows], dtype=np.float32)


def sleeping_judge(*, device: str, log: str) -> _Sleeping:
    """A judge without a model, for rehearsals in processes."""
    return _Sleeping(log)
