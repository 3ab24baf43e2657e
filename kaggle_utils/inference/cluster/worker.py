"""One block at a time: read it, compute it, write its part; what an actor does, and what a run without Ray does itself.

It promises that a part is written whole or not at all, that what goes wrong with a block comes back as words, and that
while one block is computed the next can be read and prepared in another thread. A block whose worker was lost again and
again is given up rather than tried for ever: each try leaves a mark in the output folder until its part is there. It
does not know who hands blocks out.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.inference.cluster.blocks import Block, BlockReader
from kaggle_utils.inference.cluster.parts import part_state, write_part
from kaggle_utils.inference.cluster.storage import Folder
from kaggle_utils.inference.cluster.tasks import BlockTask, Place
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.engine import EngineError
from kaggle_utils.inference.failures import error_text, is_device_lost

__all__ = ["ATTEMPTS", "ROW", "BlockJob", "BlockReport", "BlockWorker"]

ATTEMPTS = "_attempts"
"""Folder of the marks of blocks that are being computed."""
ROW = "row"
"""Column with a row's number in the whole input."""
_MOST_ATTEMPTS = 4


@dataclass(frozen=True)
class BlockReport:
    """What became of a block; plain values, so that it travels as a row."""

    number: int
    """Of the block."""
    name: str
    """Of the block."""
    status: str
    """"done", "there" (its part was whole already), "left" (by the deadline) or "failed"."""
    rows: int
    """Of the block."""
    problems: int = 0
    """Rows without a result."""
    bytes: int = 0
    """Of the part."""
    read_seconds: float = 0.0
    """Reading its slice of the input."""
    prepare_seconds: float = 0.0
    """Tokenising, say."""
    wait_seconds: float = 0.0
    """Until the block before it was through."""
    compute_seconds: float = 0.0
    """Scoring or generating."""
    write_seconds: float = 0.0
    """Writing its part."""
    began: float = 0.0
    """``time.time()`` there when it was taken up."""
    ended: float = 0.0
    """``time.time()`` there when its part was written."""
    host: str = ""
    """Who computed it."""
    node: str = ""
    """Ray's name of the machine."""
    pid: int = 0
    """Of the actor."""
    notes: str = ""
    """What happened: memory that ran out, workers that died; one a line."""
    error: str = ""
    """Why it failed."""

    @classmethod
    def of(cls, block: Block, status: str, **more: Any) -> BlockReport:
        """Of this process."""
        return cls(block.number, block.name, status, block.rows, host=socket.gethostname(), pid=os.getpid(), **more)

    def to_row(self) -> dict[str, Any]:
        """As plain values by name."""
        return asdict(self)


@dataclass(frozen=True)
class BlockJob:
    """What a worker is to do with the blocks that come; travels to the actors."""

    task: BlockTask
    """Who computes."""
    source: Folder
    """Where the input lies."""
    output: Folder
    """Where parts go."""
    run: str
    """Name of the run."""
    keep: tuple[str, ...]
    """Columns that are copied."""
    place: Place
    """What there is to compute with."""
    ends_at: float | None = None
    """``time.time()`` of the deadline: machines share no other clock."""

    def deadline(self) -> Deadline:
        """The deadline on this machine."""
        return Deadline.of(None if self.ends_at is None else self.ends_at - time.time())


class BlockWorker:
    """Computes blocks one after another; two threads may call ``work``, so that reading overlaps with computing."""

    def __init__(self, job: BlockJob, *, node: str = "") -> None:
        """Build what computes; raises where that cannot work."""
        self._job, self._node = job, node
        self._reader = BlockReader(job.source, [*job.keep, *job.task.columns])
        self._marks = job.output.under(ATTEMPTS)
        self._turn = threading.Lock()
        self._engine: Any = job.task.build(job.place)

    def work(self, block: Block) -> BlockReport:
        """Compute a block and write its part.

        Raises:
            Exception: a device that answers no more; the process should end and be started again.
        """
        if part_state(self._job.output, block, run=self._job.run).whole:
            return BlockReport.of(block, "there", node=self._node)
        if self._job.deadline().left() <= 0:
            return BlockReport.of(block, "left", node=self._node)
        tries = [name for name in self._marks.sizes() if name.startswith(f"{block.name}.")]
        if len(tries) >= _MOST_ATTEMPTS:
            error = f"{len(tries)} workers were lost with it; its rows seem to end the process (out of memory?)"
            return BlockReport.of(block, "failed", node=self._node, error=error)
        mark = f"{block.name}.{uuid.uuid4().hex[:12]}.json"
        who = {"host": socket.gethostname(), "pid": os.getpid(), "node": self._node, "time": time.time()}
        self._marks.write(mark, json.dumps(who).encode())
        try:
            report = self._compute(block)
        except Exception as error:
            if self._lost(error):
                raise
            report = BlockReport.of(block, "failed", node=self._node, error=error_text(error))
        self._marks.delete([mark, *(tries if report.status == "done" else ())])
        return report

    def close(self) -> None:
        """Give memory and processes back."""
        self._engine.close()

    def _lost(self, error: Exception) -> bool:
        """Whether nothing more can be computed in this process."""
        here = self._job.place.workers == "threads" and any(d.startswith("cuda") for d in self._job.place.devices)
        return is_device_lost(error) or (here and isinstance(error, EngineError))

    def _compute(self, block: Block) -> BlockReport:
        began, clock = time.time(), _Clock()
        table = self._reader.read(block)
        seconds = {"read_seconds": clock.lap()}
        prepared = self._engine.prepare(table)
        seconds["prepare_seconds"] = clock.lap()
        with self._turn:
            seconds["wait_seconds"] = clock.lap()
            computed = self._engine.compute(prepared, self._job.deadline())
            seconds["compute_seconds"] = clock.lap()
        if computed is None:
            return BlockReport.of(block, "left", node=self._node, **seconds)
        problems = sum(problem is not None for problem in computed.problems)
        part = self._part(block, table, computed.columns, computed.problems)
        size = write_part(self._job.output, block, part, run=self._job.run, problems=problems)
        seconds["write_seconds"] = clock.lap()
        return BlockReport.of(
            block, "done", problems=problems, bytes=size, began=began, ended=time.time(), node=self._node,
            notes="\n".join(computed.notes), **seconds,
        )  # fmt: skip

    def _part(self, block: Block, table: Any, columns: Any, problems: Sequence[str | None]) -> Any:
        arrow = require("pyarrow", extra="cluster")
        rows = arrow.array(range(block.first, block.first + block.rows), arrow.int64())
        kept = {name: table.column(name) for name in self._job.keep}
        return arrow.table({ROW: rows, **kept, **columns, "problem": arrow.array(problems, arrow.string())})


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last
