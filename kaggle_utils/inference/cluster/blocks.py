"""Parquet files cut into blocks of rows: what is scheduled, computed, written and resumed as one.

It promises that the same files are always cut into the same blocks, in the order of the files' names and of the rows in
them, and that a block's rows are read without those of its neighbours staying in memory. It reads only what the files'
ends say (metadata) until a block is asked for.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.inference.cluster.storage import Folder

__all__ = ["Block", "BlockReader", "InputFile", "cut_blocks", "list_inputs"]

_logger = logging.getLogger(__name__)

_LARGE_GROUP = 1 << 30
_THREADS = 16  # of requests for metadata: an object store takes tens of milliseconds for each


@dataclass(frozen=True)
class InputFile:
    """What a parquet file's end says of it."""

    name: str
    """Relative to the input folder."""
    bytes: int
    """Size of the file."""
    rows: int
    """Its rows."""
    digest: str
    """Of its metadata: schema, sizes and statistics of all columns."""


@dataclass(frozen=True)
class Block:
    """Rows that are one unit of work."""

    number: int
    """From 0."""
    name: str
    """Of its part file, without ending: ``block-00000``."""
    first: int
    """Number of its first row in the whole input."""
    pieces: tuple[tuple[str, int, int], ...]
    """(file, first row in it, row behind the last one)."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(stop - start for _, start, stop in self.pieces)

    def to_json(self) -> str:
        """For the way to an actor."""
        return json.dumps([self.number, self.name, self.first, self.pieces])

    @classmethod
    def from_json(cls, text: str) -> Block:
        """Undo ``to_json``."""
        number, name, first, pieces = json.loads(text)
        return cls(number, name, first, tuple((str(file), int(start), int(stop)) for file, start, stop in pieces))


def list_inputs(folder: Folder, name: str | None, *, columns: Sequence[str]) -> list[InputFile]:
    """Read the metadata of the parquet files in a folder (in folders within it too), or of one of them.

    Raises:
        FileNotFoundError: no parquet file there.
        ValueError: files that are damaged or lack one of ``columns``, all named.
    """
    sizes = folder.sizes(recursive=name is None)
    hidden = lambda file: any(part.startswith(("_", ".")) for part in file.split("/"))  # noqa: E731
    names = [file for file in sizes if file.endswith(".parquet") and not hidden(file)] if name is None else [name]
    if not names or (name is not None and name not in sizes):
        raise FileNotFoundError(
            f"there is no parquet file at {folder.path(name or '')}; expected one, or a folder of files that end in "
            f".parquet; there are {list(sizes)[:10] or 'no files'}"
        )
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda file: _inspect(folder, file, sizes[file], columns), names))
    if problems := [problem for problem in found if isinstance(problem, str)]:
        raise ValueError("the input cannot be read:\n" + "\n".join(f"  - {p}" for p in problems))
    return [file for file in found if not isinstance(file, str)]


def cut_blocks(files: Sequence[InputFile], block_rows: int) -> list[Block]:
    """Cut the rows of all files, behind each other, into blocks of ``block_rows``; the last one may be shorter.

    >>> files = [InputFile("a.parquet", 9, 3, ""), InputFile("b.parquet", 9, 4, "")]
    >>> [block.pieces for block in cut_blocks(files, 5)]
    [(('a.parquet', 0, 3), ('b.parquet', 0, 2)), (('b.parquet', 2, 4),)]
    """
    ends = list(itertools.accumulate(file.rows for file in files))
    total = ends[-1] if ends else 0
    starts = range(0, total, block_rows)
    width = max(5, len(str(max(0, len(starts) - 1))))  # so that names sort as numbers do
    return [
        Block(number, f"block-{number:0{width}d}", first, _pieces(files, ends, first, min(first + block_rows, total)))
        for number, first in enumerate(starts)
    ]


class BlockReader:
    """Reads blocks from a folder; may be used by several threads.

    Parquet is stored in row groups, and a part of one cannot be read alone. The last group is kept, so a reader that
    gets blocks in order decodes each group once; a file that is one group of many gigabytes needs that memory in every
    reader, and is better written again with ``row_group_size``.
    """

    def __init__(self, folder: Folder, columns: Sequence[str]) -> None:
        """Read ``columns`` of files in ``folder``."""
        self._folder, self._columns = folder, list(dict.fromkeys(columns))
        self._lock = threading.Lock()
        self._file: tuple[str, Any] | None = None
        self._group: tuple[tuple[str, int], Any] | None = None

    def read(self, block: Block) -> Any:
        """Return the block's rows as a ``pyarrow.Table``."""
        arrow = require("pyarrow", extra="cluster")
        with self._lock:
            tables = [table for piece in block.pieces for table in self._piece(*piece)]
        return arrow.concat_tables(tables, promote_options="permissive")

    def _piece(self, name: str, start: int, stop: int) -> list[Any]:
        metadata = self._opened(name).metadata
        tables, before = [], 0
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            first, last = max(start - before, 0), min(stop - before, rows)
            if first < last:
                tables.append(self._decoded(name, index).slice(first, last - first))
            before += rows
        return tables

    def _opened(self, name: str) -> Any:
        if self._file is None or self._file[0] != name:
            parquet = require("pyarrow.parquet", extra="cluster")
            self._file = (name, parquet.ParquetFile(self._folder.open(name)))
        return self._file[1]

    def _decoded(self, name: str, index: int) -> Any:
        if self._group is None or self._group[0] != (name, index):
            file, self._group = self._opened(name), None  # the old one is gone before the new one comes
            self._group = ((name, index), file.read_row_group(index, columns=self._columns, use_threads=False))
        return self._group[1]


def _pieces(files: Sequence[InputFile], ends: Sequence[int], first: int, last: int) -> tuple[tuple[str, int, int], ...]:
    """Which rows of which files the rows ``first`` to ``last`` of the whole are; ``ends`` are the files' ends in it."""
    found = []
    index = bisect.bisect_right(ends, first)
    while first < last:
        begin, stop = ends[index] - files[index].rows, min(last, ends[index])
        if first < stop:  # a file may have no rows
            found.append((files[index].name, first - begin, stop - begin))
        first, index = stop, index + 1
    return tuple(found)


def _inspect(folder: Folder, name: str, size: int, columns: Sequence[str]) -> InputFile | str:
    arrow, parquet = require("pyarrow", extra="cluster"), require("pyarrow.parquet", extra="cluster")
    try:
        with folder.open(name) as stream:
            file = parquet.ParquetFile(stream)
            metadata, there = file.metadata, file.schema_arrow.names
    except (arrow.ArrowException, OSError) as error:
        return f"{folder.path(name)} ({size} bytes): {type(error).__name__}: {error}; copy or write it again"
    if missing := [column for column in columns if column not in there]:
        return f"{folder.path(name)} has no column {', '.join(missing)}; there are {', '.join(there)}"
    _warn_of_large_groups(folder.path(name), metadata)
    sink = arrow.BufferOutputStream()
    metadata.write_metadata_file(sink)
    digest = hashlib.sha256(sink.getvalue()).hexdigest()[:16]
    return InputFile(name, size, metadata.num_rows, digest)


def _warn_of_large_groups(path: str, metadata: Any) -> None:
    largest = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
    if largest > _LARGE_GROUP:
        _logger.warning(
            "%s has a row group of %.1f GB, which every actor decodes whole; write it again with row_group_size",
            path, largest / 1e9,
        )  # fmt: skip
