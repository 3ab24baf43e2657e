"""What a free worker does next: another pack, another scorer, or nothing.

It promises that no pack is begun that would not finish before the deadline by the measured speed, and that a device
helps with another's model only where that pays. It does not send or hear anything itself but through workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.dispatch import PackQueue, PackTask
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.speed import SpeedBook, safer_path
from kaggle_utils.inference.workers import Worker

__all__ = ["Feeder"]


class Feeder:
    """The queues of all scorers and the rules by which workers are served from them.

    Attributes:
        queues: packs that wait, by scorer.
        speed: what was measured.
        deadline: when to stop.
        out_of_time: something was left because of the deadline.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        *,
        deadline: Deadline,
        max_tokens: int | None = None,
        speed: SpeedBook | None = None,
    ) -> None:
        self.queues = {name: PackQueue(name, ledger.lengths) for name, ledger in ledgers.items()}
        self.speed = SpeedBook() if speed is None else speed
        self.deadline = deadline
        self.out_of_time = False
        self._ledgers, self._max_tokens = ledgers, max_tokens
        self._uncut = {name for name, ledger in ledgers.items() if _has_work(ledger)}

    @property
    def unfinished(self) -> list[str]:
        """Scorers for which something waits."""
        return [name for name, queue in self.queues.items() if name in self._uncut or len(queue)]

    def cut(self, name: str, *, max_tokens: int, padded: bool) -> None:
        """Cut a scorer's rows into packs, the first time that one is built."""
        if name not in self._uncut:
            return
        self._uncut.discard(name)
        ledger = self._ledgers[name]
        padded = padded if ledger.spec.padded is None else ledger.spec.padded
        self.queues[name].fill(ledger.missing(), max_tokens=_least(self._max_tokens, max_tokens), padded=padded)
        self.queues[name].add_safe(sorted(ledger.awaiting))

    def drop(self, name: str) -> None:
        """Give a scorer's work up, what comes back included."""
        self._uncut.discard(name)
        self.queues[name].close()

    def feed(self, worker: Worker, workers: Sequence[Worker]) -> str | None:
        """Give a worker that is not building what it can have; return the scorer that it is to build, or None."""
        # One pack more than are on the device, so that the next is there when one of them is done. Without a measured
        # speed a deadline allows one at a time: the next might not finish.
        depth = 1 + max((facts.depth for facts in worker.resident.values()), default=1)
        if self.deadline.set and not self.speed.measured(worker.label):
            depth = 1
        # A pack that went wrong runs alone, so that the next time it is clear who is to blame.
        while len(worker.outstanding) < depth and not any(task.attempts for task in worker.outstanding.values()):
            task = self._next_task(worker)
            if task is None:
                break
            if task.attempts and worker.outstanding:
                self.queues[task.scorer].put_back([task])
                break
            rows = [self._ledgers[task.scorer].rows[row] for row in task.rows]
            worker.give(task, np.concatenate(rows), np.array([len(row) for row in rows]))
        return None if worker.outstanding else self._next_scorer(worker, workers)

    def budget(self, worker: Worker, name: str) -> int:
        """Largest pack of a scorer that a worker holds: by the run's limit, the scorer's own and the memory."""
        return _least(self._max_tokens, worker.budgets.get(name), worker.resident[name].max_tokens)

    def eta(self, workers: Sequence[Worker]) -> float | None:
        """Estimate the seconds until all is done."""
        waiting = {name: queue.tokens for name, queue in self.queues.items()}
        waiting |= {safer_path(name): queue.safe_tokens for name, queue in self.queues.items()}
        for name in self._uncut:
            waiting[name] = int(self._ledgers[name].lengths[self._ledgers[name].missing()].sum())
        for worker in workers:
            for task in worker.outstanding.values():
                waiting[_path(task)] += task.tokens
        return self.speed.eta(waiting, workers=sum(worker.dead is None for worker in workers))

    def overdue(self, workers: Sequence[Worker]) -> bool:
        """Whether the deadline is over by more than a pack takes, so that waiting makes no sense."""
        if self.deadline.left() > 0:
            return False
        loading = all(worker.building for worker in workers if worker.dead is None)
        hanging = self.deadline.left() < -max(1.0, 2 * self.speed.slowest_pack)
        self.out_of_time = self.out_of_time or loading or hanging or bool(self.unfinished)
        return loading or hanging

    def _next_task(self, worker: Worker) -> PackTask | None:
        for name in worker.order:
            facts = worker.resident.get(name)
            if facts is None or name not in self.queues:
                continue
            task = self.queues[name].take(worker.label, budget=self.budget(worker, name), padded=facts.padded)
            if task is None:
                continue
            if self._in_time(worker, task):
                return task
            self.queues[name].put_back([task])
            self.out_of_time = True
        return None

    def _in_time(self, worker: Worker, task: PackTask) -> bool:
        if not self.deadline.set:
            return True
        ahead = task.tokens + sum(other.tokens for other in worker.outstanding.values() if other.safe == task.safe)
        return self.deadline.left() > (self.speed.seconds(worker.label, _path(task), tokens=ahead) or 0.0)

    def _next_scorer(self, worker: Worker, workers: Sequence[Worker]) -> str | None:
        for name in worker.order:
            if name in self.unfinished and name not in worker.resident and name not in worker.cannot:
                if self.deadline.left() <= self.speed.load_seconds(name):
                    self.out_of_time = True
                elif self._pays(worker, workers, name):
                    return name
        return None

    def _pays(self, worker: Worker, workers: Sequence[Worker], name: str) -> bool:
        """Nobody else has the scorer or will have it, or much more work is left than building takes."""
        others = [other for other in workers if other is not worker and other.dead is None]
        if name in self._uncut and name not in worker.own:
            return not any(name in other.own and name not in other.cannot for other in others)
        holders = [other for other in others if name in other.resident or name in other.building]
        if not holders or name in self._uncut:
            return True
        remaining = self.speed.seconds(None, name, tokens=self.queues[name].tokens)
        return remaining is None or remaining / len(holders) > 2 * self.speed.load_seconds(name)


def _has_work(ledger: Ledger) -> bool:
    return bool(len(ledger.missing()) or ledger.awaiting)


def _least(*limits: int | None) -> int:
    return min(limit for limit in limits if limit is not None)


def _path(task: PackTask) -> str:
    return safer_path(task.scorer) if task.safe else task.scorer
