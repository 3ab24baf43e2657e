"""Chunks on all cores: worker processes that are told chunks on standard input.

Workers are started by command, not by multiprocessing, so that a notebook with threads and a script without a main
guard can both use them. It promises that none outlives the run, and that an error in one is raised with its traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .chunk_job import ChunkJob
from .reader import Chunk
from .settings import FilterSettings
from .work_folder import WorkFolder

__all__ = ["available_cores", "filter_chunks"]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def filter_chunks(
    chunks: Sequence[Chunk], folder: WorkFolder, settings: FilterSettings, fields: Sequence[str], *, processes: int
) -> Iterator[Chunk]:
    """Filter every chunk; each is handed back when it is done, in any order. One process: this one."""
    if min(processes, len(chunks)) <= 1:
        job = ChunkJob(folder, settings, fields)
        for chunk in chunks:
            job(chunk)
            yield chunk
        return
    setup = {"folder": str(folder.path), "settings": settings.as_dict(), "fields": list(fields)}
    workers = _Workers(setup)
    with ThreadPoolExecutor(min(processes, len(chunks)), thread_name_prefix="filter") as threads:
        try:
            for done in as_completed([threads.submit(workers.run, chunk) for chunk in chunks]):
                yield done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            workers.close()


class _Workers:
    """One worker process for each thread that asks."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._setup, self._local, self._all, self._lock = setup, threading.local(), [], threading.Lock()
        self._closed = False

    def run(self, chunk: Chunk) -> Chunk:
        process = self._mine()
        reply = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(chunk)) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        if not reply:
            raise RuntimeError(
                f"the process that filtered {chunk.path} from {chunk.start} to {chunk.stop} ended with status "
                f"{process.wait()} (-9: killed, perhaps for memory); run again to resume, with fewer processes"
            )
        if error := json.loads(reply)["error"]:
            raise RuntimeError(f"filtering {chunk.path} from {chunk.start} to {chunk.stop} failed:\n{error}")
        return chunk

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()
        for process in self._all:
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def _mine(self) -> subprocess.Popen[str]:
        if not hasattr(self._local, "process"):
            paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path)
            environment = {**os.environ, "PYTHONPATH": paths, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", "from kaggle_utils.data.filtering.worker import serve; serve()"]
            with self._lock:
                if self._closed:
                    raise RuntimeError("the run has ended")
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
                )
                self._all.append(process)
            process.stdin.write(json.dumps(self._setup) + "\n")
            self._local.process = process
        return self._local.process
