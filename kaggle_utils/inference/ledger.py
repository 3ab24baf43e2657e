"""What is known about the rows of one scorer: which are the same, which are done, which went wrong.

It promises that equal rows (in any job of the scorer) are one row, that a result is written to the store together with
the rest of its pack, and that a row counts as not finite only once the safer scorer has had it. It does not know packs,
devices or order of work.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

import numpy as np

from kaggle_utils.inference.fingerprint import row_digest
from kaggle_utils.inference.specs import Job, ScorerSpec
from kaggle_utils.inference.store import ResultStore, StoreError

__all__ = ["Ledger", "stored_rows"]

_MISSING, _DONE, _NOT_FINITE, _FAILED = range(4)
# A row's tokens say everything about it, so plain and swapped order of one scorer share their results.
_VARIANT = ""


class Ledger:
    """The distinct rows of one scorer, numbered from 0 in order of first appearance.

    Attributes:
        rows: token ids of each distinct row.
        lengths: int64 [distinct rows], in tokens.
        from_store: distinct rows that were in the store at the start.
        safer: distinct rows whose logits came from the safer scorer in this run.
        awaiting: distinct rows whose logits are not finite and which the safer scorer has not had in this run; empty
            where there is none.
    """

    def __init__(self, spec: ScorerSpec, jobs: Sequence[Job], *, store: ResultStore | None = None) -> None:
        self.spec = spec
        self.rows: list[np.ndarray] = []
        self._digests: list[bytes] = []
        self._places: dict[str, np.ndarray] = {}
        number: dict[bytes, int] = {}
        for job in jobs:
            self._places[job.name] = np.array([self._number(row, number) for row in job.rows], dtype=np.int64)
        self.lengths = np.array([len(row) for row in self.rows], dtype=np.int64)
        self._values = np.full((len(self.rows), spec.num_labels), np.nan, dtype=np.float32)
        self._state = np.zeros(len(self.rows), dtype=np.int8)
        self._reasons: dict[int, str] = {}
        self._store = store
        self._unsaved: dict[tuple[bytes, str], np.ndarray] = {}
        self._choices: dict[str, str] = {}
        self.safer: list[int] = []
        self.awaiting: set[int] = set()
        self.from_store = self._load()

    @property
    def computed(self) -> int:
        """Distinct rows that have got finite logits since the start."""
        return self.finite - self.from_store

    @property
    def finite(self) -> int:
        """Distinct rows with finite logits."""
        return int((self._state == _DONE).sum())

    @property
    def duplicates(self) -> int:
        """Rows of the jobs that are equal to an earlier one."""
        return sum(len(places) for places in self._places.values()) - len(self.rows)

    def missing(self) -> np.ndarray:
        """Rows without a result, ascending: int64."""
        return np.flatnonzero(self._state == _MISSING)

    def not_finite(self) -> np.ndarray:
        """Rows whose logits are not finite, ascending: int64."""
        return np.flatnonzero(self._state == _NOT_FINITE)

    def record(self, rows: Sequence[int], logits: np.ndarray, *, safer: bool = False) -> list[int]:
        """Keep the logits of one pack, float32 [rows, labels]; return the rows where they are not finite."""
        index = np.asarray(rows, dtype=np.int64)
        finite = np.isfinite(logits).all(axis=1)
        self._values[index] = logits
        self._state[index] = np.where(finite, _DONE, _NOT_FINITE)
        self._unsaved.update({(self._digests[i], _VARIANT): logits[k] for k, i in enumerate(index)})
        wrong = index[~finite].tolist()
        if safer:
            self.safer += index[finite].tolist()
            self.awaiting.difference_update(index.tolist())
        elif self.spec.safe is not None:
            self.awaiting.update(wrong)
        return wrong

    def fail(self, rows: Sequence[int], reason: str) -> None:
        """Give these rows up in this run; they are not stored, and the next run tries them again."""
        for row in rows:
            if self._state[row] == _MISSING:
                self._state[row] = _FAILED
            self._reasons[int(row)] = reason
            self.awaiting.discard(int(row))

    def save(self) -> None:
        """Write what was recorded since the last call to the store, in one transaction."""
        if self._store is not None:
            self._store.put_many(self._unsaved)
        self._unsaved = {}

    def choice(self, hardware: str) -> str | None:
        """What this run chose by measuring on such a device; None where it has not chosen."""
        stored = self._store.choice(hardware) if self._store is not None else None
        return self._choices.get(hardware, stored)

    def choose(self, hardware: str, choice: str) -> str:
        """Remember a choice for such devices, in the store before anything computed by it; the first one holds."""
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error, StoreError):  # a full disk: save() says so
                choice = self._store.choose(hardware, choice)
        return self._choices.setdefault(hardware, choice)

    def logits(self, job: str) -> np.ndarray:
        """Logits in the order of the job's rows: float32 [N, labels]; rows without a finite result are all nan."""
        values = np.where((self._state == _DONE)[:, None], self._values, np.float32(np.nan))
        return values[self._places[job]]

    def rows_of(self, job: str, places: Sequence[int]) -> list[int]:
        """Rows of the job that are these distinct rows, ascending."""
        return np.flatnonzero(np.isin(self._places[job], np.asarray(places, dtype=np.int64))).tolist()

    def problems(self, job: str, *, left: str) -> list[tuple[int, str]]:
        """Rows of the job without a finite result, ascending, each with the reason; ``left`` is that of the rest."""
        found = []
        for row, place in enumerate(self._places[job].tolist()):
            if self._state[place] != _DONE:
                tried = self._state[place] == _NOT_FINITE and place not in self.awaiting
                default = "its logits are not finite" if tried else left
                found.append((row, self._reasons.get(place, default)))
        return found

    def _number(self, row: np.ndarray, number: dict[bytes, int]) -> int:
        digest = row_digest(row)
        found = number.setdefault(digest, len(self.rows))
        if found == len(self.rows):
            self.rows.append(np.ascontiguousarray(row, dtype=np.int32))
            self._digests.append(digest)
        return found

    def _load(self) -> int:
        if self._store is None:
            return 0
        found = self._store.get_many((digest, _VARIANT) for digest in self._digests)
        for place, digest in enumerate(self._digests):
            value = found.get((digest, _VARIANT))
            if value is not None and value.shape == (self.spec.num_labels,):
                self._values[place] = value
                self._state[place] = _DONE if np.isfinite(value).all() else _NOT_FINITE
        if self.spec.safe is not None:
            self.awaiting.update(self.not_finite().tolist())
        return self.finite


def stored_rows(results: ResultStore, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Tell which rows of token ids have finite logits in a store: bool [N]. Costs a query for 500 rows."""
    keys = [(row_digest(row), _VARIANT) for row in rows]
    found = results.get_many(keys)
    return np.array([key in found and bool(np.isfinite(found[key]).all()) for key in keys], dtype=bool)
