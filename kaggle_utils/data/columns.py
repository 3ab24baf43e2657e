"""Tables as columns: CSV, parquet, pandas frames and plain mappings, without guessing at what cells mean.

It promises that every cell of a CSV arrives as the text in the file: "NA", "null" and "" are text, not missing values.
It does not know which columns a caller needs to make sense of them.

CSV files are read with Python's csv module, as fast as pandas on long texts and equal on every image. Bytes that are
not UTF-8 and NUL characters become U+FFFD. The module's limit on the size of a cell is raised for the process.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require

from .turns import is_missing

__all__ = ["Columns", "read_columns", "read_ids"]

_LONGEST_CELL = 2**31 - 1  # what a C long holds everywhere
_CHARACTERS_OF_INT = 64


@dataclass(frozen=True)
class Columns:
    """A table by columns, all of one length."""

    cells: Mapping[str, Sequence[Any]]
    """Column name -> its cells, top to bottom."""
    broken: Mapping[int, str] = field(default_factory=dict)
    """Row number (from 0) -> why its cells cannot be trusted; missing cells of such a row are None."""
    source: str = "the table"
    """What was read, for messages."""
    names: tuple[str, ...] = ()
    """All columns of the source, those that were not read too."""
    only_text: bool = False
    """Whether the source could hold nothing but text (CSV), so that numbers are text here too."""

    def __len__(self) -> int:
        return max(map(len, self.cells.values()), default=0)

    def require(self, names: Sequence[str]) -> None:
        """Raise ValueError unless every column of ``names`` is there."""
        missing = [name for name in names if name not in self.cells]
        if missing:
            raise ValueError(
                f"{self.source} has no column {', '.join(map(repr, missing))}; expected {', '.join(names)}, "
                f"there are {', '.join(self.names or self.cells) or 'none'}. Name yours with columns={{...}}"
            )


def read_columns(source: Any, *, only: Sequence[str] | None = None) -> Columns:
    """Read ``source``: a .csv, .csv.gz or .parquet path, a pandas frame, or a mapping of name to cells.

    ``only`` names the columns to keep, where they exist; a parquet file then reads no others.

    Raises:
        FileNotFoundError, ValueError: no such file; an unknown ending; a damaged file; a file without a header;
            columns of unequal length or one name twice.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file; expected a .csv, .csv.gz or .parquet file")
        if path.suffix == ".parquet":
            return _from_parquet(path, only)
        if path.name.endswith((".csv", ".csv.gz")):
            return _from_csv(path, only)
        raise ValueError(f"{path} ends in {path.suffix!r}; expected .csv, .csv.gz or .parquet")
    if hasattr(source, "columns") and hasattr(source, "iloc"):  # a frame, without importing pandas
        names = _distinct([str(name) for name in source.columns], "the frame")
        cells = {name: source.iloc[:, i].tolist() for i, name in enumerate(names) if _kept(name, only)}
        return Columns(cells, source="the frame", names=tuple(names))
    if isinstance(source, Mapping):
        cells = {str(name): list(column) for name, column in source.items() if _kept(str(name), only)}
        return _even(Columns(cells, source="the mapping", names=tuple(map(str, source))))
    raise ValueError(f"cannot read a table from a {type(source).__name__}; expected a path, a frame or a mapping")


def read_ids(values: Iterable[Any], *, source: str = "the table", from_text: bool = False) -> list[Any]:
    """Return row ids in their order and type, checked: none missing, none twice.

    numpy scalars become Python values. With ``from_text`` (a CSV has only text) ids that are all plain decimal
    integers become ints of any size; "007" or one word among them keeps all of them text.

    >>> read_ids(["7", "18446744073709551617"], from_text=True), read_ids(["7", "007"], from_text=True)
    ([7, 18446744073709551617], ['7', '007'])

    Raises:
        ValueError: missing or repeated ids, all of them named; ids count as equal when they are written alike.
    """
    ids = [value.item() if hasattr(value, "item") and not isinstance(value, str) else value for value in values]
    blank = [str(row) for row, value in enumerate(ids) if is_missing(value) or value == ""]
    seen: dict[str, int] = {}
    for value in ids:
        seen[str(value)] = seen.get(str(value), 0) + 1
    repeated = [f"{name!r} ({count} times)" for name, count in seen.items() if count > 1 and name not in ("", "nan")]
    problems = []
    if blank:
        problems.append(f"rows without an id (counted from 0): {', '.join(blank)}")
    if repeated:
        problems.append(f"ids that come more than once: {', '.join(repeated)}")
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems) + ". Every row needs an id of its own")
    return [int(value) for value in ids] if from_text and all(map(_is_plain_int, ids)) else ids


def _is_plain_int(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _CHARACTERS_OF_INT or not value.isascii():
        return False
    return value.removeprefix("-").isdigit() and value == str(int(value))


def _kept(name: str, only: Sequence[str] | None) -> bool:
    return only is None or name in only


def _distinct(names: list[str], source: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{source} has more than one column named {', '.join(map(repr, twice))}; expected one of each")
    return names


def _even(columns: Columns) -> Columns:
    lengths = {name: len(column) for name, column in columns.cells.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{columns.source} has columns of unequal length: {lengths}")
    return columns


def _from_parquet(path: Path, only: Sequence[str] | None) -> Columns:
    parquet, arrow = require("pyarrow.parquet", extra="train"), require("pyarrow", extra="train")
    try:
        names = list(parquet.read_schema(path).names)
        table = parquet.read_table(path, columns=[n for n in _distinct(names, str(path)) if _kept(n, only)])
    except (arrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    cells = {name: table.column(name).to_pylist() for name in table.column_names}
    return Columns(cells, source=str(path), names=tuple(names))


def _damaged(path: Path, error: Exception) -> ValueError:
    what = f"{type(error).__name__}: {error}"
    return ValueError(f"{path} cannot be read ({path.stat().st_size} bytes): {what}; copy or download it again")


def _from_csv(path: Path, only: Sequence[str] | None) -> Columns:
    rows, open_quote = _csv_rows(path)
    if not rows:
        raise ValueError(f"{path} is empty; expected a header line and one line per row")
    names, rows = _distinct(rows[0], str(path)), rows[1:]
    broken = {number: _what_broke(row, len(names)) for number, row in enumerate(rows) if len(row) != len(names)}
    if len(rows) - 1 in broken and open_quote:
        broken[len(rows) - 1] += "; a quote is never closed, so the file is cut short or this row swallowed others"
    for number in broken:
        rows[number] = [*rows[number], *[None] * len(names)][: len(names)]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    cells = {name: list(column) for name, column in zip(names, columns, strict=True) if _kept(name, only)}
    return Columns(cells, broken, str(path), tuple(names), only_text=True)


def _csv_rows(path: Path) -> tuple[list[list[str]], bool]:
    """All rows that are not blank, the header too, and whether a quote is left open."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = _Lines(file)
            return [row for row in csv.reader(lines) if row], lines.quotes % 2 == 1
    except (EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
        raise _damaged(path, error) from error


def _what_broke(row: Sequence[str], expected: int) -> str:
    reason = f"{len(row)} cells where the header has {expected}"
    if any("\n" in cell for cell in row):
        reason += "; it spans several lines: a stray quote may have swallowed the rows after it"
    return reason


class _Lines:
    """The lines of a file without NUL (an error in Python 3.10's csv), counting quotes."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file, self.quotes = file, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.quotes += line.count('"')
            yield line.replace("\0", "\ufffd") if "\0" in line else line
