"""Answer pairs to probabilities as work for actors: judges, both orders, rules.

It promises what ``score_pairs`` gives for the same rows, since that is what runs in an actor, and that rows which
cannot be read, cut into tokens or scored are named with their reason. It does not know where blocks come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kaggle_utils.data.pairs import FIELDS, PairTable, read_pairs
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.data.turns import detect_format
from kaggle_utils.inference.answer_rules import AnswerRules
from kaggle_utils.inference.cluster.scorers import ScorerEngine, about_scorer, cut_short, listed, scorer_problems
from kaggle_utils.inference.cluster.tasks import Computed, Place, each_alone, list_column
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.scoring import Judge, score_pairs
from kaggle_utils.inference.scoring_checks import scoring_problems

__all__ = ["PairTask"]

_ROW_SWAPS = ("none", "all")


@dataclass(frozen=True)
class PairTask:
    """Answer pairs to probabilities by judges: the column ``probabilities``."""

    judges: tuple[Judge, ...]
    """As ``score_pairs`` takes them."""
    swap: str = "none"
    """"none" or "all"; the other ways choose among all rows of a table, which no actor has."""
    rules: AnswerRules | None = None
    """Of ``score_pairs``."""
    prior: tuple[float, ...] | None = None
    """For rows that cannot be read; None leaves them nan. They count as problems either way."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Other names of prompt, response_a and response_b."""
    text: str = "auto"
    """"json", "plain", or "auto": what the first block's cells look like decides for all blocks."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return tuple(self.names.get(name, name) for name in FIELDS)

    def about(self) -> dict[str, Any]:
        """Tokenizers are told by their settings; a judge's fingerprint has them too."""
        judges = [
            {"scorer": about_scorer(j.spec), "weight": j.weight, "temperature": j.temperature, "swapped": j.swapped,
             "tokenizer": j.tokenizer.settings() if hasattr(j.tokenizer, "settings") else type(j.tokenizer).__name__}
            for j in self.judges
        ]  # fmt: skip
        rules = None
        if self.rules is not None:
            known = {kind: [float(p) for p in values] for kind, values in self.rules.probabilities.items()}
            rules = {"probabilities": known, "counts": dict(self.rules.counts), "min_count": self.rules.min_count}
        prior = None if self.prior is None else [float(p) for p in self.prior]
        return {"what": "probabilities", "judges": judges, "swap": self.swap, "rules": rules, "prior": prior,
                "text": self.text, "columns": list(self.columns)}  # fmt: skip

    def problems(self, workers: str) -> list[str]:
        """All at once."""
        found = scorer_problems([judge.spec for judge in self.judges], workers)
        if self.swap not in _ROW_SWAPS:
            found.append(f"swap is {self.swap!r}; expected one of {_ROW_SWAPS}, which need no look at all rows at once")
        if unknown := sorted(set(self.names) - set(FIELDS)):
            found.append(f"columns names {unknown}, expected only {', '.join(FIELDS)}")
        empty = PairTable([], None, None, [])
        swap = self.swap if self.swap in _ROW_SWAPS else "none"
        prior = None if self.prior is None else np.asarray(self.prior)
        return found + scoring_problems(
            empty, self.judges, swap=swap, swap_share=0.0, on_lost_judge="error", prior=prior, rules=self.rules,
            has_deadline=False,
        )  # fmt: skip

    def settled(self, sample: Callable[[], Any]) -> PairTask:
        """Decide how the texts are written."""
        if self.text != "auto":
            return self
        table = sample()
        cells = (cell for name in self.columns for cell in table.column(name).to_pylist())
        return dataclasses.replace(self, text=detect_format(cells))

    def build(self, place: Place) -> _PairEngine:
        """Load the judges."""
        return _PairEngine(self, place)


@dataclass(frozen=True)
class _ReadPairs:
    table: PairTable
    rows: Mapping[str, Mapping[bool, TokenRows]]
    """By judge and order, of the readable pairs."""
    problems: Mapping[int, str]


