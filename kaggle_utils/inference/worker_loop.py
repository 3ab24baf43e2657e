"""What a worker does: build scorers, prepare them, score the packs that come, send logits back.

It promises an answer to every message until it is told to stop or its device is lost, and that two packs are on the
device at a time where the scorer can do that. It does not know rows that are not sent to it, nor other workers.

Messages to a worker: ``("build", scorer, drop)``, ``("prepare", scorer, Preparation)``,
``("score", number, scorer, safe, ids, lengths)``, ``("stop",)``.
Messages from it: ``("ready", scorer, facts)``, ``("unbuilt", scorer, text)``,
``("prepared", scorer, choice, seconds)``, ``("note", scorer, text)``, ``("done", number, logits, seconds)``,
``("memory", number)``, ``("error", number, text)``, ``("lost",)`` when its device answers no more and it ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.inference.failures import NO_MEMORY, Failure, attempt, error_text, free_memory
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["Preparation", "serve", "serve_process"]


@dataclass(frozen=True)
class Preparation:
    """What a built scorer does before its first pack."""

    check: tuple[np.ndarray, ...] = ()
    """Rows for its ``self_check``; none: no check."""
    pack: tuple[np.ndarray, ...] = ()
    """A full pack for its ``tune``; none: nothing to choose."""
    choice: str | None = None
    """What was chosen before, for its ``adopt``; then it does not measure."""
    remaining_tokens: int = 0
    """How much work this worker may expect."""
    seconds_left: float = math.inf
    """Until the deadline."""


def serve_process(connection: Connection, device: str, specs: Mapping[str, ScorerSpec], threads: int) -> None:
    """Run :func:`serve` as the main function of a process; it ends at once when its parent does.

    On SIGUSR1 it writes the stacks of its threads to stderr.
    """
    if hasattr(signal, "SIGUSR1"):
        with contextlib.suppress(ValueError, OSError, RuntimeError):  # no stderr
            faulthandler.register(signal.SIGUSR1, all_threads=True)
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
        self._noted: dict[str, int] = {}
        self._running: deque[tuple[int, str, bool, int, Any, float]] = deque()
        self._last_end = 0.0
        self._lost = False
        self._depth = 2 + device.count(",")  # a pack for each device of a pipeline, and the next one behind it

    def work(self, inbox: queue.SimpleQueue) -> None:
        while not self._lost:
            if self._running and (len(self._running) >= self._depth or inbox.empty()):
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
            (self._build if kind == "build" else self._prepare)(*rest)
        self._send("lost")

    def _build(self, name: str, drop: Sequence[str]) -> None:
        for other in drop:
            self._drop(other)
        if drop:
            free_memory()
        started = time.perf_counter()
        spec = self._specs[name]
        try:
            self._use_device()
            self._scorers[name] = scorer = spec.factory(device=self._device, **spec.kwargs)
            self._limit_threads()
            flops = spec.flops_per_token or getattr(scorer, "flops_per_token", None)
            facts = {
                "padded": bool(scorer.padded),
                "max_tokens": int(scorer.max_tokens),
                "depth": self._depth if hasattr(scorer, "launch") else 1,
                "checks": hasattr(scorer, "self_check"),
                "tunes": hasattr(scorer, "tune"),
                "flops_per_token": float(flops) if flops else None,
                "hardware": self._hardware(),
                "seconds": time.perf_counter() - started,
            }
        except Exception as error:
            self._drop(name)
            self._send("unbuilt", name, error_text(error))
        else:
            self._tell_notes(name)
            self._send("ready", name, facts)

    def _prepare(self, name: str, what: Preparation) -> None:
        scorer, started, choice = self._scorers[name], time.perf_counter(), what.choice
        outcome = attempt(scorer.adopt, choice) if choice is not None else None
        if what.check and not isinstance(outcome, Failure):
            outcome = attempt(scorer.self_check, what.check)
            if outcome is NO_MEMORY:
                self._send("note", name, "there was no memory for the check of its first rows")
        if what.pack and (outcome is NO_MEMORY or not isinstance(outcome, Failure)):
            choice = outcome = attempt(
                scorer.tune, what.pack, remaining_tokens=what.remaining_tokens, seconds_left=what.seconds_left
            )
        self._tell_notes(name)
        if isinstance(outcome, Failure) and outcome is not NO_MEMORY:
            self._lost = self._lost or outcome.device_lost
            self._drop(name)
            self._send("unbuilt", name, outcome.text)
        else:
            self._send("prepared", name, choice if isinstance(choice, str) else None, time.perf_counter() - started)

    def _launch(self, number: int, name: str, safe: bool, ids: np.ndarray, lengths: np.ndarray) -> None:
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        crowded = bool(self._running)
        outcome = self._try(self._start, name, safe, rows)
        if crowded and outcome is NO_MEMORY:  # perhaps only because another pack was on the device
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
        self._tell_notes(name)

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

    def _drop(self, name: str) -> None:
        self._scorers.pop(name, None)
        self._safer.pop(name, None)
        self._noted.pop(name, None)

    def _try(self, function: Any, *arguments: Any) -> Any:
        outcome = attempt(function, *arguments)
        self._lost = self._lost or (isinstance(outcome, Failure) and outcome.device_lost)
        return outcome

    def _told(self, number: int, outcome: Any) -> bool:
        """Report a failure; True where there is none."""
        if outcome is NO_MEMORY:
            self._send("memory", number)
        elif isinstance(outcome, Failure):
            self._send("error", number, outcome.text)
        else:
            return True
        return False

    def _tell_notes(self, name: str) -> None:
        """Pass on what the scorer has noted since the last time."""
        notes = getattr(self._scorers.get(name), "notes", ())
        for text in notes[self._noted.get(name, 0) :]:
            self._send("note", name, str(text))
        self._noted[name] = len(notes)

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
