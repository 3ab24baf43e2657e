"""Memory of a process and its children, read from /proc.

``anonymous`` is what a 16 GB machine cannot take back (heap, shared memory); pages of mapped files, such as weights
read through mmap, can be dropped by the kernel and are counted in ``resident`` only. GPU memory is not seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryUse", "cpu_seconds", "memory_of", "process_tree"]


@dataclass(frozen=True)
class MemoryUse:
    """Bytes in use at one moment, or the largest seen."""

    anonymous: int = 0
    resident: int = 0

    def __add__(self, other: MemoryUse) -> MemoryUse:
        return MemoryUse(self.anonymous + other.anonymous, self.resident + other.resident)

    def peak(self, other: MemoryUse) -> MemoryUse:
        """The larger of each figure.

        >>> MemoryUse(1, 5).peak(MemoryUse(2, 3))
        MemoryUse(anonymous=2, resident=5)
        """
        return MemoryUse(max(self.anonymous, other.anonymous), max(self.resident, other.resident))


def process_tree(pid: int) -> list[int]:
    """``pid`` and all its living descendants; empty when it has ended.

    >>> os.getpid() in process_tree(os.getpid())
    True
    """
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        try:
            tasks = os.listdir(f"/proc/{current}/task")  # noqa: PTH208
        except OSError:
            continue
        found.append(current)
        for task in tasks:
            pending += [int(child) for child in _read(f"/proc/{current}/task/{task}/children").split()]
    return found


def memory_of(pid: int) -> MemoryUse:
    """Memory of ``pid`` with its descendants, in bytes; zero when it has ended.

    >>> memory_of(os.getpid()).resident > 1_000_000
    True
    """
    total = MemoryUse()
    for process in process_tree(pid):
        lines = [line.split() for line in _read(f"/proc/{process}/status").splitlines()]
        kibibytes = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
        anonymous = kibibytes.get("RssAnon:", 0) + kibibytes.get("RssShmem:", 0)
        total += MemoryUse(anonymous * 1024, kibibytes.get("VmRSS:", 0) * 1024)
    return total


def cpu_seconds(pid: int) -> float:
    """Processor time that ``pid`` and its living descendants have used, in seconds."""
    ticks = 0
    for process in process_tree(pid):
        fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
        ticks += sum(int(value) for value in fields[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
