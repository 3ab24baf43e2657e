"""The end of a run: chunks and the drops of the second pass become the output, the dropped rows and the bad lines.

It promises that each file appears whole, in the order of the inputs, and that doing it again gives the same bytes.
Memory: the dropped rows of one chunk.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Any

from .chunk_job import Tally, as_json
from .set_stages import SetDrops
from .work_folder import Outputs, WorkFolder, write_whole

__all__ = ["write_outputs"]


def write_outputs(
    folder: WorkFolder, outputs: Outputs, drops: SetDrops, places: Sequence[tuple[str, int]], tally: Tally
) -> None:
    """Write kept, dropped and bad; count the drops of the second pass into ``tally``."""
    with ExitStack() as files:
        bad, dropped, kept = (
            files.enter_context(write_whole(path, sync=True)) for path in (outputs.bad, outputs.dropped, outputs.kept)
        )
        for number, (source, before) in enumerate(places):
            with folder.file(number, "bad").open("rb") as lines:
                for line in lines:
                    bad.write(_placed(line, source, before))
            _write_chunk(folder, number, drops[number], (source, before), (kept, dropped), tally)


def _write_chunk(
    folder: WorkFolder,
    number: int,
    drops: dict[int, Any],
    place: tuple[str, int],
    files: tuple[IO[bytes], IO[bytes]],
    tally: Tally,
) -> None:
    source, before = place
    kept, dropped = files
    path = folder.file(number, "kept")
    gone = folder.file(number, "dropped").read_bytes().splitlines(keepends=True)
    if drops:
        lines = folder.arrays(number)["lines"]
        with path.open("rb") as rows:
            for index, row in enumerate(rows):
                if index not in drops:
                    kept.write(row)
                    continue
                stage, finding = drops[index]
                line = int(lines[index])
                text = row.decode()[:200].strip()
                tally.add(stage, finding, {"line": before + line + 1, "field": "", "why": finding.why,
                                           "detail": finding.detail, "text": text, "source": source})  # fmt: skip
                head = as_json({"stage": stage, "why": finding.why, "detail": finding.detail, "field": ""})
                gone.append(f'{line}\t{head[1:-1]}, "row": '.encode() + row.rstrip(b"\n") + b"}\n")
        gone.sort(key=lambda record: int(record.partition(b"\t")[0]))
    else:
        with path.open("rb") as rows:
            shutil.copyfileobj(rows, kept, 1 << 20)
    dropped.writelines(_placed(record, source, before) for record in gone)


def _placed(record: bytes, source: str, before: int) -> bytes:
    """A record of a chunk with its file and its line there."""
    line, _, rest = record.partition(b"\t")
    return as_json({"source": source, "line": before + int(line) + 1})[:-1].encode() + b", " + rest
