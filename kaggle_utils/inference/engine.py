"""Run many token rows through scorers on several devices.

The engine works on token ids. It knows nothing about prompts or tokenizers. It promises that

- logits come back in the order of the rows, and equal rows are computed once;
- with a store, a run that was killed at any moment and is started again computes only what is missing. A pack is stored
  whole or not at all and packs are cut from the whole input, so the final array equals that of an uninterrupted run to
  the byte wherever the packs are the same: same rows, budget and kind of device, and no memory that ran out between;
- out of memory halves the pack and is remembered for that device; a row that fits nowhere is reported, and so is one
  that fails again and again; rows with logits that are not finite go alone through the scorer's safer path;
- rows whose logits are not finite are counted as done after their safer pass, which has a speed of its own; a scorer
  without one finite row, there and on its safer path, is given up before it takes hours;
- a worker that dies or hangs gives its packs back; a scorer that nobody can go on with is an error, once the others
  are done;
- past the deadline no pack is begun, and none that would not finish by the measured speed;
- a scorer that can check itself does so on a few rows before its first pack, and one that chooses its arithmetic by
  measuring does that once for a run: the store remembers the choice, so a continued run computes as it began.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.placement import Placement
from kaggle_utils.inference.pool import WorkerPool, pool_problems
from kaggle_utils.inference.report import LEFT_BY_DEADLINE, LEFT_BY_END, RowProblem, RunReport, ScoreResult
from kaggle_utils.inference.run_loop import NoWorkersError, RunLoop
from kaggle_utils.inference.specs import Job, ScorerSpec, check_jobs
from kaggle_utils.inference.store import ResultStore

__all__ = ["EngineError", "score_jobs", "score_rows"]


class EngineError(RuntimeError):
    """A run that could not go on with some scorers; the others are done.

    Attributes:
        result: what was done; a store has it too.
        lost: names of the scorers that were given up.
    """

    def __init__(self, message: str, result: ScoreResult, *, lost: Sequence[str] = ()) -> None:
        self.result, self.lost = result, tuple(lost)
        super().__init__(message)


def score_rows(
    rows: Any, scorers: Sequence[ScorerSpec], *, devices: Sequence[str] | WorkerPool, **options: Any
) -> ScoreResult:
    """Score the same rows with several scorers, or rows of their own with each.

    Args:
        rows: a ``TokenRows`` or a sequence of integer arrays for all scorers, or a mapping of them by scorer name.
        scorers: who scores.
        devices: see :func:`score_jobs`.
        options: of :func:`score_jobs`.

    Returns:
        Logits by scorer name.
    """
    if isinstance(rows, Mapping):
        absent = sorted({spec.name for spec in scorers} - set(rows))
        if absent:
            raise ValueError(f"there are no rows for {absent}; there are rows for {sorted(rows)}")
        chosen = [rows[spec.name] for spec in scorers]
    else:
        chosen = [rows] * len(scorers)
    jobs = [Job(spec.name, spec, getattr(own, "ids", own)) for spec, own in zip(scorers, chosen, strict=True)]
    return score_jobs(jobs, devices=devices, **options)


def score_jobs(
    jobs: Sequence[Job],
    *,
    devices: Sequence[str] | WorkerPool,
    store: str | os.PathLike[str] | None = None,
    deadline: float | Deadline | None = None,
    max_tokens: int | None = None,
    workers: str = "processes",
    placement: Placement | None = None,
    restarts: int = 1,
    self_check: bool = True,
    hung_after: float | None = None,
    progress: bool = True,
    peak_flops: float | None = None,
) -> ScoreResult:
    """Score all jobs and return logits in the order of their rows.

    Args:
        jobs: rows and who scores them; jobs of one scorer share its results.
        devices: one worker each: ``["cuda:0", "cuda:1"]``, ``["cpu", "cpu"]``. The text goes to the factories as it is.
            Or a :class:`~kaggle_utils.inference.pool.WorkerPool`, whose workers and placement then serve this call and
            keep what they have loaded for the next one.
        store: SQLite file for results; created, or gone on with.
        deadline: seconds from now, or a moment shared with other calls. Rows that it leaves are named in the report;
            a later call with the same store finishes them.
        max_tokens: what a pack may cost at most, where a scorer's own ``max_tokens`` is more; None: the scorer's own.
        workers: ``"processes"`` or ``"threads"``, see :data:`~kaggle_utils.inference.workers.WORKER_KINDS`. A script
            that uses processes needs ``if __name__ == "__main__":``, as always with spawned processes.
        placement: which worker begins with which scorer; None begins with a different one on each device. Whoever has
            nothing left of its own helps another where that pays.
        restarts: how often a worker that died is started again without having finished a pack in between.
        self_check: let scorers that can compare a few rows with the plain forward before their first pack; one that
            is wrong is not used.
        hung_after: seconds for which a worker process that has work may say nothing; then it is ended as if it had
            died, and the stacks of its threads are on stderr. None: half an hour on a GPU, no limit on a CPU, where
            one pack of a large model can take longer.
        progress: show a bar a device.
        peak_flops: operations a second of a device, for the MFU; None looks the device up.

    Raises:
        ValueError: jobs or options that cannot work, before anything is started.
        EngineError: a scorer that no worker can go on with, once the others are done; carries what was done.
        StoreError: the store cannot be used.
    """
    started = time.monotonic()
    specs = check_jobs(jobs)
    deadline = Deadline.of(deadline)
    shared = devices if isinstance(devices, WorkerPool) else None
    problems = [] if shared else pool_problems(specs, devices, workers, placement)
    _check_options(problems, specs, shared, store, max_tokens, placement, hung_after)
    with contextlib.ExitStack() as stack:
        pool = shared or stack.enter_context(
            WorkerPool(list(specs.values()), devices=devices, workers=workers, placement=placement)
        )
        ledgers = {
            name: Ledger(
                spec,
                [job for job in jobs if job.scorer.name == name],
                store=stack.enter_context(ResultStore(store, spec.fingerprint)) if store is not None else None,
            )
            for name, spec in specs.items()
        }
        loop = RunLoop(
            ledgers, pool, deadline=deadline, max_tokens=max_tokens, restarts=restarts, progress=progress,
            peak_flops=peak_flops, self_check=self_check, hung_after=hung_after,
        )  # fmt: skip
        try:
            loop.run()
        except NoWorkersError as error:
            left = LEFT_BY_DEADLINE if loop.out_of_time else LEFT_BY_END
            result = _result(jobs, ledgers, loop, time.monotonic() - started, left)
            message = f"{error}\n{len(result.missing)} rows are left{_advice(store)}"
            raise EngineError(message, result, lost=error.scorers) from error
        left = LEFT_BY_DEADLINE if loop.out_of_time else LEFT_BY_END
        return _result(jobs, ledgers, loop, time.monotonic() - started, left)


def _check_options(
    problems: list[str],
    specs: Mapping[str, ScorerSpec],
    pool: WorkerPool | None,
    store: object,
    max_tokens: int | None,
    placement: Placement | None,
    hung_after: float | None,
) -> None:
    if hung_after is not None and hung_after <= 0:
        problems.append(f"hung_after is {hung_after}, expected seconds, or None for half an hour on GPUs")
    if max_tokens is not None and max_tokens < 1:
        problems.append(f"max_tokens is {max_tokens}, expected at least 1, or None for the scorers' own")
    nameless = [name for name, spec in specs.items() if store is not None and not spec.fingerprint]
    if nameless:
        problems.append(f"scorers {nameless} have no fingerprint, so their results cannot be stored (run_fingerprint)")
    if pool is not None:
        if placement is not None:
            problems.append("placement is the pool's own; give it to the WorkerPool")
        foreign = [name for name, spec in specs.items() if pool.specs.get(name) != spec]
        if foreign:
            problems.append(f"scorers {foreign} are not the pool's, which has {sorted(pool.specs)}")
    if problems:
        raise ValueError("nothing was scored:\n" + "\n".join(f"  - {p}" for p in problems))


def _result(
    jobs: Sequence[Job], ledgers: Mapping[str, Ledger], loop: RunLoop, seconds: float, left: str
) -> ScoreResult:
    report = RunReport(seconds=seconds, devices=loop.tallies, notes=loop.notes)
    report.from_store = sum(ledger.from_store for ledger in ledgers.values())
    report.duplicates = sum(ledger.duplicates for ledger in ledgers.values())
    report.computed = sum(ledger.computed for ledger in ledgers.values())
    logits: dict[str, np.ndarray] = {}
    for job in jobs:
        ledger = ledgers[job.scorer.name]
        logits[job.name] = ledger.logits(job.name)
        report.safer[job.name] = ledger.rows_of(job.name, ledger.safer)
        report.problems += [RowProblem(job.name, row, reason) for row, reason in ledger.problems(job.name, left=left)]
    return ScoreResult(logits, report)


def _advice(store: object) -> str:
    return "; give a store to keep results" if store is None else f"; what was done is in {store}, start again with it"
