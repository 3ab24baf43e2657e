"""The folder in which a run keeps finished chunks, so that a killed run goes on where it was.

It promises that files appear whole or not at all, that two runs never share a folder, and that a folder of another run
(other settings, fields or inputs) is refused. It knows no stages.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .settings import FilterSettings

__all__ = ["Outputs", "WorkFolder", "fingerprint", "write_whole"]

_FORMAT = 1  # raise when what a run writes changes, so that old folders and reports are not taken for new ones


class Outputs:
    """The files beside the output."""

    def __init__(self, output: Path) -> None:
        stem = output.name.removesuffix(".jsonl")
        self.kept = output
        """Rows that stay."""
        self.dropped = output.with_name(f"{stem}.dropped.jsonl")
        """Rows that go, each with stage, reason, file and line."""
        self.bad = output.with_name(f"{stem}.bad.jsonl")
        """Lines that hold no row."""
        self.report = output.with_name(f"{stem}.report.json")
        """The report; written last, so where it stands the others are whole."""
        self.work = output.with_name(f".{stem}.work")
        """Where a run keeps what it has done; gone when it is complete."""


def fingerprint(inputs: Sequence[Path], settings: FilterSettings, fields: Sequence[str], chunk_bytes: int) -> str:
    """Of everything that decides what is written; inputs count by name, size and time of change."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in inputs]
    content = json.dumps([_FORMAT, settings.as_dict(), list(fields), stats, chunk_bytes], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


@contextlib.contextmanager
def write_whole(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends well; with ``sync`` not before it is on the disk."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class WorkFolder:
    """Finished chunks and what belongs to all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, digest: str, details: Mapping[str, Any]) -> IO[bytes]:
        """Make the folder this run's; returns the lock, to be closed at the end.

        Raises:
            ValueError: it holds another run. RuntimeError: another process works in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise RuntimeError(
                f"another process is filtering into {self.path}; wait for it, or choose another output"
            ) from error
        run = self.path / "run.json"
        found = json.loads(run.read_text(encoding="utf-8"))["fingerprint"] if run.exists() else digest
        if found != digest:
            lock.close()
            raise ValueError(f"{self.path} holds a run with other inputs, fields or settings ({found}, this one is "
                             f"{digest}); pass resume=False to begin anew, or choose another output")  # fmt: skip
        with write_whole(run) as file:
            file.write(json.dumps({"fingerprint": digest, **details}, ensure_ascii=False).encode())
        return lock

    def remove(self) -> None:
        """Delete it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, number: int, kind: str) -> Path:
        """File ``kind`` of chunk ``number``: kept, dropped, bad, npz, or json, which is written last."""
        return self.path / f"{number:06d}.{kind}"

    def is_done(self, number: int) -> bool:
        """Whether a chunk is finished."""
        return self.file(number, "json").exists()

    def stats(self, number: int) -> dict[str, Any]:
        """What a finished chunk said of itself."""
        return json.loads(self.file(number, "json").read_text(encoding="utf-8"))

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """Arrays of a finished chunk."""
        with np.load(self.file(number, "npz"), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
