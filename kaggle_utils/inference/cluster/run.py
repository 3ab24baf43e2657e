"""A run over blocks of a data set, on a Ray cluster or in this process: what is left, who does it, what came of it.

It promises that blocks whose parts are whole are not computed again, that the parts of a run that ends well hold every
row of the input once, and that a block that failed is tried again as long as others succeed, then named with its
reason. What computes a block, and how, it does not know.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from kaggle_utils.inference.cluster.blocks import Block, BlockReader, list_inputs
from kaggle_utils.inference.cluster.manifest import Manifest, claim_folder
from kaggle_utils.inference.cluster.parts import check_parts
from kaggle_utils.inference.cluster.result import ActorsError, DatasetError, DatasetResult, summed_up
from kaggle_utils.inference.cluster.storage import TEMPORARY, Folder, folder_and_name
from kaggle_utils.inference.cluster.tasks import BlockTask, Place
from kaggle_utils.inference.cluster.worker import ATTEMPTS, BlockJob, BlockReport, BlockWorker
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.workers import WORKER_KINDS
from kaggle_utils.models.rooms import device_rooms

__all__ = ["run_dataset"]

_logger = logging.getLogger(__name__)

_ROUNDS = 3
_FAILURES_IN_A_ROW = 16


def run_dataset(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    task: BlockTask,
    *,
    cluster: str | None = "auto",
    actors: int | tuple[int, int | None] | None = None,
    num_gpus: float | None = None,
    num_cpus: float = 1.0,
    devices: Sequence[str] | None = None,
    workers: str = "processes",
    block_rows: int = 2000,
    keep: Sequence[str] | None = None,
    deadline: float | Deadline | None = None,
    progress: bool = True,
) -> DatasetResult:
    """Compute a data set block by block; the same call again goes on where the last one ended.

    Args:
        input: a parquet file or a folder of them, with folders in it; a path that all machines see, or an address such
            as ``s3://bucket/rows``. Files count in the order of their names.
        output: the folder of the part files, one a block, and of what describes the run; a path that all machines see,
            or an address. It is a data set for other programs too: read it with
            :func:`~kaggle_utils.inference.cluster.parts.read_dataset`.
        task: what to compute.
        cluster: "auto", "local" or an address, see :func:`kaggle_utils.cluster.connected`; None computes in this
            process, without Ray.
        actors: how many at a time: a number, or (least, most) with None for as many as the cluster gets. None: as many
            as fit now, and more when machines are added.
        num_gpus: GPUs of one actor; None: 1 where the cluster has GPUs, else 0.
        num_cpus: cores of one actor.
        devices: what an actor's engine is given; None: ``["cuda:0"]`` (``"cuda:0,cuda:1"``, a pipeline, with two GPUs)
            or ``["cpu"]``. Without Ray: all GPUs of this machine.
        workers: "processes" (a scorer that dies takes nothing along, and a GPU's error is mended by a new process) or
            "threads" (starts sooner; the scorer may be a function of the script). Generators run in the actor itself.
        block_rows: rows of a block: what is lost at most when a worker is, and what an actor holds in memory.
        keep: columns of the input to copy; None: ``id``, if there is one. ``row``, the row's number in the whole
            input, and ``problem``, why a row has no result, are there in any case.
        deadline: seconds from now or a moment; blocks that it leaves are named, and the next call computes them.
        progress: show a bar.

    Raises:
        ValueError: arguments, input or a scorer that cannot work, all named, before anything is started.
        FileNotFoundError: no input.
        MixedRunsError: the output folder holds another run.
        DatasetError: blocks that could not be computed, or no actor that could be built; the others are done.
        ModuleNotFoundError: pyarrow or ray is not installed.
        ConnectionError: no cluster at that address.
    """
    started = time.monotonic()
    deadline = Deadline.of(deadline)
    problems = _problems(task, actors, num_gpus, num_cpus, workers, block_rows)
    if problems:
        raise ValueError("nothing was computed:\n" + "\n".join(f"  - {p}" for p in problems))
    (source, name), target = folder_and_name(input), Folder(output)
    plan = _plan(source, name, task, keep, block_rows)
    task = task.settled(lambda: BlockReader(source, task.columns).read(plan.blocks()[0]))
    plan = Manifest(task.about(), plan.keep, plan.block_rows, plan.inputs)
    claim_folder(target, plan)
    _clean(target)
    blocks = plan.blocks()
    states = check_parts(target, blocks, run=plan.digest)
    for block_name, state in states.items():
        if state.wrong:
            _logger.warning("%s is computed again: %s", target.path(block_name), state.wrong)
    waiting = [block for block in blocks if block.name not in states or not states[block.name].whole]
    ends_at = time.time() + deadline.left() if deadline.set else None
    place = Place(tuple(devices or ()), workers, None)
    job = BlockJob(task, source, target, plan.digest, plan.keep, place, ends_at)
    sizes = {"actors": actors, "num_gpus": num_gpus, "num_cpus": num_cpus}
    reports, trouble = _rounds(job, waiting, cluster, sizes, plan.rows, progress)
    result = summed_up(target, plan, reports, seconds=time.monotonic() - started)
    if trouble is not None or (result.missing and not result.left):
        raise DatasetError(result, trouble) from trouble
    return result


def _plan(source: Folder, name: str | None, task: BlockTask, keep: Sequence[str] | None, block_rows: int) -> Manifest:
    wanted = list(dict.fromkeys([*(keep or ()), *task.columns]))
    files = list_inputs(source, name, columns=wanted)
    if not any(file.rows for file in files):
        raise ValueError(f"{source.path(name or '')} has no rows; expected some")
    if keep is None:
        try:
            list_inputs(source, files[0].name, columns=["id"])
        except ValueError:
            keep = ()
        else:
            keep = ("id",)
    return Manifest({}, tuple(keep), block_rows, tuple(files))


def _problems(task: BlockTask, actors: Any, num_gpus: Any, num_cpus: Any, workers: str, block_rows: int) -> list[str]:
    problems = [] if workers in WORKER_KINDS else [f"workers is {workers!r}, expected one of {WORKER_KINDS}"]
    if not isinstance(block_rows, int) or block_rows < 1:
        problems.append(f"block_rows is {block_rows!r}, expected a whole number of at least 1")
    least, most = actors if isinstance(actors, tuple) else (actors, actors)
    if least is not None and (least < 1 or (most is not None and most < least)):
        problems.append(f"actors is {actors!r}, expected a number from 1, or (least, most)")
    if num_gpus is not None and num_gpus < 0:
        problems.append(f"num_gpus is {num_gpus}, expected 0 or more, or None")
    if num_cpus <= 0:
        problems.append(f"num_cpus is {num_cpus}, expected more than 0")
    return problems + task.problems(workers)


def _clean(folder: Folder) -> None:
    """Remove what a killed run has left: files that were being written, marks of blocks that were being computed."""
    folder.delete(name for name in folder.sizes() if name.startswith(TEMPORARY))
    marks = folder.under(ATTEMPTS)
    marks.delete(marks.sizes())


def _rounds(
    job: BlockJob, waiting: Sequence[Block], cluster: str | None, sizes: dict[str, Any], rows: int, progress: bool
) -> tuple[list[BlockReport], Exception | None]:
    """Compute blocks; those that fail are tried again while others succeed."""
    final: dict[int, BlockReport] = {}
    todo = list(waiting)
    done_before = rows - sum(block.rows for block in todo)
    with tqdm(total=rows, initial=done_before, unit="row", desc="blocks", disable=not progress or not todo) as bar:
        for _ in range(_ROUNDS if todo else 0):
            try:
                for report in _unless_all_fail(_reports(job, todo, cluster, sizes)):
                    final[report.number] = report
                    bar.update(report.rows if report.status in ("done", "there") else 0)
            except ActorsError as error:
                return list(final.values()), error
            good = {number for number, report in final.items() if report.status in ("done", "there")}
            left = any(report.status == "left" for report in final.values())
            still = [block for block in todo if block.number not in good]
            if not still or left or len(still) == len(todo):
                break
            _logger.warning("%d blocks are tried again", len(still))
            todo = still
    return list(final.values()), None


def _unless_all_fail(reports: Iterator[BlockReport]) -> Iterator[BlockReport]:
    """End a run in which nothing goes well, before it has gone through a million rows."""
    in_a_row = 0
    for report in reports:
        in_a_row = in_a_row + 1 if report.status == "failed" else 0
        yield report
        if in_a_row >= _FAILURES_IN_A_ROW:
            raise ActorsError(f"{in_a_row} blocks failed one after another; the last one: {report.error}")


def _reports(
    job: BlockJob, blocks: Sequence[Block], cluster: str | None, sizes: dict[str, Any]
) -> Iterator[BlockReport]:
    if cluster is None:
        return _here(job, blocks)
    from kaggle_utils.inference.cluster.actors import ray_reports

    return ray_reports(job, blocks, cluster, **sizes)


def _here(job: BlockJob, blocks: Sequence[Block]) -> Iterator[BlockReport]:
    """Compute in this process; while one block is computed, the next is read and prepared."""
    devices = job.place.devices or tuple(room.name for room in device_rooms())
    try:
        worker = BlockWorker(replace(job, place=replace(job.place, devices=devices)))
    except Exception as error:
        raise ActorsError(f"what computes cannot be built: {error}") from error
    pool = ThreadPoolExecutor(2, thread_name_prefix="blocks")
    try:
        for future in [pool.submit(worker.work, block) for block in blocks]:
            try:
                report = future.result()
            except Exception as error:  # the device is lost, and with it this process
                raise ActorsError(f"nothing more can be computed in this process: {error}") from error
            yield report
    finally:
        pool.shutdown(cancel_futures=True)
        worker.close()
