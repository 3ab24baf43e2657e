"""What a worker does: build scorers, score the packs that come, send logits back.

It promises an answer to every message until it is told to stop or its device is lost, and that two packs are on the
device at a time where the scorer can do that. It does not know rows that are not sent to it, nor other workers.

Messages to a worker: ``("build", scorer, drop)``, ``("score", number, scorer, safe, ids, lengths)``, ``("stop",)``.
Messages from it: ``("ready", scorer, facts)``, ``("unbuilt", scorer, text)``, ``("done", number, logits, seconds)``,
``("memory", number)``, ``("error", number, text)``, ``("lost",)`` when its device answers no more and it ends.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["is_out_of_memory", "serve", "serve_process"]

_DEPTH = 2


def serve_process(connection: Connection, device: str, specs: Mapping[str, ScorerSpec], threads: int) -> None:
    """Run :func:`serve` as the main function of a process; it ends at once when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    serve(connection, device, specs, threads=threads, orphaned=lambda: os._exit(1))
    connection.close()


def serve(
    connection: Connection, device: str, specs: Mapping[str, ScorerSpec], *, threads: int = 0, orphaned: Any = None
) -> None:
    """Answer messages from ``connection`` until ``("stop",)``.

    Args:
        connection: to the engine.
        device: passed to the factories; a CUDA device also becomes this thread's current one.
        specs: scorers by name.
        threads: how many threads torch may use on a CPU; 0 leaves it alone.
        orphaned: called when the other end is gone.
    """
    inbox: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(connection, inbox, orphaned), name=f"inbox {device}", daemon=True)
    reader.start()
    _Bench(connection, device, specs, threads).work(inbox)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a smaller pack may help.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED ..."))
    (True, True)
    >>> is_out_of_memory(ValueError("out of luck"))
    False
    """
    if isinstance(error, MemoryError) or any(c.__name__ == "OutOfMemoryError" for c in type(error).__mro__):
        return True
    words = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory", "CUDA error: out of memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _read(connection: Connection, inbox: queue.SimpleQueue, orphaned: Any) -> None:
    # A thread of its own, so that the engine never waits to send while a pack is computed.
    try:
        while True:
            message = connection.recv()
            inbox.put(message)
            if message[0] == "stop":
                return
    except (EOFError, OSError):
        if orphaned is not None:
            orphaned()
        inbox.put(("stop",))


class _Bench:
    """The scorers that a worker holds and the packs that are on its device."""

    def __init__(self, connection: Connection, device: str, specs: Mapping[str, ScorerSpec], threads: int) -> None:
        self._connection, self._device, self._specs, self._threads = connection, device, specs, threads
        self._scorers: dict[str, Any] = {}
        self._safer: dict[str, Any] = {}
        self._running: deque[tuple[int, str, bool, int, Any, float]] = deque()
        self._last_end = 0.0
        self._lost = False

    def work(self, inbox: queue.SimpleQueue) -> None:
        while not self._lost:
            if self._running and (len(self._running) >= _DEPTH or inbox.empty()):
                self._collect()
                continue
            kind, *rest = inbox.get()
            if kind == "score":
                self._launch(*rest)
                continue
            while self._running:
                self._collect()
            if kind == "stop":
                return
            self._build(*rest)
        self._send("lost")

    def _build(self, name: str, drop: Sequence[str]) -> None:
        for other in drop:
            self._scorers.pop(other, None)
            self._safer.pop(other, None)
        _free_memory()
        started = time.perf_counter()
        spec = self._specs[name]
        try:
            self._use_device()
            self._scorers[name] = scorer = spec.factory(device=self._device, **spec.kwargs)
            self._limit_threads()
            facts = {
                "padded": bool(scorer.padded),
                "max_tokens": int(scorer.max_tokens),
                "seconds": time.perf_counter() - started,
                "launches": hasattr(scorer, "launch"),
                "hardware": self._hardware(),
            }
        except Exception as error:
            self._scorers.pop(name, None)
            self._send("unbuilt", name, _text(error))
        else:
            self._send("ready", name, facts)

    def _launch(self, number: int, name: str, safe: bool, ids: np.ndarray, lengths: np.ndarray) -> None:
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        crowded = bool(self._running)
        outcome = self._try(self._start, name, safe, rows)
        if crowded and outcome is _NO_MEMORY:  # perhaps only because another pack was on the device
            while self._running:
                self._collect()
            outcome = self._try(self._start, name, safe, rows)
        if self._told(number, outcome):
            self._running.append((number, name, safe, len(rows), *outcome))
            if not hasattr(self._scorer(name, safe), "launch"):  # it is done: nothing is won by waiting
                while self._running:
                    self._collect()

    def _collect(self) -> None:
        number, name, safe, rows, handle, started = self._running.popleft()
        outcome = self._try(self._finish, name, safe, rows, handle)
        end = time.perf_counter()
        if self._told(number, outcome):
            self._send("done", number, outcome, end - max(started, self._last_end))
        self._last_end = end

    def _start(self, name: str, safe: bool, rows: list[np.ndarray]) -> tuple[Any, float]:
        started = time.perf_counter()
        scorer = self._scorer(name, safe)
        return (scorer.launch(rows) if hasattr(scorer, "launch") else scorer.score(rows)), started

    def _finish(self, name: str, safe: bool, rows: int, handle: Any) -> np.ndarray:
        scorer = self._scorer(name, safe)
        logits = np.asarray(scorer.collect(handle) if hasattr(scorer, "launch") else handle, dtype=np.float32)
        expected = (rows, self._specs[name].num_labels)
        if logits.shape != expected:
            raise ValueError(f"scorer {name!r} gave logits of shape {logits.shape} for a pack; expected {expected}")
        return logits

    def _scorer(self, name: str, safe: bool) -> Any:
        if safe and name not in self._safer:
            spec = self._specs[name]
            self._safer[name] = spec.safe(self._scorers[name], device=self._device, **spec.kwargs)
        return (self._safer if safe else self._scorers)[name]

    def _try(self, function: Any, *arguments: Any) -> Any:
        """Return what ``function`` does, or a :class:`_Failure` once the error and the tensors it holds are gone."""
        try:
            return function(*arguments)
        except Exception as error:
            failure = _NO_MEMORY if is_out_of_memory(error) else _Failure(_text(error))
            self._lost = failure is not _NO_MEMORY and _lost_device(error)
        if failure is _NO_MEMORY:
            _free_memory()
        return failure

    def _told(self, number: int, outcome: Any) -> bool:
        """Report a failure; True where there is none."""
        if outcome is _NO_MEMORY:
            self._send("memory", number)
        elif isinstance(outcome, _Failure):
            self._send("error", number, outcome.text)
        else:
            return True
        return False

    def _send(self, *message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:  # nobody is left to hear it
            self._lost = True

    def _use_device(self) -> None:
        # The current device is per thread, and some kernels launch on it whatever their tensors say.
        first = self._device.split(",")[0]
        if first.startswith("cuda:"):
            require("torch", extra="llm").cuda.set_device(first)

    def _limit_threads(self) -> None:
        if self._threads and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self._threads)

    def _hardware(self) -> str:
        first = self._device.split(",")[0]
        return require("torch", extra="llm").cuda.get_device_name(first) if first.startswith("cuda") else self._device


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


_NO_MEMORY = _Failure("out of memory")


def _lost_device(error: BaseException) -> bool:
    """Tell whether the device answers nothing more in this process."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _text(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__}: {error}" + "".join(f" ({f.filename}:{f.lineno} in {f.name})" for f in where)
