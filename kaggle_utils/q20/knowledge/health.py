"""How well a pool of questions tells objects apart.

Noise can be corrected only between objects that many questions tell apart: near neighbours need about twenty, whatever
chooses the questions. A question distinguishes two objects if their probabilities of yes differ by more than a half.
Objects that the environment's matcher takes for one another are no pair.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["PoolHealth", "nearest_objects", "pool_health"]

_NEAR, _FAR = 0.25, 0.75  # below and above these, two cells surely differ by more than a half
_CANDIDATES = 8
_BLOCK = 512


@dataclass(frozen=True)
class PoolHealth:
    """What ``pool_health`` found."""

    objects: int
    questions: int
    median_nearest: float
    """Median over the objects of the number of questions that tell an object from its nearest neighbour."""
    share_at_most_2: float
    """Share of objects whose nearest neighbour is told apart by two questions or fewer."""
    minimum: int
    """The fewest questions between any two objects."""
    worst_pairs: tuple[tuple[str, str, int], ...]
    """The nearest pairs (word, word, number of questions), nearest first."""
    mean_ambiguity: float
    """Mean over the semantic cells of min(theta, 1 - theta): the share of answers that a coin decides, 0 to .5."""

    def to_text(self) -> str:
        """Return a few lines for people."""
        pairs = ", ".join(f"{a} / {b} ({count})" for a, b, count in self.worst_pairs[:5])
        return (
            f"{self.objects} objects x {self.questions} questions: nearest neighbour {self.median_nearest:g} questions "
            f"away (median), {self.minimum} at least; {self.share_at_most_2:.1%} of objects at 2 or less; "
            f"ambiguity {self.mean_ambiguity:.3f}\nnearest: {pairs}"
        )


def pool_health(table: KnowledgeTable, *, lexical: bool = True, worst: int = 20) -> PoolHealth:
    """Measure a table, with or without its questions on the spelling.

    Exact. Cost: one product of [N, 2·Qs + Ql] by its transpose and N · 8 comparisons of rows, about a minute for
    16,000 x 2,500 on two cores, in 8·N·(2·Qs + Ql) bytes; more comparisons where most cells lie between .25 and .75.
    """
    nearest, partner = nearest_objects(table, lexical=lexical)
    words = table.objects.words
    pairs = {tuple(sorted((i, int(partner[i])))): int(nearest[i]) for i in range(len(words)) if partner[i] >= 0}
    chosen = heapq.nsmallest(worst, pairs.items(), key=lambda item: (item[1], item[0]))
    found = nearest[partner >= 0]
    return PoolHealth(
        objects=len(words),
        questions=len(table.bank) if lexical else len(table.stored),
        median_nearest=float(np.median(found)) if len(found) else 0.0,
        share_at_most_2=float((found <= 2).mean()) if len(found) else 0.0,
        minimum=int(found.min(initial=np.iinfo(np.int32).max)) if len(found) else 0,
        worst_pairs=tuple((words[a], words[b], count) for (a, b), count in chosen),
        mean_ambiguity=_ambiguity(table),
    )


def nearest_objects(table: KnowledgeTable, *, lexical: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of questions to the nearest neighbour of each object and who it is, int32 [N] each.

    The neighbour is -1 where all objects are of one class. Candidates come from a lower bound of the distance (cells
    surely on different sides), computed as matrix products; they are then compared exactly.
    """
    left, right = _features(table, lexical=lexical)
    classes = table.objects.match_class
    count = np.zeros(len(classes), dtype=np.int32)
    partner = np.full(len(classes), -1, dtype=np.int32)
    exact = _Exact(table, lexical=lexical)
    for start in range(0, len(classes), _BLOCK):
        block = slice(start, start + _BLOCK)
        bound = (left[block] @ right.T).round()  # float32 holds these whole numbers exactly
        bound[classes[block, None] == classes[None, :]] = np.inf
        tried = np.argpartition(bound, min(_CANDIDATES, bound.shape[1] - 1), axis=1)[:, :_CANDIDATES]
        for row in range(len(bound)):
            count[start + row], partner[start + row] = exact.nearest(start + row, bound[row], tried[row])
    return count, partner


def _features(table: KnowledgeTable, *, lexical: bool) -> tuple[np.ndarray, np.ndarray]:
    """Matrices float32 [N, F] whose product is a lower bound of the number of distinguishing questions.

    With s = -1, 0, 1 for surely no, unsure, surely yes, (|s||t| - st) / 2 is 1 for cells on different sides; for 0/1
    answers |s| is always 1, so that their part needs one column a question instead of two, and one for the constant.
    """
    sides = np.empty((len(table.objects), len(table.stored)), dtype=np.float32)
    for start in range(0, len(table.objects), _BLOCK):
        theta = table.decode(table.by_object[start : start + _BLOCK], table.stored, axis=1)
        sides[start : start + _BLOCK] = (theta > _FAR).astype(np.float32) - (theta < _NEAR)
    parts = [np.abs(sides) * np.float32(0.5), sides * np.float32(0.5)]
    others = [np.abs(sides), -sides]
    if lexical and len(table.lexical):
        signs = np.ascontiguousarray(table.lexical.T).astype(np.float32) * 2 - 1
        parts += [signs * np.float32(0.5), np.full((len(signs), 1), len(table.lexical) / 2, dtype=np.float32)]
        others += [-signs, np.ones((len(signs), 1), dtype=np.float32)]
    return np.concatenate(parts, axis=1), np.concatenate(others, axis=1)


class _Exact:
    """Exact numbers of distinguishing questions, by the probabilities themselves."""

    def __init__(self, table: KnowledgeTable, *, lexical: bool) -> None:
        self.table = table
        self.bits = np.ascontiguousarray(table.lexical.T) if lexical else np.zeros((len(table.objects), 0), dtype=bool)

    def counts(self, index: int, others: np.ndarray) -> np.ndarray:
        both = np.concatenate([[index], others])
        theta = self.table.decode(self.table.by_object[both], self.table.stored, axis=1)
        apart = (np.abs(theta[1:] - theta[0]) > 0.5).sum(axis=1)
        return apart + (self.bits[others] != self.bits[index]).sum(axis=1)

    def nearest(self, index: int, bound: np.ndarray, tried: np.ndarray) -> tuple[int, int]:
        """The nearest of all, starting with the likeliest: others are compared only where the bound leaves it open."""
        tried = tried[np.isfinite(bound[tried])]
        if not len(tried):
            return 0, -1
        counts = self.counts(index, tried)
        best, who = int(counts.min()), int(tried[counts.argmin()])
        rest = np.setdiff1d(np.flatnonzero(bound < best), tried)
        rest = rest[np.argsort(bound[rest], kind="stable")]
        for start in range(0, len(rest), _BLOCK):
            part = rest[start : start + _BLOCK]
            if bound[part[0]] >= best:
                break
            counts = self.counts(index, part)
            if counts.min() < best:
                best, who = int(counts.min()), int(part[counts.argmin()])
        return best, who


def _ambiguity(table: KnowledgeTable) -> float:
    total = 0.0
    for start in range(0, len(table.stored), 64):
        part = table.stored[start : start + 64]
        theta = table.decode(table.by_question[start : start + 64], part, axis=0)
        total += float(np.minimum(theta, 1 - theta).sum(dtype=np.float64))
    return total / max(len(table.stored) * len(table.objects), 1)
