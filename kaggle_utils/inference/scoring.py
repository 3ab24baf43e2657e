"""Answer pairs to probabilities: judges, both orders, ensemble, rules; what a notebook calls.

It promises one row of probabilities for every row of the table, in its order, and that rows without an answer are named
and nan, never filled in silently. What cannot work is said before anything is scored (``scoring_checks``); what is
scored when is the matter of ``pair_passes``. Scoring itself is the engine's, and everything it promises holds here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.inference.answer_rules import AnswerRules
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.engine import EngineError
from kaggle_utils.inference.pair_passes import PairPasses
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.report import RunReport
from kaggle_utils.inference.scoring_checks import scoring_problems
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.store import ResultStore

__all__ = ["Judge", "LostJudgeError", "PairScores", "score_pairs"]


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
    lost: tuple[str, ...] = ()
    """Judges that no worker could go on with. Where they have no answer, the others share their weight."""

    @property
    def missing(self) -> list[int]:
        """Rows without an answer, ascending."""
        return np.flatnonzero(~np.isfinite(self.probabilities).all(axis=1)).tolist()

    def filled(self, prior: np.ndarray) -> np.ndarray:
        """Return the probabilities with ``prior`` [C] in the missing rows; a last resort for a submission."""
        return np.where(np.isfinite(self.probabilities), self.probabilities, np.asarray(prior, dtype=np.float64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.probabilities, dtype=dtype)


class LostJudgeError(EngineError):
    """A judge that no worker could go on with; ``scores`` holds what the others (and it, so far) say."""

    def __init__(self, error: EngineError, scores: PairScores) -> None:
        self.scores = scores
        super().__init__(
            f"{error}\nthe other judges' probabilities are in this error's .scores; on_lost_judge='continue' lets them "
            "stand in",
            error.result,
            lost=error.lost,
        )


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
    on_lost_judge: str = "error",
    **options: Any,
) -> PairScores:
    """Score every pair of ``table`` with every judge.

    Workers load their models while the pairs are tokenised; all pairs are, before the first is scored. With ``swap``
    "uncertain" or "time" the other order is tokenised in a thread while the first one is scored.

    Args:
        table: a ``data.pairs.PairTable``.
        judges: at least one; their scorers' names differ.
        devices: see :func:`~kaggle_utils.inference.engine.score_jobs`.
        swap: one of :data:`~kaggle_utils.inference.scoring_checks.SWAPS`. The last two score all rows in one order
            first, and then some in the other; models stay loaded in between.
        swap_share: for ``"uncertain"``: share of the rows.
        prior: class prior [C] for rows that could not be read; needed when there are any.
        rules: answers for empty and identical responses, see :func:`~kaggle_utils.inference.answer_rules.fit_rules`.
        store: SQLite file of results.
        deadline: seconds from now or a moment; needed for ``swap="time"``, which also exchanges whatever rows an
            earlier run with the same store did.
        on_lost_judge: what becomes of a judge that no worker can build or go on with. "error": once the others are
            done, an error that holds their probabilities. "continue": they stand in, which ``lost``, the reports and
            the log say; an error only where no judge is left.
        options: of :func:`~kaggle_utils.inference.engine.score_jobs`.

    Raises:
        ValueError: contradicting arguments, all named.
        LostJudgeError: a judge that no worker can go on with; an :class:`~kaggle_utils.inference.engine.EngineError`.
    """
    deadline = Deadline.of(deadline)
    problems = scoring_problems(
        table, judges, swap=swap, swap_share=swap_share, on_lost_judge=on_lost_judge, prior=prior, rules=rules,
        has_deadline=deadline.set,
    )  # fmt: skip
    if problems:
        raise ValueError("nothing was scored:\n" + "\n".join(f"  - {p}" for p in problems))
    with contextlib.ExitStack() as stack:
        pool = devices
        if not isinstance(devices, WorkerPool):
            of_pool = {name: options.pop(name) for name in ("workers", "placement") if name in options}
            pool = stack.enter_context(WorkerPool([judge.spec for judge in judges], devices=devices, **of_pool))
        rows = int(np.sum(table.readable))
        if rows and not _nearly_done(store, judges, rows):
            pool.preload()
        go_on = on_lost_judge == "continue"
        passes = stack.enter_context(
            PairPasses(table, judges, pool, go_on=go_on, store=store, deadline=deadline, **options)
        )
        try:
            passes.run(swap, share=swap_share)
        except EngineError as error:
            raise LostJudgeError(error, _scores(table, passes, rules, prior)) from error
    return _scores(table, passes, rules, prior)


def _scores(table: Any, passes: PairPasses, rules: AnswerRules | None, prior: np.ndarray | None) -> PairScores:
    mixed = passes.mean()
    if rules is not None:
        mixed = rules.apply(mixed, table.pairs)
    unread = np.flatnonzero(~np.asarray(table.readable, dtype=bool))
    if len(unread):
        mixed[unread] = prior
    return PairScores(mixed, passes.by_judge, passes.swapped_rows, tuple(passes.reports), tuple(passes.lost))


def _nearly_done(store: str | os.PathLike[str] | None, judges: Sequence[Judge], rows: int) -> bool:
    """Whether an earlier run may have left little or nothing to do, so that loading models can wait."""
    if store is None or not Path(store).exists() or not all(judge.spec.fingerprint for judge in judges):
        return False
    for judge in judges:
        with ResultStore(store, judge.spec.fingerprint) as results:
            if 2 * len(results) >= rows:
                return True
    return False
