"""The passes of judges over pairs: one order, then some rows in the other, with models that stay loaded.

It promises that what was scored is kept when a judge is lost, and that a second run with the same store exchanges at
least the rows that the first one did. Tokenising overlaps with scoring in one place: while the first order is scored,
the other one is tokenised in a thread (``swap="uncertain"`` and ``"time"``). The first order, and with ``swap="all"``
both, are tokenised before the first pack, while workers load their models.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils.data.probabilities import softmax
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.engine import EngineError, score_jobs
from kaggle_utils.inference.ensemble import weighted_mean
from kaggle_utils.inference.ledger import stored_rows
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.report import RunReport
from kaggle_utils.inference.specs import Job
from kaggle_utils.inference.store import ResultStore
from kaggle_utils.inference.tta import least_certain, merge_orders, rows_within_time, swap_columns

if TYPE_CHECKING:
    from kaggle_utils.inference.scoring import Judge

__all__ = ["PairPasses"]

_logger = logging.getLogger(__name__)

_OTHER = "/other order"
_TRIAL_SHARE, _TRIAL_ROWS = 0.02, 8
_TIME_USED = 0.9  # of what is left: the last packs end at different moments


class PairPasses(contextlib.AbstractContextManager):
    """The state of one call of ``score_pairs``.

    Attributes:
        by_judge: float64 [N, C] by judge, columns in the table's order; nan where there is no answer.
        swapped_rows: int64, rows that have an answer in both orders.
        reports: of the engine's runs.
        lost: judges that no worker could go on with, with the reason.
    """

    def __init__(
        self, table: Any, judges: Sequence[Judge], pool: WorkerPool, *, go_on: bool, store: Any, deadline: Deadline,
        **options: Any,
    ) -> None:  # fmt: skip
        """Prepare passes by the pool's workers; ``go_on`` without judges that are lost, while there are others."""
        self._table, self._judges, self._pool, self._go_on = table, judges, pool, go_on
        self._store, self._deadline = store, deadline
        self._options = {"store": store, "deadline": deadline, **options}
        self._rows = np.flatnonzero(table.readable)
        self._lengths = np.zeros(len(table.pairs), dtype=np.int64)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._ahead: dict[str, Future] = {}
        self._first: np.ndarray | None = None
        self._stop: EngineError | None = None
        empty = np.full((len(table.pairs), judges[0].spec.num_labels), np.nan)
        self.by_judge: dict[str, np.ndarray] = {judge.name: empty.copy() for judge in judges}
        self.swapped_rows = np.empty(0, dtype=np.int64)
        self.reports: list[RunReport] = []
        self.lost: dict[str, str] = {}

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def mean(self) -> np.ndarray:
        """The judges' weighted mean: float64 [N, C]."""
        return weighted_mean(list(self.by_judge.values()), [judge.weight for judge in self._judges])

    def run(self, swap: str, *, share: float) -> None:
        """Score all rows, then those that ``swap`` (of ``scoring_checks.SWAPS``) wants in the other order.

        Raises:
            EngineError: a judge is lost; what was scored is here.
        """
        self._score_all(swap)
        self._first = self.mean()
        if swap == "uncertain":
            self._score_other(np.sort(least_certain(self._first, share=share)))
        elif swap == "time":
            self._spend_time()

    def _score_all(self, swap: str) -> None:
        jobs = [self._job(judge, swapped=False) for judge in self._judges]
        if swap == "all":
            jobs += [self._job(judge, swapped=True) for judge in self._judges]
        elif swap != "none":
            self._ahead = {j.name: self._thread.submit(self._encode, j, swapped=True) for j in self._judges}
        logits = self._run(jobs)
        for judge in self._judges:
            self.by_judge[judge.name][self._rows] = _probabilities(judge, logits[judge.name], judge.swapped)
        if swap == "all":
            self._merge(self._rows, logits)
        self._raise_if_lost()

    def _spend_time(self) -> None:
        """Rows that an earlier run has exchanged, and as many of the least certain others as there is time for.

        The speed is that of the first order; where that came from the store, it is measured on a few rows first.
        """
        rows, speed = self._stored(), self.reports[0].tokens_per_second
        if speed is None and self._deadline.left() > 0:
            self._score_other(np.union1d(rows, self._others(rows)[: self._trial()]))
            rows, speed = np.empty(0, dtype=np.int64), self.reports[-1].tokens_per_second
        certain = self._first.copy()
        certain[np.union1d(rows, self.swapped_rows)] = np.nan  # never chosen
        seconds = _TIME_USED * self._deadline.left() - self._pool.seconds_to_load()
        more = rows_within_time(certain, self._lengths, seconds=seconds, tokens_per_second=speed or 0.0)
        self._score_other(np.union1d(rows, more))

    def _others(self, rows: np.ndarray) -> np.ndarray:
        """All other rows that have an answer, least certain first."""
        order = least_certain(self._first, share=1.0)
        return order[~np.isin(order, rows)]

    def _trial(self) -> int:
        return max(_TRIAL_ROWS * len(self._pool.devices), int(_TRIAL_SHARE * len(self._rows)))

    def _stored(self) -> np.ndarray:
        """Rows whose other order some judge has in the store already."""
        known = np.zeros(len(self._rows), dtype=bool)
        if self._store is not None:
            for judge in self._active():
                with ResultStore(self._store, judge.spec.fingerprint) as results:
                    known |= stored_rows(results, self._ahead[judge.name].result().ids)
        return self._rows[known & np.isfinite(self._first[self._rows]).all(axis=1)]

    def _score_other(self, rows: np.ndarray) -> None:
        _logger.info("%d of %d rows are scored in the other order too", len(rows), len(self._rows))
        if not len(rows):
            return
        places = np.searchsorted(self._rows, rows)
        jobs = []
        for judge in self._active():
            ids = self._ahead[judge.name].result().ids
            jobs.append(Job(judge.name + _OTHER, judge.spec, [ids[place] for place in places]))
        self._merge(rows, self._run(jobs))
        self._raise_if_lost()

    def _merge(self, rows: np.ndarray, logits: Mapping[str, np.ndarray]) -> None:
        done = np.zeros(len(rows), dtype=bool)
        for judge in self._judges:
            if judge.name + _OTHER in logits:
                other = _probabilities(judge, logits[judge.name + _OTHER], not judge.swapped)
                # merge_orders turns its second argument round, and these columns are right already.
                self.by_judge[judge.name] = merge_orders(self.by_judge[judge.name], swap_columns(other), rows=rows)
                done |= np.isfinite(other).all(axis=1)
        self.swapped_rows = np.union1d(self.swapped_rows, rows[done])

    def _encode(self, judge: Judge, *, swapped: bool) -> Any:
        pairs = [self._table.pairs[row] for row in self._rows]
        return judge.tokenizer.encode(pairs, swapped=judge.swapped != swapped)

    def _job(self, judge: Judge, *, swapped: bool) -> Job:
        encoded = self._encode(judge, swapped=swapped)
        if not swapped:
            self._lengths[self._rows] += encoded.lengths
        return Job(judge.name + (_OTHER if swapped else ""), judge.spec, encoded.ids)

    def _active(self) -> list[Judge]:
        return [judge for judge in self._judges if judge.name not in self.lost]

    def _run(self, jobs: list[Job]) -> Mapping[str, np.ndarray]:
        try:
            result = score_jobs(jobs, devices=self._pool, **self._options)
        except EngineError as error:
            result, self._stop = error.result, error
            self.lost |= dict.fromkeys(error.lost, str(error))
            if self._go_on and (others := [judge.name for judge in self._active() if judge.weight > 0]):
                self._stop = None
                note = f"LOST: {', '.join(error.lost)}; {', '.join(others)} stand in alone from here. {error}"
                result.report.notes.append(note)
                _logger.error("%s", note)
        self.reports.append(result.report)
        _logger.info("%s", result.report.to_text())
        return result.logits

    def _raise_if_lost(self) -> None:
        if self._stop is not None:
            raise self._stop


def _probabilities(judge: Judge, logits: np.ndarray, swapped: bool) -> np.ndarray:
    """Probabilities with the columns of the table's own order: float64 [N, C]."""
    probabilities = softmax(np.asarray(logits, dtype=np.float64) / judge.temperature)
    return swap_columns(probabilities) if swapped else probabilities
