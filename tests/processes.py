"""Two processes that a launcher would have started, as forks of this one: torch and transformers are there already."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing import connection

__all__ = ["in_two_processes", "shard_on_cpu"]


def in_two_processes(function: Callable[..., object], *given: object, timeout: float = 150) -> list[int]:
    """Call ``function(rank, *given)`` in both, and return their exit codes; as torchrun does, one's end ends the other.

    What they print lies in this process's standard output and error.
    """
    import accelerate  # noqa: F401 - before the fork
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)  # the threads of the parent are not in a fork, and a computation would wait for them
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_launched, args=(function, rank, port, given)) for rank in range(2)]
    for process in both:
        process.start()
    until = time.monotonic() + timeout
    running = {process.sentinel: process for process in both}
    while running and not any(process.exitcode for process in both):
        for ended in connection.wait(list(running), timeout=max(0, until - time.monotonic())) or list(running):
            running.pop(ended)
    for process in both:
        process.join(0 if process.sentinel in running else None)
        process.kill()
        process.join()
    return [process.exitcode for process in both]


def _launched(function: Callable[..., object], rank: int, port: int, given: tuple[object, ...]) -> None:
    import accelerate

    # One thread, as torchrun says too: accelerate would take all cores, whose threads are not in a fork.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "", "LOCAL_WORLD_SIZE": "2",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    faulthandler.enable()
    accelerate.state.AcceleratorState._reset_state(True)  # what the forked process knew of itself
    function(rank, *given)


def shard_on_cpu() -> None:
    """Be as under ``accelerate launch --use_fsdp``; accelerate by itself would shard on GPUs only."""
    from accelerate.state import AcceleratorState, DistributedType, PartialState

    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true",
                   "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
                   "FSDP_CPU_RAM_EFFICIENT_LOADING": "true", "FSDP_SYNC_MODULE_STATES": "true"}  # fmt: skip
    plain = AcceleratorState.__init__

    def init(self, *given, **options):
        if not AcceleratorState._shared_state:
            PartialState(cpu=True)
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        plain(self, *given, **options)

    AcceleratorState.__init__ = init
