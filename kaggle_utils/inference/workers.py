"""Workers, one per device, in processes or threads, as the engine sees them.

It promises that a worker's death, however it dies, is noticed and costs nothing but the packs it held, and that no
process outlives the run or the engine. It does not decide what a worker does next.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from kaggle_utils.inference.dispatch import PackTask
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.inference.worker_loop import Preparation, serve, serve_process

__all__ = ["WORKER_KINDS", "Facts", "Worker", "close_workers", "receive", "threads_each", "worker_labels"]

WORKER_KINDS = ("processes", "threads")
"""``processes`` share no interpreter lock, free their memory by ending, and one that dies takes no other along;
``threads`` start at once and share what the notebook has loaded. Measured with two workers on two cores and a small
Llama: processes were 1.1 to 1.4 times as fast with rows under 100 tokens, where Python's own work counts, and the two
were even (0.9 to 1.1) with rows of 300. So processes are the rule, threads are for tests and short runs."""

_LAST_WORDS = 2.0  # seconds for a process that is ended to write its stacks


@dataclass(frozen=True)
class Facts:
    """What a built scorer said of itself."""

    padded: bool
    """Its rows are padded."""
    max_tokens: int
    """Largest pack."""
    seconds: float
    """What building took."""
    depth: int
    """How many packs it works on at a time: 1 where each is done before the next begins."""
    hardware: str
    """What the driver calls the device."""
    checks: bool = False
    """It can check its first rows."""
    tunes: bool = False
    """It chooses by measuring how it computes."""
    flops_per_token: float | None = None
    """Operations of one token."""


def worker_labels(devices: Sequence[str]) -> list[str]:
    """Name workers by their device, numbered where a device has several.

    >>> worker_labels(["cuda:0", "cuda:1"]), worker_labels(["cpu", "cpu"])
    (['cuda:0', 'cuda:1'], ['cpu#0', 'cpu#1'])
    """
    return [
        device if devices.count(device) == 1 else f"{device}#{devices[:i].count(device)}"
        for i, device in enumerate(devices)
    ]


class Worker:
    """One worker: what it holds, what it was given, and the line to it.

    Attributes:
        own: scorers that it builds unasked; others only to help.
        order: scorers that it may build, those that it prefers first.
        resident: scorers that it has built.
        building: scorers that it is building or preparing; it takes no packs meanwhile.
        prepared: what it chose by measuring, by scorer that is ready for packs; None where there was no choice.
        cannot: scorers that it could not build, with the reason.
        outstanding: packs it was given and has not answered, oldest first.
        budgets: largest pack by scorer, once memory ran out.
        dead: why it answers no more, or None.
    """

    def __init__(
        self,
        label: str,
        device: str,
        specs: Mapping[str, ScorerSpec],
        *,
        kind: str,
        own: Sequence[str],
        order: Sequence[str],
        threads: int = 0,
    ) -> None:
        """Start a worker of ``kind`` on ``device``; it has scorers of its ``own`` and may take all in ``order``."""
        self.label, self.device, self.own, self.order = label, device, frozenset(own), tuple(order)
        self.resident: dict[str, Facts] = {}
        self.building: set[str] = set()
        self.prepared: dict[str, str | None] = {}
        self.cannot: dict[str, str] = {}
        self.outstanding: dict[int, PackTask] = {}
        self.budgets: dict[str, int] = {}
        self.dead: str | None = None
        self._heard = time.monotonic()
        self._line, other = multiprocessing.Pipe()
        if kind == "processes":
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self._body: Any = context.Process(
                target=serve_process, args=(other, device, dict(specs), threads), name=f"worker {label}", daemon=True
            )
        else:
            self._body = threading.Thread(
                target=serve, args=(other, device, specs), name=f"worker {label}", daemon=True
            )
        self._body.start()
        if kind == "processes":
            other.close()

    @property
    def pid(self) -> int | None:
        """Process id; None for a thread."""
        return getattr(self._body, "pid", None)

    @property
    def silent(self) -> float:
        """Seconds since it last said something or was given work; 0 while it has nothing to do."""
        return time.monotonic() - self._heard if self.outstanding or self.building else 0.0

    def build(self, name: str, *, drop: Sequence[str] = ()) -> None:
        """Let it build a scorer after dropping others."""
        for other in drop:
            self.resident.pop(other, None)
            self.prepared.pop(other, None)
        self.building.add(name)
        self._send("build", name, tuple(drop))

    def prepare(self, name: str, what: Preparation) -> None:
        """Let a scorer that it has built check its first rows, and choose or adopt a way to compute."""
        self.building.add(name)
        self._send("prepare", name, what)

    def give(self, task: PackTask, ids: Any, lengths: Any) -> None:
        """Let it score a pack: all token ids one after another, and the length of each row."""
        self.outstanding[task.number] = task
        self._send("score", task.number, task.scorer, task.safe, ids, lengths)

    def messages(self) -> list[tuple]:
        """Return what has come from it; the last is ``("dead", reason)`` when it has died."""
        found: list[tuple] = []
        alive = self._body.is_alive()  # asked first: what a dead worker has sent is all there
        try:
            while self._line.poll(0):
                found.append(self._line.recv())
        except (EOFError, OSError):
            alive = False
        if not alive or ("lost",) in found:
            found = [message for message in found if message != ("lost",)]
            found.append(("dead", self._obituary()))
        if found:
            self._heard = time.monotonic()
        return found

    def kill(self, *, stacks: bool = False) -> None:
        """End it by force where it is a process; with ``stacks`` stderr first shows what its threads were doing."""
        if self.pid is None or not self._body.is_alive():
            return
        if stacks and hasattr(signal, "SIGUSR1"):  # for which it has a handler
            os.kill(self.pid, signal.SIGUSR1)
            self._body.join(_LAST_WORDS)
        self._body.kill()
        self._body.join(5)

    def close(self, *, seconds: float) -> None:
        """Stop it: politely, then by force where it is a process; a thread that hangs is abandoned."""
        self._send("stop")
        self._body.join(max(0.0, seconds))
        self.kill()
        if not self._body.is_alive():
            self._line.close()

    def _send(self, *message: Any) -> None:
        self._heard = time.monotonic()
        with contextlib.suppress(OSError):  # a dead worker is noticed in messages()
            self._line.send(message)

    def _obituary(self) -> str:
        if self.pid is None:
            return "its thread ended"
        self._body.join(5)
        code = self._body.exitcode
        if code is not None and code < 0:
            return f"its process was killed by signal {-code}" + " (often: out of host memory)" * (code == -9)
        return f"its process ended with code {code}"


def receive(workers: Sequence[Worker], *, timeout: float) -> list[tuple[Worker, tuple]]:
    """Wait at most ``timeout`` seconds for messages of living workers, and return all that have come."""
    living = [worker for worker in workers if worker.dead is None]
    connection.wait([worker._line for worker in living], timeout=max(0.0, timeout))
    return [(worker, message) for worker in living for message in worker.messages()]


def close_workers(workers: Sequence[Worker], *, seconds: float = 5.0) -> None:
    """Stop all workers, ``seconds`` for all of them together."""
    end = time.monotonic() + seconds
    for worker in workers:
        worker._send("stop")
    for worker in workers:
        # One that is still loading would not listen for a long time.
        worker.close(seconds=0.0 if worker.building else end - time.monotonic())


def threads_each(devices: Sequence[str], kind: str) -> int:
    """Return how many threads a CPU worker process may use; 0 where that is none of our business."""
    cpus = [device for device in devices if device == "cpu"]
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // len(cpus)) if cpus and kind == "processes" else 0
