"""Who won: the label columns of the LMSYS and WSDM layouts as class numbers.

Classes are 0 = A wins, 1 = B wins, 2 = tie; two-class files have no 2. The module does not read files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .columns import Columns
from .turns import is_missing

__all__ = ["LABEL_COLUMNS", "ONE_HOT_COLUMNS", "read_labels"]

ONE_HOT_COLUMNS = ("winner_model_a", "winner_model_b", "winner_tie")
"""LMSYS: one column per class, 1 in the winner's; the third is absent from two-class files."""

LABEL_COLUMNS = (*ONE_HOT_COLUMNS, "winner")
"""Every column that a label is read from; ``winner`` is the WSDM layout: model_a, model_b or a tie."""

_PAIR = ONE_HOT_COLUMNS[:2]
_WINNERS = {"model_a": 0, "model_b": 1, "a": 0, "b": 1, "tie": 2, "tie (bothbad)": 2, "winner_tie": 2}
_FLAGS = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}


def read_labels(columns: Columns) -> tuple[np.ndarray | None, int | None, list[tuple[int, str, str]]]:
    """Return (labels int64 [N], number of classes, problems) or (None, None, []) without label columns.

    A problem is (row, column, reason); its label is -1. In the WSDM layout there are three classes when any row is a
    tie, else two. ValueError: some of the label columns, but not enough of them.

    >>> read_labels(Columns({"winner": ["model_b", "tie", "model_c"]}))
    (array([ 1,  2, -1]), 3, [(2, 'winner', "'model_c', expected model_a, model_b or tie")])
    """
    names = [name for name in ONE_HOT_COLUMNS if name in columns.cells]
    if all(name in names for name in _PAIR):
        labels, problems = _one_hot([columns.cells[name] for name in names], "/".join(names))
        return labels, len(names), problems
    if "winner" in columns.cells:
        labels, problems = _named(columns.cells["winner"])
        return labels, 3 if (labels == 2).any() else 2, problems
    if names:
        raise ValueError(
            f"{columns.source} has {' and '.join(names)} without {' and '.join(n for n in _PAIR if n not in names)}; "
            f"expected {' and '.join(_PAIR)}, and winner_tie where there are ties. Add what is missing, or read the "
            "file without labels (labels=None)"
        )
    return None, None, []


def _one_hot(cells: Sequence[Sequence[Any]], name: str) -> tuple[np.ndarray, list[tuple[int, str, str]]]:
    labels, problems = np.full(len(cells[0]), -1, dtype=np.int64), []
    for row, values in enumerate(zip(*cells, strict=True)):
        flags = [_FLAGS.get(str(value).strip().lower()) for value in values]
        if None not in flags and sum(flags) == 1:  # type: ignore[arg-type]
            labels[row] = flags.index(1)
        else:
            shown = "/".join("nothing" if is_missing(value) or value == "" else str(value)[:20] for value in values)
            problems.append((row, name, f"{shown}, expected one 1 and 0 elsewhere"))
    return labels, problems


def _named(cells: Sequence[Any]) -> tuple[np.ndarray, list[tuple[int, str, str]]]:
    found = [_WINNERS.get(str(value).strip().lower(), -1) for value in cells]
    problems = [
        (row, "winner", f"{str(cells[row])[:20]!r}, expected model_a, model_b or tie")
        for row, label in enumerate(found)
        if label < 0
    ]
    return np.array(found, dtype=np.int64), problems