class _PairEngine(ScorerEngine):
    def __init__(self, task: PairTask, place: Place) -> None:
        self._task = task
        super().__init__([judge.spec for judge in task.judges], place)

    def prepare(self, table: Any) -> _ReadPairs:
        """Pairs and their token rows."""
        names = dict(zip(FIELDS, self._task.columns, strict=True))
        cells: dict[str, Any] = {"id": range(table.num_rows)}
        cells |= {field: table.column(name).to_pylist() for field, name in names.items()}
        text: Any = self._task.text
        pairs = read_pairs(cells, labels=None, unreadable="report", text=text)
        problems = {int(row): f"{names.get(column, column)}: {reason}" for row, column, reason in pairs.unreadable}
        encoded, unencoded = self._encode(pairs)
        if unencoded:
            problems |= unencoded
            more = [(row, "row", reason) for row, reason in unencoded.items()]
            pairs = dataclasses.replace(pairs, unreadable=[*pairs.unreadable, *more])
        keep = np.flatnonzero(pairs.readable)
        rows = {
            name: {order: TokenRows.of([ids[i] for i in keep]) for order, ids in orders.items()}
            for name, orders in encoded.items()
        }
        return _ReadPairs(pairs, rows, problems)

    def compute(self, prepared: _ReadPairs, deadline: Deadline) -> Computed | None:
        """Probabilities of the pairs that could be read, in both orders where that is asked for."""
        labels, count = self._task.judges[0].spec.num_labels, len(prepared.table)
        prior = np.full(labels, np.nan) if self._task.prior is None else np.asarray(self._task.prior, np.float64)
        values, problems, notes = np.tile(prior, (count, 1)), dict(prepared.problems), []
        readable = np.flatnonzero(prepared.table.readable)
        if len(readable):
            judges = [
                dataclasses.replace(judge, tokenizer=_Tokenized(prepared.rows[judge.name]))
                for judge in self._task.judges
            ]
            scores = score_pairs(
                prepared.table, judges, devices=self.pool, swap=self._task.swap, rules=self._task.rules,
                prior=np.full(labels, 1.0 / labels), deadline=deadline, progress=False,
            )  # fmt: skip
            if cut_short(scores.reports):
                return None
            values[readable] = scores.probabilities[readable]
            problems |= {int(readable[p.row]): f"{p.job}: {p.reason}" for r in scores.reports for p in r.problems}
            notes = [note for report in scores.reports for note in report.notes]
        return Computed({"probabilities": list_column(values)}, listed(problems, count), notes)

    def _encode(self, pairs: PairTable) -> tuple[dict[str, dict[bool, list[Any]]], dict[int, str]]:
        """Token ids by judge and order for all readable pairs, None for others, and why a pair has none."""
        readable = np.flatnonzero(pairs.readable).tolist()
        encoded: dict[str, dict[bool, list[Any]]] = {}
        problems: dict[int, str] = {}
        for judge in self._task.judges:
            orders = (judge.swapped,) if self._task.swap == "none" else (False, True)
            encoded[judge.name] = {}
            for order in orders:
                found, wrong = each_alone(
                    lambda part, judge=judge, order=order: judge.tokenizer.encode(part, swapped=order).ids,
                    [pairs.pairs[i] for i in readable],
                )
                ids: list[Any] = [None] * len(pairs)
                for place, row in zip(readable, found, strict=True):
                    ids[place] = row
                encoded[judge.name][order] = ids
                problems |= {readable[i]: f"{judge.name} cannot tokenise it: {reason}" for i, reason in wrong.items()}
        return encoded, problems


class _Tokenized:
    """A tokenizer that has done its work already."""

    def __init__(self, rows: Mapping[bool, TokenRows]) -> None:
        self._rows = rows

    def encode(self, pairs: Sequence[Any], *, swapped: bool = False) -> TokenRows:
        """The rows of one order."""
        if len(pairs) != len(self._rows[swapped]):
            raise ValueError(f"{len(pairs)} pairs are to be scored, {len(self._rows[swapped])} were tokenised")
        return self._rows[swapped]
