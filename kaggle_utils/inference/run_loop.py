"""One run from its first pack to its last: what workers say, and what happens when something goes wrong.

It promises that every pack ends as a result, a reason or something left, each row exactly once, and that results are
saved pack by pack. It does not know where rows came from or how results are put in order again (``engine``).
"""

from __future__ import annotations

import dataclasses
import logging
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
from kaggle_utils.inference.workers import Facts, Worker, receive

__all__ = ["NoWorkersError", "RunLoop"]

_logger = logging.getLogger(__name__)

_TICK = 1.0
_ATTEMPTS = 2
_ERRORS_IN_A_ROW = 24
_DEATHS_IN_A_ROW = 12


class NoWorkersError(RuntimeError):
    """Nobody is left who could go on."""


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
        max_tokens: int,
        restarts: int,
        progress: bool,
        peak_flops: float | None = None,
        self_check: bool = True,
    ) -> None:
        """Prepare a run by the pool's workers; where nothing is to be done, none is started."""
        self._ledgers, self._pool, self._peak_flops = ledgers, pool, peak_flops
        self._feeder = Feeder(ledgers, deadline=deadline, max_tokens=max_tokens, speed=pool.speed)
        self._preparer = Preparer(ledgers, self._feeder, self_check=self_check)
        self._queues = self._feeder.queues
        self._errors = dict.fromkeys(ledgers, 0)
        self._deaths_in_a_row = 0
        self._short: set[str] = set()
        self.notes: list[str] = []
        self._workers = pool.start() if self._feeder.unfinished else []
        self._restarts = {worker.label: restarts for worker in self._workers}
        self._allowed_restarts = restarts
        self.tallies = {worker.label: DeviceTally() for worker in self._workers}
        for worker in self._workers:  # packs of an earlier run that was broken off are of no interest
            worker.outstanding.clear()
            self._know_hardware(worker)
        rows = sum(len(ledger.missing()) for ledger in ledgers.values())
        self._bars = ProgressBars(list(self.tallies), rows=rows, enabled=progress)

    @property
    def out_of_time(self) -> bool:
        """Whether something was left because of the deadline."""
        return self._feeder.out_of_time

    def run(self) -> None:
        """Work until nothing can be done any more.

        Raises:
            NoWorkersError: work is left, but no worker who could do it.
        """
        self._pool.patience = 0.0
        try:
            while self._feed():
                timeout = min(_TICK, max(0.01, self._feeder.deadline.left()))
                for worker, message in receive(self._workers, timeout=timeout):
                    self._hear(worker, message)
                self._save()
                if self._feeder.overdue(self._workers):
                    break
            self._pool.patience = 1.0 if self.out_of_time else 5.0
        finally:
            self._save()
            left = self._feeder.unfinished or any(worker.outstanding for worker in self._workers)
            self._bars.close(finished=not left)

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
            self._give_up(living)
        return busy

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
        worker.budgets.setdefault(name, min(self._feeder.budget(worker, name), facts["max_tokens"]))
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
        ledger, tally = self._ledgers[task.scorer], self.tallies[worker.label]
        wrong = ledger.record(task.rows, logits, safer=task.safe)
        if wrong and ledger.spec.safe is not None and not task.safe:
            self._queues[task.scorer].add_safe(wrong)
        self._errors[task.scorer] = self._deaths_in_a_row = 0
        self._restarts[worker.label] = self._allowed_restarts
        if not task.safe:
            self._feeder.speed.scored(worker.label, task.scorer, tokens=task.tokens, seconds=seconds)
        rows = 0 if task.safe else len(task.rows)
        flops = worker.resident[task.scorer].flops_per_token
        tally.add(rows=rows, tokens=task.tokens, seconds=seconds, flops_per_token=flops)
        self._bars.update(worker.label, tally, seconds_left=self._feeder.eta(self._workers))

    def _memory(self, worker: Worker, number: int) -> None:
        if (task := worker.outstanding.pop(number, None)) is None:
            return
        queue = self._queues[task.scorer]
        if len(task.rows) == 1:
            queue.put_back([dataclasses.replace(task, refused=task.refused | {worker.label})])
            self._note(f"{worker.label}: a row of {task.tokens:,} tokens does not fit for {task.scorer}")
            return
        cost = queue.cost(task, padded=worker.resident[task.scorer].padded)
        budget = self._feeder.budget(worker, task.scorer)
        if cost > budget and worker.label in self._short:  # it was on its way when memory ran out
            queue.put_back([task])
            return
        self._short.add(worker.label)
        worker.budgets[task.scorer] = max(1, min(budget, cost // 2))
        self._note(f"{worker.label}: out of memory with {cost:,} tokens for {task.scorer}, going on with {cost // 2:,}")
        queue.put_back(queue.halves(task))

    def _error(self, worker: Worker, number: int, text: str) -> None:
        if (task := worker.outstanding.pop(number, None)) is None:
            return
        self._errors[task.scorer] += 1
        _logger.warning("%s: a pack of %d rows for %s failed: %s", worker.label, len(task.rows), task.scorer, text)
        if self._errors[task.scorer] >= _ERRORS_IN_A_ROW:
            times = f"failed {_ERRORS_IN_A_ROW} times in a row"
            raise NoWorkersError(f"scorer {task.scorer!r} {times}; the last time: {text}")
        self._again(task, f"failed: {text}")

    def _dead(self, worker: Worker, reason: str) -> None:
        worker.dead = reason
        self._preparer.died(worker)
        self._note(f"{worker.label} is lost: {reason}; its {len(worker.outstanding)} packs go back to the queue")
        self._deaths_in_a_row += 1
        for task in reversed(worker.outstanding.values()):
            if len(worker.outstanding) > 1:  # innocent, perhaps
                self._queues[task.scorer].put_back([dataclasses.replace(task, attempts=max(1, task.attempts))])
            elif self._again(task, f"failed: the worker was lost with it {_ATTEMPTS} times ({reason})"):
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

    # ------------------------------------------------------------------ when things go wrong

    def _again(self, task: PackTask, reason: str) -> bool:
        """Queue a failed pack again, after some attempts in halves, so that one bad row takes no others along.

        Returns whether that came closer to the row that is to blame.
        """
        queue = self._queues[task.scorer]
        task = dataclasses.replace(task, attempts=task.attempts + 1)
        if task.attempts < _ATTEMPTS:
            queue.put_back([task])
            return False
        if len(task.rows) > 1:
            queue.put_back([dataclasses.replace(half, attempts=_ATTEMPTS - 1) for half in queue.halves(task)])
        else:
            self._ledgers[task.scorer].fail(task.rows, reason)
        return True

    def _give_up(self, living: Sequence[Worker]) -> None:
        """Nobody does anything, but something waits: rows that fit nowhere are given up, anything else is an error."""
        for name, queue in self._queues.items():
            tasks = queue.drain()
            queue.put_back([task for task in tasks if not task.refused])
            for task in tasks:
                if task.refused:
                    self._ledgers[name].fail(task.rows, "does not fit into the memory of any device")
        names = self._feeder.unfinished
        if names:
            unbuilt = ["; ".join(f"{name}: {text}" for name, text in w.cannot.items()) for w in self._workers]
            reasons = [f"{w.label}: {w.dead or text}" for w, text in zip(self._workers, unbuilt, strict=True)]
            raise NoWorkersError(
                f"no worker is left for {', '.join(names)} ({len(living)} of {len(self._workers)} alive):\n"
                + "\n".join(f"  - {reason}" for reason in reasons)
            )

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
