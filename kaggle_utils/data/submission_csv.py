"""Submission files: checked in full before the first byte, written whole or not at all.

It promises one row per id in the order given, the columns in the order of the sample submission, finite numbers, and
rows that sum to 1 as exactly as float64 can. It does not know the competition: the caller names the columns.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .columns import read_columns

__all__ = ["SubmissionError", "check_ids", "write_submission", "write_winners"]

_SUM_TOLERANCE = 1e-3
_SHOWN = 10


class SubmissionError(ValueError):
    """Everything that is wrong with a submission, as ``problems``; nothing was written."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{path} was not written:\n" + "\n".join(f"  - {problem}" for problem in problems))


def check_ids(ids: Sequence[Any] | np.ndarray, *, sample: Any, id_column: str = "id") -> None:
    """Compare ids with those of the sample submission: before hours of scoring, not after them.

    A row that a stray quote swallowed is absent from the table without a trace, and found here.

    Args:
        ids: as read, in any order.
        sample: the sample submission (.csv, .parquet, a frame or a mapping).
        id_column: the name of its id column.

    Raises:
        ValueError: ids that are missing, come twice, are absent or are not in the sample: all problems at once.
    """
    written = list(map(str, _plain(ids)))
    table = read_columns(sample, only=[id_column])
    table.require([id_column])
    problems = _id_problems(written) + _id_differences(table.cells[id_column], written)
    if problems:
        raise ValueError(
            f"the {len(written)} ids that were read do not fit the {len(table)} of {table.source}: "
            + "; ".join(problems)
            + ". Look at what read_pairs reports as unreadable (a row may have swallowed others), or give the sample "
            "submission that belongs to this file"
        )


def write_submission(
    path: str | Path,
    ids: Sequence[Any] | np.ndarray,
    probabilities: np.ndarray,
    *,
    columns: Sequence[str],
    sample: Any = None,
    id_column: str = "id",
) -> Path:
    """Write one line of probabilities per id.

    Args:
        path: the .csv to write; replaced in one step.
        ids: [N], written as they are.
        probabilities: [N, C], each row within 0.001 of sum 1; rows are divided by their float64 sum, since scorers
            are strict and float32 sums are not exact.
        columns: names of the C columns, in the order of ``probabilities``.
        sample: the sample submission (.csv, .parquet, a frame): decides the order of the columns, and its ids are the
            ones that must be there, no more and no less.
        id_column: the name of the id column.

    Raises:
        SubmissionError: all problems at once; nothing was written and an older file is untouched.
    """
    path, names = Path(path), list(columns)
    values, problems = _checked(ids, probabilities, names)
    header, more = _header(id_column, names, sample, ids)
    problems += _place(path) + more
    if problems:
        raise SubmissionError(path, problems)
    order = [names.index(name) for name in header if name != id_column]
    values = (values / values.sum(axis=1, keepdims=True))[:, order].tolist()
    at = header.index(id_column)
    rows = ([*row[:at], name, *row[at:]] for name, row in zip(_plain(ids), values, strict=True))
    _write(path, header, rows)
    return path


def write_winners(
    path: str | Path,
    ids: Sequence[Any] | np.ndarray,
    probabilities: np.ndarray,
    *,
    names: Sequence[str] = ("model_a", "model_b"),
    column: str = "winner",
    sample: Any = None,
    id_column: str = "id",
) -> Path:
    """Write the most probable class by name per id (WSDM); ties go to the first. Arguments as ``write_submission``."""
    path = Path(path)
    values, problems = _checked(ids, probabilities, list(names))
    header, more = _header(id_column, [column], sample, ids)
    problems += _place(path) + more
    if problems:
        raise SubmissionError(path, problems)
    winners = [names[i] for i in values.argmax(axis=1)]
    cells = {id_column: _plain(ids), column: winners}
    _write(path, header, zip(*(cells[name] for name in header), strict=True))
    return path


def _plain(ids: Sequence[Any] | np.ndarray) -> list[Any]:
    return ids.tolist() if hasattr(ids, "tolist") else list(ids)


def _checked(ids: Any, probabilities: Any, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return float64 probabilities and everything wrong with them and the ids."""
    values = np.asarray(probabilities, dtype=np.float64)
    written = list(map(str, _plain(ids)))
    problems = _id_problems(written)
    if values.shape != (len(written), len(names)):
        wanted = (len(written), len(names))
        return values, [*problems, f"probabilities have shape {values.shape}, expected {wanted} (ids, columns)"]
    finite = np.isfinite(values).all(axis=1)
    negative = finite & (values < 0).any(axis=1)
    off = finite & ~negative & (np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE)
    for rows, what in ((~finite, "not finite"), (negative, "negative"), (off, "not summing to 1")):
        if rows.any():
            found = [f"{written[i]} {values[i].tolist()}" for i in np.flatnonzero(rows)]
            problems.append(f"{len(found)} rows {what}: {_listed(found)}")
    return values, problems


def _id_problems(written: list[str]) -> list[str]:
    seen: set[str] = set()
    twice = dict.fromkeys(name for name in written if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    blank = sum(name in ("", "None", "nan") for name in written)
    problems = [f"ids that come more than once: {_listed(twice)}"] if twice else []
    return [*problems, f"{blank} ids are missing"] if blank else problems


def _header(id_column: str, names: list[str], sample: Any, ids: Any) -> tuple[list[str], list[str]]:
    problems = []
    twice = {name for name in (id_column, *names) if (id_column, *names).count(name) > 1}
    if twice:
        problems.append(f"columns named twice: {sorted(twice)}")
    if sample is None:
        return [id_column, *names], problems
    table = read_columns(sample)
    header = list(table.cells)
    if set(header) != {id_column, *names}:
        return header, [*problems, f"the sample has columns {header}, expected {[id_column, *names]} in any order"]
    return header, problems + _id_differences(table.cells[id_column], list(map(str, _plain(ids))))


def _id_differences(sample: Sequence[Any], given: list[str]) -> list[str]:
    wanted, problems = list(map(str, sample)), []
    lost, extra = set(wanted) - set(given), set(given) - set(wanted)
    if lost:
        problems.append(f"{len(lost)} ids of the sample are absent: {_listed(name for name in wanted if name in lost)}")
    if extra:
        problems.append(f"{len(extra)} ids are not in the sample: {_listed(name for name in given if name in extra)}")
    return problems


def _listed(items: Iterable[str]) -> str:
    found = list(items)
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _place(path: Path) -> list[str]:
    if path.is_dir():
        return [f"{path} is a folder; expected the name of a .csv file"]
    return [] if path.parent.is_dir() else [f"the folder {path.parent} does not exist"]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp gives a file that only its owner may read
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
