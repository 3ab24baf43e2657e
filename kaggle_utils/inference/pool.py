"""Workers that stay between calls of the engine, so that models are loaded once.

It promises that a worker keeps what it has built until the pool is closed, that one that has died is started again for
the next run, and that no process outlives the pool. Speeds measured in one run serve the next. It does not decide who
does what.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection, Iterable, Sequence

from kaggle_utils.inference.placement import Placement
from kaggle_utils.inference.specs import ScorerSpec, check_sendable
from kaggle_utils.inference.speed import SpeedBook
from kaggle_utils.inference.workers import (
    WORKER_KINDS,
    Facts,
    Worker,
    close_workers,
    receive,
    threads_each,
    worker_labels,
)

__all__ = ["WorkerPool", "pool_problems"]


class WorkerPool:
    """One worker a device for some scorers; a context manager, given to the engine as ``devices``.

    ``with WorkerPool([judge], devices=["cuda:0", "cuda:1"]) as pool: score_jobs(jobs, devices=pool)``

    Attributes:
        specs: its scorers by name.
        devices: one for each worker.
        labels: names of the workers.
        workers: those that were started, in the order of the devices; none before the first run that needs them.
        speed: what was measured so far.
        patience: seconds that workers get to end by themselves.
    """

    def __init__(
        self,
        scorers: Sequence[ScorerSpec],
        *,
        devices: Sequence[str],
        workers: str = "processes",
        placement: Placement | None = None,
        threads: int | None = None,
    ) -> None:
        """Prepare a pool; nothing is started yet.

        Args:
            scorers: what its workers may be asked to build.
            devices: one worker each, see :func:`~kaggle_utils.inference.engine.score_jobs`.
            workers: one of :data:`~kaggle_utils.inference.workers.WORKER_KINDS`.
            placement: which worker begins with which scorer; None begins with a different one on each device.
            threads: of torch in a worker process on a CPU; None shares the machine's cores among them.

        Raises:
            ValueError: contradicting arguments, all named, or scorers that a process could not build.
        """
        self.specs = {spec.name: spec for spec in scorers}
        if problems := pool_problems(self.specs, devices, workers, placement):
            raise ValueError("no worker was started:\n" + "\n".join(f"  - {p}" for p in problems))
        if workers == "processes":
            check_sendable(list(self.specs.values()))
        self.devices, self.labels, self.workers = tuple(devices), worker_labels(devices), []
        self.speed, self.patience = SpeedBook(), 5.0
        self._kind, self._placement = workers, placement
        self._threads = threads_each(devices, workers) if threads is None else threads

    def start(self) -> list[Worker]:
        """Start every worker that is not there or has died; returns all of them."""
        if not self.workers and self._kind == "threads":
            _import_what_judges_need(self.specs.values())
        for index in range(len(self.devices)):
            if index == len(self.workers):
                self.workers.append(self._start(index))
            elif self.workers[index].dead is not None:
                self.restart(index)
        return self.workers

    def restart(self, index: int) -> Worker:
        """Start a worker again; what it knew of its device's memory is kept."""
        old = self.workers[index]
        self.workers[index] = self._start(index)
        self.workers[index].budgets.update(old.budgets)
        return self.workers[index]

    def preload(self) -> None:
        """Let every worker build the scorer that it prefers, while the caller does something else."""
        for worker in self.start():
            first = worker.order[0]
            if first in worker.own and not worker.resident and not worker.building:
                worker.build(first)

    def build(self) -> dict[str, str]:
        """Let every worker build the scorer that it prefers, and wait; return why not, by the worker's label."""
        self.preload()
        while any(worker.building and worker.dead is None for worker in self.workers):
            for worker, (kind, *rest) in receive(self.workers, timeout=1.0):
                if kind == "dead":
                    worker.dead = rest[0]
                elif kind == "ready":
                    worker.building.discard(rest[0])
                    worker.resident[rest[0]] = Facts(**rest[1])
                    self.speed.loaded(rest[0], rest[1]["seconds"])
                elif kind == "unbuilt":
                    worker.building.discard(rest[0])
                    worker.cannot[rest[0]] = rest[1]
        reasons = {worker.label: worker.dead or "; ".join(worker.cannot.values()) for worker in self.workers}
        return {label: reason for label, reason in reasons.items() if reason}

    def seconds_to_load(self) -> float:
        """Estimate how long it takes to build what no worker holds at the moment."""
        held = {name for worker in self.workers if worker.dead is None for name in (*worker.resident, *worker.building)}
        return sum(self.speed.load_seconds(name) for name in self.specs if name not in held)

    def close(self) -> None:
        """Stop all workers; calling it twice does no harm."""
        close_workers(self.workers, seconds=self.patience)
        self.workers = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, index: int) -> Worker:
        names = list(self.specs)
        first = self._placement.orders[index] if self._placement is not None else (names[index % len(names)],)
        order = [*first, *(name for name in names if name not in first)]
        own = order if self._placement is None else first
        return Worker(
            self.labels[index], self.devices[index], self.specs, kind=self._kind, own=own, order=order,
            threads=self._threads,
        )  # fmt: skip


def _import_what_judges_need(specs: Iterable[ScorerSpec]) -> None:
    """Import transformers before threads do: while one imports it, another gets a module that is half there."""
    if any(spec.factory.__module__ == "kaggle_utils.inference.judges" for spec in specs):
        for module in ("torch", "transformers"):
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)


def pool_problems(
    names: Collection[str], devices: Sequence[str], workers: str, placement: Placement | None
) -> list[str]:  # fmt: skip
    """Return everything that is wrong with a pool for scorers of these names; nothing where all is well.

    >>> pool_problems(["judge"], ["cpu"], "threads", None)
    []
    """
    problems = [] if names else ["there is no scorer"]
    if not devices or isinstance(devices, str):
        problems.append(f"devices is {devices!r}, expected a list such as ['cuda:0', 'cuda:1'] or ['cpu']")
    if workers not in WORKER_KINDS:
        problems.append(f"workers is {workers!r}, expected one of {WORKER_KINDS}")
    if placement is not None:
        if tuple(placement.devices) != tuple(devices):
            problems.append(f"the placement is for devices {list(placement.devices)}, not for {list(devices)}")
        unknown = {name for order in placement.orders for name in order} ^ set(names)
        if unknown:
            problems.append(f"placement and scorers do not name the same models: {sorted(unknown)}")
    return problems
