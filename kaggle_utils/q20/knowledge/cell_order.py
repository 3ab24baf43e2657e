"""Which cells of a table to ask a language model about first.

A cell's worth is the probability of its object times the entropy of what the table says: what is likely to be played
and not yet decided. The module asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["Cells", "grouped_cells", "most_valuable_cells"]

Cells = tuple[int, np.ndarray]
"""An object, and the places of some questions in the table's stored order, int64 [k]."""


def most_valuable_cells(table: KnowledgeTable, known: np.ndarray, *, chunk: int = 64) -> Iterator[Cells]:
    """Yield chunks of cells, the most valuable first; together they are all that is not ``known``.

    An object's questions are ranked once at the start and again for each chunk, 60 microseconds for 1,000 questions and
    1 ms for 13,000; beside a language model that is nothing. Memory is O(N · Qs / chunk).

    Args:
        table: what is known.
        known: bool [N, Qs], cells to leave out.
        chunk: most questions of one object at a time: they share the beginning of a prompt.
    """
    entropy = _entropies(table)
    objects, starts, worth = [], [], []
    for index in range(len(table.objects)):
        _, value = _ranked(table, known, index, entropy)
        for start in range(0, len(value), chunk):
            objects.append(index)
            starts.append(start)
            worth.append(table.objects.prior[index] * value[start : start + chunk].mean())
    for number in np.argsort(-np.array(worth), kind="stable").tolist():
        order, _ = _ranked(table, known, objects[number], entropy)
        yield objects[number], order[starts[number] : starts[number] + chunk]


def grouped_cells(chunks: Iterator[Cells], *, goal: int, batch: int) -> Iterator[list[Cells]]:
    """Yield chunks in groups of about ``batch`` cells, ``goal`` cells in all; chunks about one object adjoin."""
    group: list[Cells] = []
    size = 0
    for index, places in chunks:
        if goal <= 0:
            break
        group.append((index, places[:goal]))
        size += len(places[:goal])
        goal -= len(places[:goal])
        if size >= batch:
            yield sorted(group, key=lambda cells: cells[0])
            group, size = [], 0
    if group:
        yield sorted(group, key=lambda cells: cells[0])


def _entropies(table: KnowledgeTable) -> tuple[np.ndarray, np.ndarray]:
    """Entropy in bits of each code on each scale, float32 [F, 256], and the scale of each stored question, [Qs]."""
    names = list(table.family_levels)
    levels = np.stack([table.levels, *table.family_levels.values()])
    number = {name: place + 1 for place, name in enumerate(names)}
    own = np.array([number.get(table.bank.families[index], 0) for index in table.stored.tolist()], dtype=np.int64)
    return -(levels * np.log2(levels) + (1 - levels) * np.log2(1 - levels)), own


def _ranked(
    table: KnowledgeTable, known: np.ndarray, index: int, entropy: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The places of an object's unknown cells, most undecided first, and their entropies."""
    places = np.flatnonzero(~known[index])
    value = entropy[0][entropy[1][places], table.by_object[index, places]]
    order = np.argsort(-value, kind="stable")
    return places[order], value[order]
