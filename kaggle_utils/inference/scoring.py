"""Answer pairs to probabilities: judges, both orders, ensemble, rules; what a notebook calls.

It promises one row of probabilities for every row of the table, in its order, and that rows without an answer are named
and nan, never filled in silently. Scoring itself is the engine's, and everything it promises holds here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.data.probabilities import softmax
from kaggle_utils.inference.answer_rules import AnswerRules
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.engine import score_jobs
from kaggle_utils.inference.ensemble import weighted_mean
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.report import RunReport
from kaggle_utils.inference.specs import Job, ScorerSpec
from kaggle_utils.inference.store import ResultStore
from kaggle_utils.inference.tta import least_certain, merge_orders, rows_within_time, swap_columns

__all__ = ["SWAPS", "Judge", "PairScores", "score_pairs"]

_logger = logging.getLogger(__name__)

SWAPS = ("none", "all", "uncertain", "time")
"""Which rows are scored in both orders: none, all, the least certain share, or as many of the least certain as the
deadline leaves time for."""


@dataclass(frozen=True)
class Judge:
    """A model and how it reads pairs."""

    spec: ScorerSpec
    """How it is built; its name is the judge's."""
    tokenizer: Any
    """A ``data.tokenization.PairTokenizer``, or anything with ``encode(pairs, swapped=...)``."""
    weight: float = 1.0
    """Share in the mean."""
    temperature: float = 1.0
    """Logits are divided by it."""
    swapped: bool = False
    """It reads B first. With one judge of two reading the other order, both orders come at no extra cost."""

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self.spec.name


