"""One run from its first pack to its last: what workers say, and what happens when something goes wrong.

It promises that every pack ends as a result, a reason or something left, each row exactly once, and that results are
saved pack by pack. It does not know where rows came from or how results are put in order again (``engine``).
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.dispatch import PackTask
from kaggle_utils.inference.feeding import Feeder
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.preparing import Preparer
from kaggle_utils.inference.progress import DeviceTally, ProgressBars, peak_flops_of
from kaggle_utils.inference.setbacks import Setbacks
from kaggle_utils.inference.workers import Facts, Worker, receive

__all__ = ["NoWorkersError", "RunLoop"]

_logger = logging.getLogger(__name__)

_TICK = 1.0
_DEATHS_IN_A_ROW = 12
_HUNG_AFTER = 1800.0  # a GPU takes seconds for a pack, and minutes to load or compile


class NoWorkersError(RuntimeError):
    """Nobody is left who could go on with some scorers; the others are done. ``scorers`` names those given up."""

    def __init__(self, lost: Mapping[str, str]) -> None:
        self.scorers = tuple(lost)
        super().__init__("\n".join(lost.values()))


class RunLoop:
    """Feeds workers from one queue a scorer until everything is done, given up or out of time.

    Attributes:
        tallies: what each worker did.
        notes: what went wrong, in words.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        pool: WorkerPool,
        *,
        deadline: Deadline,
        max_tokens: int | None,
        restarts: int,
        progress: bool,
        peak_flops: float | None = None,
        self_check: bool = True,
        hung_after: float | None = None,
    ) -> None:
        """Prepare a run by the pool's workers; where nothing is to be done, none is started."""
        self._ledgers, self._pool, self._peak_flops = ledgers, pool, peak_flops
        self._feeder = Feeder(ledgers, deadline=deadline, max_tokens=max_tokens, speed=pool.speed)
        self._preparer = Preparer(ledgers, self._feeder, self_check=self_check)
        self._setbacks = Setbacks(ledgers, self._feeder, self._note)
        self._deaths_in_a_row, self._hung_after = 0, hung_after
        self.notes: list[str] = []
        self._workers = pool.start() if self._feeder.unfinished else []
        self._restarts = {worker.label: restarts for worker in self._workers}
        self._allowed_restarts = restarts
        self.tallies = {worker.label: DeviceTally() for worker in self._workers}
        for worker in self._workers:  # packs of an earlier run that was broken off are of no interest
            worker.outstanding.clear()
            self._know_hardware(worker)
        rows = sum(len(ledger.missing()) + len(ledger.awaiting) for ledger in ledgers.values())
        self._bars = ProgressBars(list(self.tallies), rows=rows, enabled=progress)

    @property
    def out_of_time(self) -> bool:
        """Whether something was left because of the deadline."""
        return self._feeder.out_of_time

    def run(self) -> None:
        """Work until nothing can be done any more.

        Raises:
            NoWorkersError: scorers had to be given up; what could be done of the others is done.
        """
        self._pool.patience = 0.0
        try:
            while self._feed():
                timeout = min(_TICK, max(0.01, self._feeder.deadline.left()))
                for worker, message in receive(self._workers, timeout=timeout):
                    self._hear(worker, message)
                self._end_hung()
                self._save()
                if self._feeder.overdue(self._workers):
                    break
            self._pool.patience = 1.0 if self.out_of_time else 5.0
        finally:
            self._save()
            left = self._feeder.unfinished or any(worker.outstanding for worker in self._workers)
            self._bars.close(finished=not left and not self._setbacks.lost)
        if self._setbacks.lost:
            raise NoWorkersError(self._setbacks.lost)

    def _feed(self) -> bool:
        """Give every free worker something to do; False when nobody does anything any more."""
        living = [worker for worker in self._workers if worker.dead is None]
        for worker in living:
            self._preparer.prepare(worker, self._workers)
            name = None if worker.building else self._feeder.feed(worker, self._workers)
            if name is not None:
                beside = self._ledgers[name].spec.fits_beside
                worker.build(name, drop=() if beside else tuple(worker.resident))
            if worker.building:
                verb = "preparing" if worker.building <= set(worker.resident) else "loading"
                self._bars.note(worker.label, f"{verb} {', '.join(sorted(worker.building))}")
        unfinished = bool(self._feeder.unfinished)
        busy = any(worker.outstanding or (worker.building and unfinished) for worker in living)
        if not busy and unfinished and not self.out_of_time:
            self._setbacks.nobody_goes_on(self._workers)
        return busy

    def _end_hung(self) -> None:
        """Workers that will never answer are killed, and that is a death like any other; a thread cannot be killed."""
        for worker in self._workers:
            # One row on a safer path, which may be the CPU, can take any time.
            if worker.dead or worker.pid is None or any(task.safe for task in worker.outstanding.values()):
                continue
            limit = self._hung_after or (_HUNG_AFTER if worker.device.startswith("cuda") else math.inf)
            if worker.silent > limit:
                what = f"preparing {', '.join(sorted(worker.building))}" if worker.building else "scoring a pack"
                reason = f"it was {what} and said nothing for {limit:.0f} s, so it was taken for hung and ended"
                worker.kill(stacks=True)
                self._dead(worker, reason)

    # ------------------------------------------------------------------ what workers say

    def _hear(self, worker: Worker, message: tuple) -> None:
        kind, *rest = message
        if worker.dead is None:
            {"ready": self._ready, "unbuilt": self._unbuilt, "done": self._done, "memory": self._memory,
             "error": self._error, "dead": self._dead, "prepared": self._prepared,
             "note": self._scorer_note}[kind](worker, *rest)  # fmt: skip

    def _ready(self, worker: Worker, name: str, facts: dict) -> None:
        worker.building.discard(name)
        worker.resident[name] = Facts(**facts)
        self.tallies[worker.label].load_seconds += facts["seconds"]
        self._know_hardware(worker)
        self._feeder.speed.loaded(name, facts["seconds"])

    def _prepared(self, worker: Worker, name: str, choice: str | None, seconds: float) -> None:
        self.tallies[worker.label].load_seconds += seconds
        self._preparer.prepared(worker, name, choice)

    def _unbuilt(self, worker: Worker, name: str, text: str) -> None:
        worker.building.discard(name)
        worker.resident.pop(name, None)
        worker.cannot[name] = text
        self._note(f"{worker.label} could not build {name}: {text}")

    def _scorer_note(self, worker: Worker, name: str, text: str) -> None:
        _logger.info("%s: %s: %s", worker.label, name, text)
        self.notes.append(f"{worker.label}: {name}: {text}")

    def _done(self, worker: Worker, number: int, logits: np.ndarray, seconds: float) -> None:
        if (task := worker.outstanding.pop(number, None)) is None:
            return
        wrong = self._ledgers[task.scorer].record(task.rows, logits, safer=task.safe)
        self._deaths_in_a_row = 0
        self._setbacks.worked(task)
        self._restarts[worker.label] = self._allowed_restarts
        self._count(worker, task, seconds, wrong)
        if wrong:
            self._setbacks.not_finite(worker, task, wrong)
        self._show(worker)

    def _count(self, worker: Worker, task: PackTask, seconds: float, wrong: Sequence[int]) -> None:
        """Rows count once they are through: those that the safer path will have, after that."""
        tally = self.tallies[worker.label]
        self._feeder.speed.scored(worker.label, task.scorer, tokens=task.tokens, seconds=seconds, safer=task.safe)
        if task.safe:
            tally.add_safer(rows=len(task.rows), seconds=seconds)
        else:
            put_off = sum(row in self._ledgers[task.scorer].awaiting for row in wrong)
            flops = worker.resident[task.scorer].flops_per_token
            tally.add(rows=len(task.rows) - put_off, tokens=task.tokens, seconds=seconds, flops_per_token=flops)

    def _show(self, worker: Worker) -> None:
        safer_left = sum(len(ledger.awaiting) for ledger in self._ledgers.values())
        eta = self._feeder.eta(self._workers)
        self._bars.update(worker.label, self.tallies[worker.label], seconds_left=eta, safer_left=safer_left)

    def _memory(self, worker: Worker, number: int) -> None:
        if (task := worker.outstanding.pop(number, None)) is not None:
            self._setbacks.memory(worker, task)

    def _error(self, worker: Worker, number: int, text: str) -> None:
        if (task := worker.outstanding.pop(number, None)) is not None:
            self._setbacks.error(worker, task, text)

    def _dead(self, worker: Worker, reason: str) -> None:
        worker.dead = reason
        self._preparer.died(worker)
        self._note(f"{worker.label} is lost: {reason}; its {len(worker.outstanding)} packs go back to the queue")
        self._deaths_in_a_row += 1
        if self._setbacks.worker_died(list(worker.outstanding.values()), reason):
            self._restarts[worker.label] = self._allowed_restarts
        worker.outstanding.clear()
        index = self._workers.index(worker)
        worker.close(seconds=0)
        hopeless = self._restarts[worker.label] < 1 or self._deaths_in_a_row > _DEATHS_IN_A_ROW
        if not hopeless and self._feeder.unfinished and self._feeder.deadline.left() > 0:
            self._restarts[worker.label] -= 1
            self._pool.restart(index)
            self._note(f"{worker.label} was started again")

    def _know_hardware(self, worker: Worker) -> None:
        for facts in worker.resident.values():
            one = peak_flops_of(facts.hardware)
            found = one and one * len(worker.device.split(","))  # a scorer may span several devices
            self.tallies[worker.label].peak_flops = self._peak_flops or found

    def _save(self) -> None:
        try:
            for ledger in self._ledgers.values():
                ledger.save()
        except sqlite3.Error as error:  # a full disk, say: what is computed is still worth having
            note = f"results could not be stored: {type(error).__name__}: {error}"
            if note not in self.notes:
                self._note(note)

    def _note(self, text: str) -> None:
        _logger.warning("%s", text)
        self.notes.append(text)
