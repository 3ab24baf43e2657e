"""Blocks on a Ray cluster: one Ray Data actor pool that workers of a run live in.

What Ray gives here (read in its 2.60 source, and tried): a pool that grows when machines are added, an actor that is
started again elsewhere when its machine is lost, its blocks handed out anew, and no more than two blocks on their way
to an actor. What travels through the object store is a block's name there and a row of figures back; rows go from
parquet to parquet. An actor that cannot be built is tried once more, then the run ends with its error.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.cluster import connected, task_slots
from kaggle_utils.inference.cluster.blocks import Block
from kaggle_utils.inference.cluster.result import ActorsError
from kaggle_utils.inference.cluster.worker import BlockJob, BlockReport, BlockWorker
from kaggle_utils.inference.failures import error_text

__all__ = ["BlockActor", "ray_reports"]

_logger = logging.getLogger(__name__)

_IN_FLIGHT = 2  # blocks of an actor: one is computed, the next is read and prepared
_INIT_DEATHS = 1  # in a row; the second one ends the run with its error
_GRACE = 2.0


def ray_reports(
    job: BlockJob, blocks: Sequence[Block], cluster: str, *, actors: Any, num_gpus: float | None, num_cpus: float
) -> Iterator[BlockReport]:
    """Compute blocks on a cluster and yield their reports as they come; arguments as of ``run_dataset``.

    Raises:
        ActorsError: no actor can be built, or the cluster has no room for one.
    """
    require("ray.data", extra="cluster")
    with connected(cluster) as ray:
        if num_gpus is None:
            num_gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        sizes = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        slots = task_slots(ray, **sizes)
        if not slots:
            told = f"no machine of the cluster has room for an actor with {sizes}: {ray.cluster_resources()}"
            if cluster == "local":
                raise ActorsError(told)
            _logger.warning("%s; waiting for one", told)  # of a cluster that scales by itself
        least, most = _pool_size(actors, slots, len(blocks))
        place = replace(job.place, devices=job.place.devices or _devices(num_gpus), threads=max(1, int(num_cpus)))
        dataset = _dataset(ray, replace(job, place=place), blocks, least, most, sizes)
        yield from _consumed(ray, dataset, job.ends_at)


def _dataset(ray: Any, job: BlockJob, blocks: Sequence[Block], least: int, most: int | None, sizes: dict) -> Any:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = ray.data.from_items([{"block": block.to_json()} for block in blocks], override_num_blocks=len(blocks))
    context = items.context  # its own: other data sets of this process keep their settings
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a block that is lost is counted at the end, and does not end the others
    context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    context.execution_no_progress_timeout_s = -1  # a block may take hours
    context.autoscaling_config = replace(context.autoscaling_config, actor_pool_util_upscaling_threshold=1.0)
    pool = ray.data.ActorPoolStrategy(
        min_size=least, max_size=most, initial_size=least, max_tasks_in_flight_per_actor=_IN_FLIGHT,
        max_concurrent_calls_per_actor=_IN_FLIGHT, enable_true_multi_threading=True,
    )  # fmt: skip
    return items.map_batches(
        BlockActor, fn_constructor_args=(job,), batch_size=1, batch_format="numpy", compute=pool, **sizes
    )


def _consumed(ray: Any, dataset: Any, ends_at: float | None) -> Iterator[BlockReport]:
    """Reports as they come; past the deadline only those of blocks that are on their way."""
    rows = iter(dataset.iter_rows())
    try:
        for row in rows:
            yield BlockReport(**json.loads(row["report"]))
            if ends_at is not None and time.time() > ends_at + _GRACE:
                break
    except ray.exceptions.RayError as error:
        raise ActorsError(f"no actor can work: {_cause(error)}") from error
    finally:
        with contextlib.suppress(AttributeError):
            rows.close()
        del rows
        gc.collect()  # the executor ends with its iterator, and its actors with it


class BlockActor:
    """A worker in an actor."""

    def __init__(self, job: BlockJob) -> None:
        """Build what computes."""
        import ray

        self._worker = BlockWorker(job, node=ray.get_runtime_context().get_node_id())

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Compute one block and return its report."""
        (text,) = batch["block"]
        try:
            report = self._worker.work(Block.from_json(str(text)))
        except Exception as error:
            # The device answers nothing more in this process. Ray starts the actor again and hands its blocks out anew.
            _logger.error("%s; the actor ends", error_text(error))
            os._exit(1)
        return {"report": [json.dumps(report.to_row())]}


def _pool_size(actors: Any, slots: int, blocks: int) -> tuple[int, int | None]:
    """(least, most) actors; not more than there are blocks."""
    least, most = actors if isinstance(actors, tuple) else (actors, actors)
    least = least if least is not None else max(1, slots)
    least = min(least, blocks)
    return least, (None if most is None else max(least, min(most, blocks)))


def _devices(num_gpus: float) -> tuple[str, ...]:
    """What Ray gives an actor is numbered from 0 in it; several GPUs are a pipeline."""
    return (",".join(f"cuda:{i}" for i in range(max(1, int(num_gpus)))),) if num_gpus > 0 else ("cpu",)


def _cause(error: BaseException) -> str:
    """The first line that a person can use."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and not line.startswith(("File", "ray::"))]
    return (telling or lines or [type(error).__name__])[-1]
