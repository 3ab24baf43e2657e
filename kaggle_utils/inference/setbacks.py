"""What a pack that went wrong means for the run: another try, smaller packs, a row given up, or a scorer given up.

It promises that a bad row takes no other along, and that a scorer that cannot go on (no worker can build it, it always
fails, its weights are damaged) is given up alone: the others finish. It does not hear workers itself (``run_loop``).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from kaggle_utils.inference.dispatch import PackTask
from kaggle_utils.inference.feeding import Feeder
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.report import LEFT_BY_END
from kaggle_utils.inference.workers import Worker

__all__ = ["Setbacks"]

_logger = logging.getLogger(__name__)

_ATTEMPTS = 2
_ERRORS_IN_A_ROW = 24
_DAMAGED = 4  # rows without one finite among them, before anything is suspected
_TRIED_SAFER = 2  # of them on the safer path, before the scorer is given up


class Setbacks:
    """Decides what is done about packs that failed.

    Attributes:
        lost: scorers that were given up, with the reason.
    """

    def __init__(self, ledgers: Mapping[str, Ledger], feeder: Feeder, note: Callable[[str], None]) -> None:
        """Queue again in ``feeder``, give rows up in ``ledgers``, and tell ``note`` what happened."""
        self._ledgers, self._feeder, self._note = ledgers, feeder, note
        self._errors = dict.fromkeys(ledgers, 0)
        self._unmended = dict.fromkeys(ledgers, 0)
        self._told: set[str] = set()
        self._tried: set[str] = set()
        self._short: set[str] = set()
        self.lost: dict[str, str] = {}

    def worked(self, task: PackTask) -> None:
        """A pack was scored."""
        self._errors[task.scorer] = 0

    def memory(self, worker: Worker, task: PackTask) -> None:
        """A device was too small for a pack: smaller ones from now on, and a single row for another device."""
        queue = self._feeder.queues[task.scorer]
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

    def error(self, worker: Worker, task: PackTask, text: str) -> None:
        """A scorer raised; one that does nothing else is given up."""
        self._errors[task.scorer] += 1
        _logger.warning("%s: a pack of %d rows for %s failed: %s", worker.label, len(task.rows), task.scorer, text)
        self.again(task, f"failed: {text}")
        if self._errors[task.scorer] >= _ERRORS_IN_A_ROW:
            times = f"failed {_ERRORS_IN_A_ROW} times in a row"
            self._lose(task.scorer, f"scorer {task.scorer!r} {times}; the last time: {text}")

    def worker_died(self, tasks: Sequence[PackTask], reason: str) -> bool:
        """Queue the packs of a worker that died; tell whether that came closer to the row that is to blame."""
        closer = False
        for task in reversed(tasks):
            if len(tasks) > 1:  # innocent, perhaps
                suspect = dataclasses.replace(task, attempts=max(1, task.attempts))
                self._feeder.queues[task.scorer].put_back([suspect])
            else:
                closer = self.again(task, f"failed: the worker was lost with it {_ATTEMPTS} times ({reason})")
        return closer

    def again(self, task: PackTask, reason: str) -> bool:
        """Queue a failed pack again, after some attempts in halves, so that one bad row takes no others along.

        Returns whether that came closer to the row that is to blame.
        """
        queue = self._feeder.queues[task.scorer]
        task = dataclasses.replace(task, attempts=task.attempts + 1)
        if task.attempts < _ATTEMPTS:
            queue.put_back([task])
            return False
        if len(task.rows) > 1:
            queue.put_back([dataclasses.replace(half, attempts=_ATTEMPTS - 1) for half in queue.halves(task)])
        else:
            self._ledgers[task.scorer].fail(task.rows, reason)
        return True

    def not_finite(self, worker: Worker, task: PackTask, rows: Sequence[int]) -> None:
        """Some rows of a pack have logits that are not finite: they go alone through the safer path.

        Where no row at all was finite so far, some do so at once. If they are no better, the weights are damaged, and
        hours on the safer path would not mend them.
        """
        name, ledger = task.scorer, self._ledgers[task.scorer]
        if name not in self._told:
            self._told.add(name)
            then = "such rows are reported" if ledger.spec.safe is None else "such rows go alone through its safer path"
            found = f"{len(rows)} of {len(task.rows)} rows of a pack for {name} have logits that are not finite"
            self._note(f"{worker.label}: {found}; {then}")
        count = len(ledger.not_finite())
        damaged = not ledger.finite and count >= _DAMAGED
        if task.safe:
            self._unmended[name] += len(rows)
        elif ledger.spec.safe is not None:
            suspected = damaged and name not in self._tried
            if suspected:
                self._tried.add(name)
            self._feeder.queues[name].add_safe(rows, first=_TRIED_SAFER if suspected else 0)
        if damaged and self._unmended[name] >= _TRIED_SAFER:
            self._lose(
                name,
                f"scorer {name!r} gave no finite logits for its first {count} rows, nor for the {self._unmended[name]} "
                "of them that went through its safer path; expected finite numbers. Its weights are damaged, or its "
                "adapter is not theirs: check the files of both",
            )

    def nobody_goes_on(self, workers: Sequence[Worker]) -> None:
        """Nobody does anything, but something waits: give up rows that fit nowhere, and scorers that nobody has."""
        for name, queue in self._feeder.queues.items():
            tasks = queue.drain()
            queue.put_back([task for task in tasks if not task.refused])
            for task in tasks:
                if task.refused:
                    self._ledgers[name].fail(task.rows, "does not fit into the memory of any device")
        names = self._feeder.unfinished
        alive = sum(worker.dead is None for worker in workers)
        for name in names:
            reasons = [f"  - {w.label}: {w.dead or w.cannot.get(name, 'it has not built it')}" for w in workers]
            head = f"no worker is left for {name} ({alive} of {len(workers)} alive):"
            self._lose(name, "\n".join([head, *reasons]))

    def _lose(self, name: str, reason: str) -> None:
        if name in self.lost:
            return
        self.lost[name] = reason
        _logger.error("%s", reason)
        ledger = self._ledgers[name]
        ledger.fail([*ledger.missing().tolist(), *ledger.awaiting], LEFT_BY_END)
        self._feeder.drop(name)
