"""The part files of a run over many machines: one for each block, and reading them back in order.

It promises that a part counts only when it is whole: its end can be read, it belongs to this run and this block, and it
has the block's number of rows. Pages carry checksums, which reading verifies. It does not know how rows were computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.inference.cluster.blocks import Block
from kaggle_utils.inference.cluster.manifest import MANIFEST, read_manifest
from kaggle_utils.inference.cluster.storage import Folder

__all__ = ["PartState", "check_parts", "iter_dataset", "part_file", "part_state", "read_dataset", "write_part"]

_KEY = b"kaggle_utils"
_THREADS = 16


@dataclass(frozen=True)
class PartState:
    """What is known of a part file."""

    whole: bool
    """It is there and as it should be."""
    problems: int = 0
    """Its rows without a result."""
    wrong: str = ""
    """What is wrong with one that is there; "" where it is whole or absent."""


def part_file(block: Block) -> str:
    """Name of a block's part.

    >>> part_file(Block(3, "block-00003", 6000, ()))
    'block-00003.parquet'
    """
    return f"{block.name}.parquet"


def write_part(folder: Folder, block: Block, table: Any, *, run: str, problems: int) -> int:
    """Write a block's part and return its bytes; ``run`` names the run (``manifest_digest``)."""
    arrow, parquet = require("pyarrow", extra="cluster"), require("pyarrow.parquet", extra="cluster")
    if table.num_rows != block.rows:
        raise ValueError(f"{block.name} has {block.rows} rows, but {table.num_rows} were computed; nothing is written")
    note = {"run": run, "block": block.name, "rows": block.rows, "problems": problems}
    sink = arrow.BufferOutputStream()
    table = table.replace_schema_metadata({_KEY: json.dumps(note)})
    parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content = sink.getvalue()
    folder.write(part_file(block), content)
    return len(content)


def part_state(folder: Folder, block: Block, *, run: str) -> PartState:
    """Look at a block's part: only its end is read."""
    arrow, parquet = require("pyarrow", extra="cluster"), require("pyarrow.parquet", extra="cluster")
    try:
        with folder.open(part_file(block)) as stream:
            metadata = parquet.ParquetFile(stream).metadata
            note = json.loads((metadata.metadata or {}).get(_KEY, b"{}"))
    except FileNotFoundError:
        return PartState(False)
    except (arrow.ArrowException, OSError, ValueError) as error:
        return PartState(False, wrong=f"{type(error).__name__}: {error}")
    if note.get("run") != run or note.get("block") != block.name:
        return PartState(False, wrong=f"it is {note.get('block', 'no part')} of run {note.get('run', 'unknown')}")
    if metadata.num_rows != block.rows:
        return PartState(False, wrong=f"it has {metadata.num_rows} rows of {block.rows}")
    return PartState(True, int(note.get("problems", 0)))


def check_parts(folder: Folder, blocks: Sequence[Block], *, run: str) -> dict[str, PartState]:
    """Look at all parts that are there; blocks without a file are left out."""
    there = folder.sizes()
    present = [block for block in blocks if part_file(block) in there]
    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(lambda block: part_state(folder, block, run=run), present)
        return {block.name: state for block, state in zip(present, states, strict=True)}


def iter_dataset(output: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the blocks of a finished run as ``pyarrow.Table``, in the order of the input.

    Args:
        output: the folder that was written.
        columns: which columns; None for all.

    Raises:
        FileNotFoundError: no run there.
        ValueError: blocks that are missing or damaged, all named; the run that wrote them computes them again.
    """
    folder = Folder(output)
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder} holds no run: there is no {MANIFEST} in it; it holds {list(folder.sizes())}")
    blocks, run = manifest.blocks(), manifest.digest
    states = check_parts(folder, blocks, run=run)
    bad = [(b.name, states[b.name].wrong if b.name in states else "it is not there yet") for b in blocks
           if b.name not in states or not states[b.name].whole]  # fmt: skip
    if bad:
        shown = "\n".join(f"  - {name}: {why}" for name, why in bad[:20])
        missing = f"{len(bad)} of {len(blocks)} blocks are missing"
        raise ValueError(f"{folder}: {missing}; run it again to add them:\n{shown}")
    return _tables(folder, blocks, columns)


def read_dataset(output: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> Any:
    """Return all rows of a finished run as one ``pyarrow.Table``, in the order of the input; see :func:`iter_dataset`.

    A column of lists of one length (probabilities, logits) as an array: ``as_array``.
    """
    arrow = require("pyarrow", extra="cluster")
    return arrow.concat_tables(list(iter_dataset(output, columns=columns)))


def _tables(folder: Folder, blocks: Sequence[Block], columns: Sequence[str] | None) -> Iterator[Any]:
    for block in blocks:
        yield _table(folder, part_file(block), columns)


def _table(folder: Folder, name: str, columns: Sequence[str] | None) -> Any:
    arrow, parquet = require("pyarrow", extra="cluster"), require("pyarrow.parquet", extra="cluster")
    try:
        with folder.open(name) as stream:
            file = parquet.ParquetFile(stream, page_checksum_verification=True)
            return file.read(columns=list(columns) if columns else None).replace_schema_metadata(None)
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{folder.path(name)} is damaged ({type(error).__name__}: {error}); delete it and run again: only it is "
            "computed"
        ) from error