@dataclass(frozen=True, eq=False)
class PairScores:
    """Probabilities and how they came about; ``numpy.asarray`` of it gives the probabilities."""

    probabilities: np.ndarray
    """float64 [N, C] in the order of the table; rows without an answer are nan."""
    by_judge: Mapping[str, np.ndarray]
    """The same for each judge alone, both orders merged, without rules and prior."""
    swapped_rows: np.ndarray
    """Rows that were scored in both orders, int64."""
    reports: Sequence[RunReport] = field(default_factory=tuple)
    """Of the engine's runs. Their row numbers count the readable rows that the run was given."""

    @property
    def missing(self) -> list[int]:
        """Rows without an answer, ascending."""
        return np.flatnonzero(~np.isfinite(self.probabilities).all(axis=1)).tolist()

    def filled(self, prior: np.ndarray) -> np.ndarray:
        """Return the probabilities with ``prior`` [C] in the missing rows; a last resort for a submission."""
        return np.where(np.isfinite(self.probabilities), self.probabilities, np.asarray(prior, dtype=np.float64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.probabilities, dtype=dtype)


def score_pairs(
    table: Any,
    judges: Sequence[Judge],
    *,
    devices: Sequence[str] | WorkerPool,
    swap: str = "none",
    swap_share: float = 0.3,
    prior: np.ndarray | None = None,
    rules: AnswerRules | None = None,
    store: str | os.PathLike[str] | None = None,
    deadline: float | Deadline | None = None,
    **options: Any,
) -> PairScores:
    """Score every pair of ``table`` with every judge. Workers load their models while the pairs are tokenised.

    Args:
        table: a ``data.pairs.PairTable``.
        judges: at least one; their scorers' names differ.
        devices: see :func:`~kaggle_utils.inference.engine.score_jobs`.
        swap: one of :data:`SWAPS`. The last two score all rows in one order first, and then some in the other; models
            stay loaded in between.
        swap_share: for ``"uncertain"``: share of the rows.
        prior: class prior [C] for rows that could not be read; needed when there are any.
        rules: answers for empty and identical responses, see :func:`~kaggle_utils.inference.answer_rules.fit_rules`.
        store: SQLite file of results.
        deadline: seconds from now or a moment; needed for ``swap="time"``.
        options: of :func:`~kaggle_utils.inference.engine.score_jobs`.

    Raises:
        ValueError: contradicting arguments, all named.
        EngineError: no worker is left.
    """
    deadline = Deadline.of(deadline)
    readable = np.flatnonzero(table.readable)
    _check(table, judges, swap, prior, deadline, unreadable=len(table.pairs) - len(readable))
    with contextlib.ExitStack() as stack:
        pool = devices
        if not isinstance(devices, WorkerPool):
            of_pool = {name: options.pop(name) for name in ("workers", "placement") if name in options}
            pool = stack.enter_context(WorkerPool([judge.spec for judge in judges], devices=devices, **of_pool))
        if len(readable) and not _nearly_done(store, judges, len(readable)):
            pool.preload()
        run = _Run(table, judges, pool, {"store": store, "deadline": deadline, **options})
        run.score(readable, both_orders=swap == "all")
        if swap in ("uncertain", "time"):
            rows = run.worth_swapping(swap, swap_share, deadline)
            _logger.info("%d of %d rows are scored in the other order too", len(rows), len(readable))
            run.score_other_order(rows)
    mixed = weighted_mean(list(run.by_judge.values()), [judge.weight for judge in judges])
    if rules is not None:
        mixed = rules.apply(mixed, table.pairs)
    unread = np.setdiff1d(np.arange(len(table.pairs)), readable)
    if len(unread):
        mixed[unread] = prior
    return PairScores(mixed, run.by_judge, run.swapped_rows, tuple(run.reports))


class _Run:
    """The state of one call."""

    def __init__(self, table: Any, judges: Sequence[Judge], pool: WorkerPool, options: dict[str, Any]) -> None:
        self._table, self._judges, self._pool, self._options = table, judges, pool, options
        self._lengths = np.zeros(len(table.pairs), dtype=np.int64)
        self.by_judge: dict[str, np.ndarray] = {}
        self.swapped_rows = np.empty(0, dtype=np.int64)
        self.reports: list[RunReport] = []

    def score(self, rows: np.ndarray, *, both_orders: bool) -> None:
        pairs = [self._table.pairs[row] for row in rows]
        jobs = []
        for judge in self._judges:
            encoded = judge.tokenizer.encode(pairs, swapped=judge.swapped)
            self._lengths[rows] += encoded.lengths
            jobs.append(Job(judge.name, judge.spec, encoded.ids))
            if both_orders:
                jobs.append(self._other(judge, pairs))
        logits = self._run(jobs)
        for judge in self._judges:
            own = np.full((len(self._table.pairs), judge.spec.num_labels), np.nan)
            own[rows] = _probabilities(judge, logits[judge.name], judge.swapped)
            self.by_judge[judge.name] = own
        if both_orders:
            self._merge(rows, logits)

    def score_other_order(self, rows: np.ndarray) -> None:
        if len(rows):
            pairs = [self._table.pairs[row] for row in rows]
            self._merge(rows, self._run([self._other(judge, pairs) for judge in self._judges]))

    def worth_swapping(self, swap: str, share: float, deadline: Deadline) -> np.ndarray:
        mixed = weighted_mean(list(self.by_judge.values()), [judge.weight for judge in self._judges])
        if swap == "uncertain":
            return np.sort(least_certain(mixed, share=share))
        loading = self._pool.seconds_to_load()
        speed = self.reports[0].tokens_per_second or 0.0  # nothing was computed: all from the store, speed unknown
        rows = rows_within_time(mixed, self._lengths, seconds=0.9 * deadline.left() - loading, tokens_per_second=speed)
        return np.sort(rows)

    def _other(self, judge: Judge, pairs: list[Any]) -> Job:
        rows = judge.tokenizer.encode(pairs, swapped=not judge.swapped).ids
        return Job(f"{judge.name}/other order", judge.spec, rows)

    def _merge(self, rows: np.ndarray, logits: Mapping[str, np.ndarray]) -> None:
        done = np.zeros(len(rows), dtype=bool)
        for judge in self._judges:
            other = _probabilities(judge, logits[f"{judge.name}/other order"], not judge.swapped)
            # merge_orders turns its second argument round, and these columns are right already.
            self.by_judge[judge.name] = merge_orders(self.by_judge[judge.name], swap_columns(other), rows=rows)
            done |= np.isfinite(other).all(axis=1)
        self.swapped_rows = rows[done]

    def _run(self, jobs: list[Job]) -> Mapping[str, np.ndarray]:
        result = score_jobs(jobs, devices=self._pool, **self._options)
        self.reports.append(result.report)
        _logger.info("%s", result.report.to_text())
        return result.logits


def _nearly_done(store: str | os.PathLike[str] | None, judges: Sequence[Judge], rows: int) -> bool:
    """Whether an earlier run may have left little or nothing to do, so that loading models can wait."""
    if store is None or not Path(store).exists() or not all(judge.spec.fingerprint for judge in judges):
        return False
    for judge in judges:
        with ResultStore(store, judge.spec.fingerprint) as results:
            if 2 * len(results) >= rows:
                return True
    return False


def _probabilities(judge: Judge, logits: np.ndarray, swapped: bool) -> np.ndarray:
    """Probabilities with the columns of the table's own order: float64 [N, C]."""
    probabilities = softmax(np.asarray(logits, dtype=np.float64) / judge.temperature)
    return swap_columns(probabilities) if swapped else probabilities


def _check(
    table: Any, judges: Sequence[Judge], swap: str, prior: np.ndarray | None, deadline: Deadline, *, unreadable: int
) -> None:
    problems = []
    if not judges:
        problems.append("there is no judge")
    labels = {judge.spec.num_labels for judge in judges}
    if len(labels) > 1:
        problems.append(f"judges have {sorted(labels)} labels; they must agree")
    if getattr(table, "num_labels", None) and labels and labels != {table.num_labels}:
        problems.append(f"judges have {sorted(labels)} labels, the table has {table.num_labels}")
    names = [judge.name for judge in judges]
    if len(set(names)) < len(names):
        problems.append(f"judges are called {names}; give each scorer its own name")
    if any(not judge.temperature > 0 for judge in judges):
        problems.append(f"temperatures are {[judge.temperature for judge in judges]}; expected numbers above 0")
    if swap not in SWAPS:
        problems.append(f"swap is {swap!r}, expected one of {SWAPS}")
    if swap == "time" and not deadline.set:
        problems.append("swap='time' needs a deadline")
    if unreadable and prior is None:
        problems.append(
            f"{unreadable} rows could not be read (table.unreadable names them); "
            "give prior=class_prior(...) to answer them"
        )
    if prior is not None and labels and np.shape(prior) != (next(iter(labels)),):
        problems.append(f"prior has shape {np.shape(prior)}, expected {(next(iter(labels)),)}")
    if problems:
        raise ValueError("nothing was scored:\n" + "\n".join(f"  - {p}" for p in problems))
