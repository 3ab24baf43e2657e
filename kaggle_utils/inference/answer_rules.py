"""Rows that need no judge: empty and identical answers, and rows that could not be read.

It promises probabilities that are counts of labelled rows, smoothed towards the class prior, and the same for A and B:
an empty A is an empty B with the columns exchanged. It changes nothing where too few labelled rows are of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils.inference.tta import swap_columns

__all__ = ["AnswerRules", "answer_kind", "class_prior", "fit_rules"]

_MIRRORED = {"empty_a": "empty_b"}


def class_prior(labels: np.ndarray, *, num_labels: int, smoothing: float = 1.0) -> np.ndarray:
    """Return the share of each class, with ``smoothing`` rows added to each: float64 [C]. Labels below 0 are left out.

    >>> class_prior(np.array([0, 0, 1, -1]), num_labels=3)
    array([0.5 , 0.33333333, 0.16666667])
    """
    labels = np.asarray(labels)
    counts = np.bincount(labels[labels >= 0], minlength=num_labels).astype(np.float64) + smoothing
    if len(counts) > num_labels or not counts.sum() > 0:
        raise ValueError(f"labels reach {int(labels.max(initial=-1))}; expected some from 0 to {num_labels - 1}")
    return counts / counts.sum()


def answer_kind(response_a: Sequence[str], response_b: Sequence[str]) -> str | None:
    """Name what is special about two answers, given as turns: nothing (None) for nearly all.

    >>> answer_kind(["hi"], [""]), answer_kind(["", " "], []), answer_kind(["hi "], ["hi"]), answer_kind(["a"], ["b"])
    ('empty_b', 'empty_both', 'identical', None)
    """
    first, second = ("\n".join(turns).strip() for turns in (response_a, response_b))
    if not first or not second:
        return "empty_both" if first == second else "empty_b" if first else "empty_a"
    return "identical" if first == second else None


@dataclass(frozen=True)
class AnswerRules:
    """What the labelled rows say about each kind."""

    probabilities: Mapping[str, np.ndarray]
    """By kind: float64 [C]."""
    counts: Mapping[str, int]
    """By kind: labelled rows behind it (both sides of an empty answer together)."""
    min_count: int
    """Kinds with fewer rows are left to the models."""

    def apply(self, probabilities: np.ndarray, pairs: Sequence[Any]) -> np.ndarray:
        """Return a copy of ``probabilities`` [N, C] with the rows of known kinds replaced.

        Args:
            probabilities: of the models.
            pairs: with ``response_a`` and ``response_b`` as turns, one a row.
        """
        changed = np.array(probabilities, dtype=np.float64, copy=True)
        for row, pair in enumerate(pairs):
            kind = answer_kind(pair.response_a, pair.response_b)
            if kind is not None and self.counts.get(kind, 0) >= self.min_count:
                changed[row] = self.probabilities[kind]
        return changed


def fit_rules(
    pairs: Sequence[Any], labels: np.ndarray, *, num_labels: int, smoothing: float = 10.0, min_count: int = 5
) -> AnswerRules:
    """Count labels by kind of answers.

    Args:
        pairs: labelled rows, with ``response_a`` and ``response_b`` as turns.
        labels: int64 [N]; rows below 0 are left out.
        num_labels: 2 (A, B) or 3 (A, B, tie).
        smoothing: as many rows of the class prior are added to each kind.
        min_count: see :attr:`AnswerRules.min_count`.
    """
    if len(pairs) != len(labels):
        raise ValueError(f"{len(pairs)} pairs and {len(labels)} labels; expected one label a pair")
    prior = class_prior(labels, num_labels=num_labels)
    even = (prior + swap_columns(prior)) / 2  # who is called A says nothing here
    counts = {kind: np.zeros(num_labels) for kind in ("empty_b", "empty_both", "identical")}
    for pair, label in zip(pairs, np.asarray(labels).tolist(), strict=True):
        kind = answer_kind(pair.response_a, pair.response_b)
        if kind is None or label < 0:
            continue
        seen = np.eye(num_labels)[label]
        counts[_MIRRORED.get(kind, kind)] += swap_columns(seen) if kind in _MIRRORED else seen
    for kind in ("empty_both", "identical"):
        counts[kind] = (counts[kind] + swap_columns(counts[kind])) / 2
    found = {kind: (seen + smoothing * even) / (seen.sum() + smoothing) for kind, seen in counts.items()}
    totals = {kind: round(seen.sum()) for kind, seen in counts.items()}
    found["empty_a"], totals["empty_a"] = swap_columns(found["empty_b"]), totals["empty_b"]
    return AnswerRules(found, totals, min_count)
