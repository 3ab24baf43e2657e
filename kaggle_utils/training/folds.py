"""Which fold each row is held out in: stratified by label, and rows with the same prompt always together.

It promises that the same rows and seed give the same folds, that no group is in two folds, and that folds read back
from a file belong to the rows by id. Prompts repeat in preference data, so a model that is judged on folds that tear
them apart has seen the question, and often the answers, and looks better than it is.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.data.columns import read_columns
from kaggle_utils.data.pairs import Pair

__all__ = ["assign_folds", "fold_splits", "prompt_groups", "read_folds", "write_folds"]

_COLUMN = "fold"
_SHOWN = 10


def prompt_groups(pairs: Sequence[Pair]) -> np.ndarray:
    """Number the prompts: int64 [N], equal where prompts differ in nothing but case and white space.

    >>> prompt_groups([Pair(1, ("Hi",), (), ()), Pair(2, ("Bye",), (), ()), Pair(3, (" hi",), (), ())])
    array([0, 1, 0])
    """
    numbers: dict[str, int] = {}
    names = (" ".join("\n".join(pair.prompt).casefold().split()) for pair in pairs)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def assign_folds(
    labels: np.ndarray | Sequence[int],
    groups: np.ndarray | Sequence[Any] | None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Return the fold in which each row is held out: int64 [N], 0 to ``folds - 1``.

    Folds have nearly the same share of each label and nearly the same size. Time grows with groups times folds.

    Args:
        labels: int [N].
        groups: [N], such as :func:`prompt_groups`; rows of one group stay together. None where every row stands
            alone: say it only when prompts do not repeat.
        folds: at least 2, and no more than there are groups.
        seed: another seed, other folds.

    Raises:
        ValueError: lengths that differ, missing labels, too few rows or groups; all that is wrong.
        ModuleNotFoundError: scikit-learn is absent.

    >>> assign_folds([0, 1, 0, 1], [7, 7, 8, 8], folds=2).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    labels = np.asarray(labels)
    _check(labels, groups, folds)
    selection = require("sklearn.model_selection", extra="train")
    kind = selection.StratifiedKFold if groups is None else selection.StratifiedGroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    assigned = np.full(len(labels), -1, dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
        assigned[held_out] = number
    empty = sorted(set(range(folds)) - set(assigned.tolist()))
    if empty:
        raise ValueError(f"folds {empty} of {folds} have no rows: a few groups hold nearly all; use fewer folds")
    return assigned


def fold_splits(assigned: np.ndarray | Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows to train on, rows held out) for each fold, ascending: int64 row numbers.

    >>> [(train.tolist(), held_out.tolist()) for train, held_out in fold_splits([0, 1, 0])]
    [([1], [0, 2]), ([0, 2], [1])]
    """
    assigned = np.asarray(assigned)
    for number in np.unique(assigned):
        yield np.flatnonzero(assigned != number), np.flatnonzero(assigned == number)


def write_folds(path: str | os.PathLike[str], ids: Sequence[Any], assigned: np.ndarray | Sequence[int]) -> Path:
    """Write a CSV of ``id`` and ``fold``, one line a row; replaced in one step. Returns the path.

    Raises:
        ValueError: another number of ids than of folds, or ids that come twice.
    """
    goal, names = Path(path), [str(name) for name in ids]
    if len(names) != len(assigned) or len(set(names)) < len(names):
        raise ValueError(
            f"{len(names)} ids ({len(names) - len(set(names))} of them repeated) and {len(assigned)} folds; "
            "expected one fold for each id, and no id twice"
        )
    descriptor, temporary = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", _COLUMN])
            writer.writerows(zip(names, np.asarray(assigned).tolist(), strict=True))
        Path(temporary).chmod(0o644)  # mkstemp gives a file that only its owner may read
        Path(temporary).replace(goal)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return goal


def read_folds(source: Any, ids: Sequence[Any], *, id_column: str = "id", column: str = _COLUMN) -> np.ndarray:
    """Return the folds of the rows with these ids, in their order: int64 [N].

    Args:
        source: what :func:`write_folds` wrote, or any .csv, .parquet, frame or mapping with the two columns. Rows of
            other ids in it do not matter.
        ids: of the table, in its order.
        id_column: the name of the ids' column.
        column: the name of the folds' column, such as the ``fold`` of a competition's own file.

    Raises:
        FileNotFoundError, ValueError: no such file or column; ids absent or twice; folds that are no whole numbers
            of at least 0.
    """
    table = read_columns(source, only=[id_column, column])
    table.require([id_column, column])
    found: dict[str, list[Any]] = {}
    for name, fold in zip(table.cells[id_column], table.cells[column], strict=True):
        found.setdefault(str(name), []).append(fold)
    wanted = [str(name) for name in ids]
    problems = [
        _named("ids without a fold", [name for name in wanted if name not in found]),
        _named("ids that come more than once", [name for name in wanted if len(found.get(name, ())) > 1]),
        _named(
            "ids whose fold is not a whole number of at least 0",
            [f"{name} ({found[name][0]!r})" for name in wanted if name in found and _number(found[name][0]) is None],
        ),
    ]
    if any(problems):
        raise ValueError(f"{table.source}: {'; '.join(filter(None, problems))}. Write the folds of these rows anew")
    return np.array([_number(found[name][0]) for name in wanted], dtype=np.int64)


def _check(labels: np.ndarray, groups: Any, folds: int) -> None:
    problems = []
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        problems.append(f"labels are {labels.dtype} of shape {labels.shape}; expected integers [N]")
    elif (labels < 0).any():
        problems.append(f"{int((labels < 0).sum())} labels are below 0: rows without a label have no place in folds")
    if groups is not None and len(groups) != len(labels):
        problems.append(f"{len(groups)} groups for {len(labels)} labels; expected one a row")
    there = len(labels) if groups is None else len(np.unique(np.asarray(groups)))
    if not 2 <= folds <= there:
        what = "rows" if groups is None else "groups"
        problems.append(f"folds is {folds}; expected 2 or more, and at most as many as there are {what} ({there})")
    if problems:
        raise ValueError("; ".join(problems))


def _number(value: Any) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and number >= 0 else None


def _named(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
