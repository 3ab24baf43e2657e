"""JSONL and parquet files in chunks that several processes can read, each line with its number.

It promises that a chunk is the same lines every time, that no line is lost between two chunks, and that what cannot be
read is handed on as such and never raises. Memory: one chunk (JSONL), or one row group a batch at a time (parquet).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kaggle_utils._optional import require

__all__ = ["LONGEST_LINE", "Chunk", "Line", "first_row", "plan_chunks", "read_lines"]

LONGEST_LINE = 64 << 20
"""Bytes of a line beyond which it is a bad one, of which only the beginning is kept."""
_BATCH_ROWS = 1000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Chunk:
    """A part of an input file."""

    number: int
    """From 0, over all inputs."""
    path: str
    """The file."""
    start: int
    """First byte (JSONL; lines belong to the chunk they begin in), or row group (parquet)."""
    stop: int
    """Where the next one begins."""
    size: int
    """Bytes, for progress."""


@dataclass(frozen=True)
class Line:
    """One line, or row, of an input."""

    number: int
    """Within its chunk, from 0; blank lines count."""
    raw: str
    """What is in the file, without the line feed; a parquet row as JSON."""
    row: dict[str, Any] | None = None
    """The object on it."""
    problem: str = ""
    """Why there is no row; "blank" for a blank line."""


def plan_chunks(inputs: Sequence[Path], chunk_bytes: int) -> list[Chunk]:
    """Cut the inputs.

    Raises:
        FileNotFoundError, ValueError: missing files, unknown endings, damaged parquet; all at once.
    """
    problems, chunks = [], []
    for path in inputs:
        if not path.is_file():
            problems.append(f"{path} is not a file")
        elif path.suffix not in (".jsonl", ".ndjson", ".json", ".parquet"):
            problems.append(f"{path} ends in {path.suffix!r}; expected .jsonl, .ndjson or .parquet")
        else:
            try:
                chunks += [Chunk(0, str(path), *span) for span in _spans(path, chunk_bytes)]
            except (ValueError, OSError) as error:
                problems.append(f"{path} cannot be read: {type(error).__name__}: {error}")
    if problems:
        missing = all("is not a file" in problem for problem in problems)
        raise (FileNotFoundError if missing else ValueError)("the inputs:\n" + "\n".join(f"  - {p}" for p in problems))
    return [Chunk(number, c.path, c.start, c.stop, c.size) for number, c in enumerate(chunks)]


def read_lines(chunk: Chunk) -> Iterator[Line]:
    """All lines of ``chunk``, the blank ones too."""
    if chunk.path.endswith(".parquet"):
        yield from _parquet_rows(chunk)
        return
    with Path(chunk.path).open("rb") as file:
        for number, data in enumerate(_raw_lines(file, chunk)):
            yield _parsed(number, data)


def first_row(inputs: Sequence[Path], chunk_bytes: int = 1 << 16) -> dict[str, Any]:
    """The first row that can be read; empty when there is none."""
    for chunk in plan_chunks(inputs, chunk_bytes):
        for line in read_lines(chunk):
            if line.row is not None:
                return line.row
    return {}


def _spans(path: Path, chunk_bytes: int) -> list[tuple[int, int, int]]:
    if path.suffix == ".parquet":
        metadata = require("pyarrow.parquet", extra="filter").read_metadata(path)
        return [(g, g + 1, metadata.row_group(g).total_byte_size) for g in range(metadata.num_row_groups)]
    size = path.stat().st_size
    return [(at, min(at + chunk_bytes, size), min(chunk_bytes, size - at)) for at in range(0, size, chunk_bytes)]


def _raw_lines(file: BinaryIO, chunk: Chunk) -> Iterator[bytes]:
    """Lines that begin in the chunk; of those that are too long, a little more than the limit."""
    position = 0
    if chunk.start:
        file.seek(chunk.start - 1)
        position = _skip_line(file, chunk.start - 1)  # one before: the chunk may begin where a line does
    if position >= chunk.stop:
        return
    block = file.read(chunk.stop - position)
    rest, _ = (b"", 0) if block.endswith(b"\n") else _read_line(file)
    lines = (block.removeprefix(_BOM) if not position else block).split(b"\n")
    lines[-1] += rest.removesuffix(b"\n")
    yield from lines if lines[-1] or rest else lines[:-1]


def _skip_line(file: BinaryIO, position: int) -> int:
    """Read to the end of the line at ``position``; where the next one begins."""
    while data := file.readline(1 << 20):
        position += len(data)
        if data.endswith(b"\n"):
            break
    return position


def _read_line(file: BinaryIO) -> tuple[bytes, int]:
    """A line, and its length in the file, which is larger where the line is cut."""
    data = file.readline(LONGEST_LINE + 1)
    length = len(data)
    if length > LONGEST_LINE and not data.endswith(b"\n"):
        length = _skip_line(file, length)
    return data, length


def _parsed(number: int, data: bytes) -> Line:
    if len(data) > LONGEST_LINE:
        return Line(number, data[:1000].decode("utf-8", "replace"), problem=f"longer than {LONGEST_LINE} bytes")
    try:
        raw = data.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raw = data.decode("utf-8", "backslashreplace").strip("\r\n")
        return Line(number, raw, problem=f"no UTF-8: {error.reason} at byte {error.start}")
    if not raw.strip():
        return Line(number, raw, problem="blank")
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Line(number, raw, problem=f"no JSON: {error}")
    if not isinstance(row, dict):
        return Line(number, raw, problem=f"no object but {type(row).__name__}")
    return Line(number, raw, row)


def _parquet_rows(chunk: Chunk) -> Iterator[Line]:
    parquet = require("pyarrow.parquet", extra="filter").ParquetFile(chunk.path)
    number = 0
    with parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=range(chunk.start, chunk.stop)):
            for row in batch.to_pylist():
                yield Line(number, json.dumps(row, ensure_ascii=False, default=str), row)
                number += 1
