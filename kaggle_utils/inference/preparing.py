"""What a scorer does between being built and its first pack: check some rows, and choose how it computes.

It promises that a choice made by measuring is made once for a run and kind of device, remembered before anything is
computed by it, and followed by every worker and every continuation of the run, so that all rows of a run meet the same
arithmetic. It does not know what there is to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kaggle_utils.inference.feeding import Feeder
from kaggle_utils.inference.ledger import Ledger
from kaggle_utils.inference.worker_loop import Preparation
from kaggle_utils.inference.workers import Worker

__all__ = ["Preparer", "rows_to_check"]

_CHECKED_ROWS = 4
_CHECKED_LENGTH = 128


def rows_to_check(lengths: np.ndarray) -> list[int]:
    """Choose a few short rows of different lengths; row numbers, longest first.

    >>> rows_to_check(np.array([900, 5, 7, 40, 30, 20, 3000]))
    [3, 4, 5, 2]
    """
    order = np.argsort(lengths, kind="stable")
    short = order[lengths[order] <= _CHECKED_LENGTH]
    if len(short) < _CHECKED_ROWS:
        short = order[:_CHECKED_ROWS]
    # The longest of the short ones: a row of two tokens shows little.
    return short[-_CHECKED_ROWS:][::-1].tolist()


class Preparer:
    """Prepares scorers for a run."""

    def __init__(self, ledgers: Mapping[str, Ledger], feeder: Feeder, *, self_check: bool) -> None:
        self._ledgers, self._feeder, self._self_check = ledgers, feeder, self_check
        self._settled: set[tuple[Worker, str]] = set()

    def prepare(self, worker: Worker, workers: Sequence[Worker]) -> None:
        """Let a worker prepare what it has built, and cut packs for it where that was not done.

        Where nothing waits for a scorer, that is put off. Called before a worker is fed, so that it gets no packs for a
        scorer that is not prepared.
        """
        for name in [n for n in worker.order if n in worker.resident and n in self._ledgers]:
            if name not in worker.building and (worker, name) not in self._settled:
                self._built(worker, name, workers)

    def _built(self, worker: Worker, name: str, workers: Sequence[Worker]) -> None:
        facts = worker.resident[name]
        self._feeder.cut(name, max_tokens=facts.max_tokens, padded=facts.padded)
        queue, ledger = self._feeder.queues[name], self._ledgers[name]
        if not len(queue):
            return
        if name in worker.prepared:  # in an earlier run of the pool
            self._settle(worker, name, worker.prepared[name])
            return
        choice = ledger.choice(facts.hardware) if facts.tunes else None
        check = self._self_check and facts.checks
        holders = sum(name in other.resident or name in other.building for other in workers if other.dead is None)
        budget = self._feeder.budget(worker, name)
        what = Preparation(
            check=tuple(ledger.rows[row][:_CHECKED_LENGTH] for row in rows_to_check(ledger.lengths)) if check else (),
            pack=tuple(ledger.rows[row] for row in queue.fullest(budget)) if facts.tunes and choice is None else (),
            choice=choice,
            remaining_tokens=queue.tokens // max(1, holders),
            seconds_left=self._feeder.deadline.left(),
        )
        if what.check or what.pack or choice is not None:
            worker.prepare(name, what)
        else:
            self.prepared(worker, name, None)

    def prepared(self, worker: Worker, name: str, choice: str | None) -> None:
        """A worker is ready for packs; where another one has chosen differently, it follows."""
        worker.building.discard(name)
        worker.prepared[name] = choice
        if name in self._ledgers:
            self._settle(worker, name, choice)

    def died(self, worker: Worker) -> None:
        """A worker died: if it was measuring, nobody tries that again."""
        for name in worker.building & set(worker.resident) & set(self._ledgers):
            facts = worker.resident[name]
            if facts.tunes and name not in worker.prepared:
                self._ledgers[name].choose(facts.hardware, "")

    def _settle(self, worker: Worker, name: str, choice: str | None) -> None:
        held = None if choice is None else self._ledgers[name].choose(worker.resident[name].hardware, choice)
        if held != choice:
            worker.prepare(name, Preparation(choice=held))
        else:
            self._settled.add((worker, name))
