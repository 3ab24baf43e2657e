"""The queue of packs of one scorer.

It promises that packs are cut from the whole input, so that an interrupted run and its continuation share their packs,
and that every row is in exactly one pack at a time. It does not know who computes them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_utils.data.batching import token_budget_packs

__all__ = ["PackQueue", "PackTask", "cut_packs"]

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class PackTask:
    """Rows that are scored in one go."""

    scorer: str
    """Name of the scorer."""
    rows: tuple[int, ...]
    """Numbers of the rows in the scorer's ledger, longest first."""
    tokens: int
    """Tokens of the rows, without padding."""
    safe: bool = False
    """For the safer scorer."""
    attempts: int = 0
    """How often it failed or its worker died."""
    refused: frozenset[str] = frozenset()
    """Workers whose device has not enough memory for it."""
    number: int = dataclasses.field(default_factory=lambda: next(_NUMBERS))
    """Name of this attempt."""


def cut_packs(lengths: np.ndarray, rows: Sequence[int], *, max_tokens: int, padded: bool) -> list[tuple[int, ...]]:
    """Cut ``rows`` into packs of at most ``max_tokens``, longest first; a longer row becomes a pack of its own.

    Args:
        lengths: int64 [N], tokens of every row.
        rows: which of them.
        max_tokens: what a pack may cost.
        padded: a pack costs rows x longest, else the sum.

    >>> cut_packs(np.array([3, 9, 4, 4, 20]), range(5), max_tokens=12, padded=True)
    [(4,), (1,), (2, 3, 0)]
    """
    rows = np.asarray(list(rows), dtype=np.int64)
    if not len(rows):
        return []
    own = lengths[rows]
    long = rows[own > max_tokens]
    fitting = rows[own <= max_tokens]
    packs = [(int(row),) for row in long[np.argsort(-lengths[long], kind="stable")]]
    if len(fitting):
        cut = token_budget_packs(lengths[fitting], max_tokens=max_tokens, padded=padded)
        packs += [tuple(fitting[list(pack.rows)].tolist()) for pack in cut]
    return packs


class PackQueue:
    """Packs that wait, longest rows first, rows for the safer scorer last.

    Attributes:
        tokens: tokens of all that waits, but for the safer scorer.
        safe_tokens: tokens that wait for the safer scorer.
        closed: what is put in is dropped.
    """

    def __init__(self, scorer: str, lengths: np.ndarray) -> None:
        self.scorer = scorer
        self.tokens = self.safe_tokens = 0
        self.closed = False
        self._lengths = lengths
        self._waiting: deque[PackTask] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def fill(self, missing: Iterable[int], *, max_tokens: int, padded: bool) -> None:
        """Cut all rows into packs and queue, of each pack, the rows that are missing."""
        wanted = np.zeros(len(self._lengths), dtype=bool)
        wanted[np.asarray(list(missing), dtype=np.int64)] = True
        for pack in cut_packs(self._lengths, range(len(self._lengths)), max_tokens=max_tokens, padded=padded):
            rows = tuple(row for row in pack if wanted[row])
            if rows:
                self._append(self._task(rows))

    def add_safe(self, rows: Iterable[int], *, first: int = 0) -> None:
        """Queue rows for the safer scorer, each alone, behind everything else; the ``first`` of them in front."""
        tasks = [self._task((row,), safe=True) for row in rows]
        self.put_back(tasks[:first])
        for task in tasks[first:]:
            self._append(task)

    def take(self, worker: str, *, budget: int, padded: bool) -> PackTask | None:
        """Return the next pack for a worker, cut to its budget; None where there is none that it may have."""
        for position in range(len(self._waiting)):
            if worker not in self._waiting[position].refused:
                break
        else:
            return None
        task = self._waiting[position]
        del self._waiting[position]
        self._count(task, -1)
        if len(task.rows) > 1 and self.cost(task, padded=padded) > budget:
            parts = cut_packs(self._lengths, task.rows, max_tokens=budget, padded=padded)
            task, *rest = (self._task(rows, safe=task.safe, attempts=task.attempts) for rows in parts)
            self.put_back(rest)
        return task

    def fullest(self, max_tokens: int) -> tuple[int, ...]:
        """Rows of the pack with most tokens that is within ``max_tokens``, or of the smallest; it goes on waiting."""
        waiting = [task for task in self._waiting if not task.safe]
        fitting = [task for task in waiting if task.tokens <= max_tokens]
        if not waiting:
            return ()
        return (max if fitting else min)(fitting or waiting, key=lambda task: task.tokens).rows

    def put_back(self, tasks: Sequence[PackTask]) -> None:
        """Put packs in front, in their order."""
        for task in [] if self.closed else reversed(tasks):
            self._waiting.appendleft(dataclasses.replace(task, number=next(_NUMBERS)))
            self._count(task, 1)

    def drain(self) -> list[PackTask]:
        """Take everything out."""
        tasks = list(self._waiting)
        self._waiting.clear()
        self.tokens = self.safe_tokens = 0
        return tasks

    def close(self) -> None:
        """Drop what waits, and what comes later."""
        self.drain()
        self.closed = True

    def halves(self, task: PackTask) -> list[PackTask]:
        """Return the two halves of a pack with several rows."""
        middle = (len(task.rows) + 1) // 2
        parts = (task.rows[:middle], task.rows[middle:])
        return [self._task(rows, safe=task.safe, attempts=task.attempts) for rows in parts]

    def cost(self, task: PackTask, *, padded: bool) -> int:
        """Tokens that a pack takes on the device."""
        lengths = self._lengths[list(task.rows)]
        return int(len(lengths) * lengths.max() if padded else lengths.sum())

    def _task(self, rows: tuple[int, ...], *, safe: bool = False, attempts: int = 0) -> PackTask:
        return PackTask(self.scorer, rows, int(self._lengths[list(rows)].sum()), safe=safe, attempts=attempts)

    def _append(self, task: PackTask) -> None:
        if not self.closed:
            self._waiting.append(task)
            self._count(task, 1)

    def _count(self, task: PackTask, sign: int) -> None:
        if task.safe:
            self.safe_tokens += sign * task.tokens
        else:
            self.tokens += sign * task.tokens
