"""Files of answer pairs as conversations with ids and labels; nothing is lost and nothing is guessed silently.

It promises that every row of the file is a row of the table, in order, with its id as it was. Rows that cannot be read
are reported all at once: as an error, or kept aside for the class prior. It knows nothing of tokens or models. What
each kind of cell becomes is the table in ``turns``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .columns import Columns, read_columns, read_ids
from .labels import LABEL_COLUMNS, read_labels
from .turns import TextFormat, UnreadableCellError, detect_format, parse_turns

__all__ = ["FIELDS", "Pair", "PairTable", "UnreadableRowsError", "read_pairs"]

_logger = logging.getLogger(__name__)

FIELDS = ("prompt", "response_a", "response_b")
"""The three text columns, in the order in which models read them."""

_SHOWN = 50
_LABELS = frozenset(LABEL_COLUMNS)


@dataclass(frozen=True)
class Pair:
    """One prompt and two answers, each a tuple of turns; the numbers of turns may differ."""

    id: Any
    """As in the file: an int or a string."""
    prompt: tuple[str, ...]
    """What the user wrote, turn by turn; () where nothing was written."""
    response_a: tuple[str, ...]
    """The answers of the first model."""
    response_b: tuple[str, ...]
    """The answers of the second model."""

    def swapped(self) -> Pair:
        """Return the pair with A and B exchanged.

        >>> Pair(7, ("Hi",), ("a",), ("b",)).swapped()
        Pair(id=7, prompt=('Hi',), response_a=('b',), response_b=('a',))
        """
        return replace(self, response_a=self.response_b, response_b=self.response_a)


@dataclass(frozen=True, eq=False)
class PairTable:
    """The rows of a file, N of them, and what is known of their labels."""

    pairs: list[Pair]
    """All rows in order. Fields that could not be read are ()."""
    labels: np.ndarray | None
    """int64 [N]: 0 = A wins, 1 = B wins, 2 = tie, -1 = unreadable; None where the file has no labels."""
    num_labels: int | None
    """2 or 3; None where the file has no labels and the caller did not say."""
    unreadable: list[tuple[Any, str, str]]
    """(id, column, reason) of every cell kept aside; the column is "row" where the whole line is broken."""
    text: TextFormat = "json"
    """How the conversations were written."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def ids(self) -> list[Any]:
        """The ids in the order and type of the file."""
        return [pair.id for pair in self.pairs]

    @property
    def readable(self) -> np.ndarray:
        """bool [N]: False where a text could not be read, so that only a prior can answer the row."""
        lost = {str(name) for name, column, _ in self.unreadable if column in (*FIELDS, "row")}
        return np.array([str(pair.id) not in lost for pair in self.pairs], dtype=bool)

    def take(self, rows: Sequence[int] | np.ndarray) -> PairTable:
        """Return the table of the rows with these numbers (from 0), in this order."""
        chosen = [int(row) for row in rows]
        pairs = [self.pairs[row] for row in chosen]
        kept = {str(pair.id) for pair in pairs}
        return replace(
            self,
            pairs=pairs,
            labels=None if self.labels is None else self.labels[np.array(chosen, dtype=np.int64)],
            unreadable=[entry for entry in self.unreadable if str(entry[0]) in kept],
        )


