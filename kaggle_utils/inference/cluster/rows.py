"""Token rows to logits as work for actors.

It promises what the engine of one machine gives for the same rows, since that engine is what runs in an actor: packs by
token budget, halving where memory runs out, the safer path, the check of the first rows. Rows without tokens, and those
that cannot be scored, are named with their reason. It does not know where blocks come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.inference.cluster.scorers import ScorerEngine, about_scorer, cut_short, listed, scorer_problems
from kaggle_utils.inference.cluster.tasks import Computed, Place, each_alone, list_column
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["RowTask"]


@dataclass(frozen=True)
class RowTask:
    """Token rows to logits by one scorer: the column ``logits``."""

    scorer: ScorerSpec
    """Who scores."""
    rows: str | Callable[[dict[str, list]], Sequence[Any]] = "input_ids"
    """The column of token ids, or an importable function from columns (name -> cells) to token rows."""
    reads: tuple[str, ...] = ()
    """The columns that such a function takes."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.rows,) if isinstance(self.rows, str) else self.reads

    def about(self) -> dict[str, Any]:
        """See :class:`~kaggle_utils.inference.cluster.tasks.BlockTask`, and so for the other methods."""
        name = self.rows if isinstance(self.rows, str) else f"{self.rows.__module__}.{self.rows.__qualname__}"
        return {"what": "logits", "scorer": about_scorer(self.scorer), "rows": name, "reads": list(self.reads)}

    def problems(self, workers: str) -> list[str]:
        """All at once."""
        found = scorer_problems([self.scorer], workers)
        if not isinstance(self.rows, str) and not self.reads:
            found.append("rows is a function; name the columns that it takes: reads=(...)")
        return found

    def settled(self, sample: Callable[[], Any]) -> RowTask:
        """Nothing is open."""
        return self

    def build(self, place: Place) -> _RowEngine:
        """Load the scorer."""
        return _RowEngine(self, place)


class _RowEngine(ScorerEngine):
    def __init__(self, task: RowTask, place: Place) -> None:
        self._task = task
        super().__init__([task.scorer], place)

    def prepare(self, table: Any) -> tuple[list[np.ndarray | None], dict[int, str]]:
        """Token rows, None where there are none, and why."""
        problems: dict[int, str] = {}
        if isinstance(self._task.rows, str):
            rows = _of_column(table.column(self._task.rows))
            if rows is None:
                cells = table.column(self._task.rows).to_pylist()
                rows, problems = each_alone(lambda part: [_ids(row) for row in part], cells)
        else:
            cells = {name: table.column(name).to_pylist() for name in self._task.columns}
            encode, names = self._task.rows, list(cells)
            lines = list(zip(*cells.values(), strict=True))
            rows, problems = each_alone(lambda part: _encoded(encode, names, part), lines)
        for i, row in enumerate(rows):
            if row is not None and not len(row):
                rows[i], problems[i] = None, "it has no tokens"
        return rows, problems

    def compute(self, prepared: tuple[list[np.ndarray | None], dict[int, str]], deadline: Deadline) -> Computed | None:
        """Logits of the rows that there are."""
        rows, problems = prepared
        known = [i for i, row in enumerate(rows) if row is not None]
        logits = np.full((len(rows), self._task.scorer.num_labels), np.nan, np.float32)
        notes: list[str] = []
        if known:
            result = score_rows(
                TokenRows.of([rows[i] for i in known]), [self._task.scorer], devices=self.pool, deadline=deadline,
                progress=False,
            )  # fmt: skip
            if cut_short([result.report]):
                return None
            logits[known] = result.logits[self._task.scorer.name]
            problems = problems | {known[problem.row]: problem.reason for problem in result.report.problems}
            notes = result.report.notes
        return Computed({"logits": list_column(logits)}, listed(problems, len(rows)), notes)


def _of_column(column: Any) -> list[np.ndarray | None] | None:
    """The rows of a column of lists of whole numbers, without a Python object a token; None for other columns."""
    arrow, compute = require("pyarrow", extra="cluster"), require("pyarrow.compute", extra="cluster")
    kind = column.type
    if not (arrow.types.is_list(kind) or arrow.types.is_large_list(kind)) or not arrow.types.is_integer(
        kind.value_type
    ):
        return None
    flat = compute.list_flatten(column)  # a missing list counts as empty
    if flat.null_count:
        return None
    lengths = compute.fill_null(compute.list_value_length(column), 0).to_numpy()
    return list(np.split(flat.to_numpy().astype(np.int32), np.cumsum(lengths)[:-1]))


def _ids(row: Any) -> np.ndarray:
    if row is None:
        return np.empty(0, np.int32)
    return np.asarray(row, dtype=np.int32)


def _encoded(encode: Callable[[dict[str, list]], Any], names: Sequence[str], lines: Sequence[Sequence[Any]]) -> list:
    rows = encode({name: [line[i] for line in lines] for i, name in enumerate(names)})
    return [_ids(row) for row in getattr(rows, "ids", rows)]