class UnreadableRowsError(ValueError):
    """Every cell of a file that could not be read, labels too, as ``problems``: (id, column, reason)."""

    def __init__(self, source: str, problems: Sequence[tuple[Any, str, str]]) -> None:
        self.problems = tuple(problems)
        lines = [f"  - id {name!r}, {column}: {reason}" for name, column, reason in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  - and {len(self.problems) - _SHOWN} more, in .problems of this error")
        rows = len({str(name) for name, _, _ in self.problems})
        super().__init__(
            f"{source}: {rows} {'row' if rows == 1 else 'rows'} cannot be read:\n"
            + "\n".join(lines)
            + "\n"
            + _advice([column for _, column, _ in self.problems])
        )


def read_pairs(
    source: Any,
    *,
    labels: Literal["auto"] | None = "auto",
    unreadable: Literal["error", "report"] = "error",
    text: Literal["auto", "json", "plain"] = "auto",
    null_text: str = "",
    num_labels: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> PairTable:
    """Read the columns id, prompt, response_a and response_b, and the labels where there are any.

    Args:
        source: a .csv, .csv.gz or .parquet path, a pandas frame, or a mapping of column name to cells.
        labels: "auto" reads the LMSYS or WSDM label columns when they exist; None ignores them.
        unreadable: "error" raises naming all bad rows; "report" keeps them in their places with empty texts, lists
            them in ``PairTable.unreadable`` and logs a warning.
        text: JSON lists of turns, plain strings, or decided for the file by ``turns.detect_format``.
        null_text: what a ``null`` turn reads as. The LMSYS notebooks use "".
        num_labels: the number of classes, where the file cannot show it.
        columns: other names of these four, for example ``{"id": "row_id", "prompt": "question"}``.

    Raises:
        UnreadableRowsError: see ``unreadable``.
        ValueError: columns missing, some of the label columns missing, ids missing or repeated, contradicting settings,
            a file that cannot be read.
    """
    _check(labels, unreadable, text, num_labels, columns or {})
    names = {name: name for name in ("id", *FIELDS)} | dict(columns or {})
    table = read_columns(source, only=[*names.values(), *LABEL_COLUMNS])
    table.require([names[name] for name in ("id", *FIELDS)])
    ids = read_ids(table.cells[names["id"]], source=table.source, from_text=table.only_text)
    cells = [table.cells[names[name]] for name in FIELDS]
    chosen = detect_format(cell for column in cells for cell in column) if text == "auto" else text
    fields, problems = _read_fields(table, [names[name] for name in FIELDS], chosen, null_text)
    classes, found, bad_labels = read_labels(table) if labels == "auto" else (None, None, [])
    problems = sorted([*problems, *(bad for bad in bad_labels if bad[0] not in table.broken)], key=lambda p: p[0])
    if found is not None and num_labels is not None and classes is not None and (classes >= num_labels).any():
        raise ValueError(f"num_labels is {num_labels}, but {table.source} has rows of class {classes.max()} (a tie)")
    named = lambda row, column: column if row in table.broken else _standard(column, names)  # noqa: E731
    reported = [(ids[row], named(row, column), reason) for row, column, reason in problems]
    if reported and unreadable == "error":
        raise UnreadableRowsError(table.source, reported)
    if reported:
        _logger.warning("%s: %d cells kept aside: %s", table.source, len(reported), reported[:_SHOWN])
    pairs = [Pair(name, *turns) for name, *turns in zip(ids, *fields, strict=True)]
    return PairTable(pairs, classes, num_labels or found, reported, chosen)


def _advice(columns: Sequence[str]) -> str:
    """What to do about problems in these columns: a label is no reason to lose a row that can be read."""
    bad_labels = [column for column in columns if not _LABELS.isdisjoint(column.split("/"))]
    steps = []
    if len(bad_labels) < len(columns):
        steps.append('keep such rows aside with unreadable="report" and answer them with the class prior')
    if bad_labels:
        steps.append('read without labels (labels=None), or give such rows the label -1 with unreadable="report"')
    return "Repair the file, or " + "; labels: ".join(steps)


def _check(labels: object, unreadable: str, text: str, num_labels: int | None, columns: Mapping[str, str]) -> None:
    problems = []
    if labels not in ("auto", None):
        problems.append(f'labels is {labels!r}, expected "auto" or None')
    if unreadable not in ("error", "report"):
        problems.append(f'unreadable is {unreadable!r}, expected "error" or "report"')
    if text not in ("auto", "json", "plain"):
        problems.append(f'text is {text!r}, expected "auto", "json" or "plain"')
    if num_labels not in (None, 2, 3):
        problems.append(f"num_labels is {num_labels!r}, expected 2 (A, B), 3 (A, B, tie) or None")
    if unknown := [name for name in columns if name not in ("id", *FIELDS)]:
        problems.append(f"columns names {', '.join(map(repr, unknown))}, expected only id, {', '.join(FIELDS)}")
    if problems:
        raise ValueError("; ".join(problems))


def _standard(column: str, names: Mapping[str, str]) -> str:
    return next((standard for standard, used in names.items() if used == column), column)


def _read_fields(
    table: Columns, names: Sequence[str], text: TextFormat, null_text: str
) -> tuple[list[list[tuple[str, ...]]], list[tuple[int, str, str]]]:
    """Parse every cell of the three columns; broken rows are one problem each, whatever is in their cells."""
    fields: list[list[tuple[str, ...]]] = []
    problems = [(row, "row", reason) for row, reason in table.broken.items()]
    for name in names:
        turns: list[tuple[str, ...]] = []
        for row, cell in enumerate(table.cells[name]):
            turns.append(())
            if row in table.broken:
                continue
            try:
                turns[-1] = parse_turns(cell, text=text, null_text=null_text)
            except UnreadableCellError as error:
                problems.append((row, name, str(error)))
        fields.append(turns)
    return fields, problems
