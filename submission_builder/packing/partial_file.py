"""A file that appears whole or not at all: written as NAME.partial beside its place, synced, then renamed.

Any exception, Ctrl-C included, removes the partial file. A kill -9 or a power cut leaves it, unlocked, and the next
run over the same name starts it afresh. Whatever stood under the final name stays untouched until the rename.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two builds of one archive at a time are not noticed there
    fcntl = None

__all__ = ["PartialFile", "allocated_bytes", "partial_path"]


def partial_path(target: Path) -> Path:
    """Where the unfinished bytes of ``target`` are.

    >>> partial_path(Path("out/submission.tar.gz")).name
    'submission.tar.gz.partial'
    """
    return target.with_name(target.name + ".partial")


def allocated_bytes(path: Path) -> int:
    """Bytes of disk that ``path`` takes; 0 where there is no such file."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


class PartialFile:
    """Context manager; nothing stays behind unless ``commit`` was reached."""

    def __init__(self, target: Path) -> None:
        self.target, self.partial = target, partial_path(target)
        self.position = 0
        """Bytes written so far."""
        self.mtime_ns = 0
        """Time of the last write; known after ``commit``."""
        self._fd = -1

    def __enter__(self) -> PartialFile:
        self._fd = self._open_locked()
        try:
            os.ftruncate(self._fd, 0)  # a killed run may have left its bytes here
        except BaseException:
            self.__exit__()
            raise
        return self

    def write(self, data: bytes) -> None:
        """Append all of ``data``; a short write, as near a full disk, is continued until it fails."""
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self.position += written
            view = view[written:]

    def commit(self) -> None:
        """Force the bytes to the disk and give the file its name, in that order."""
        os.fsync(self._fd)
        self.mtime_ns = os.fstat(self._fd).st_mtime_ns
        self.partial.replace(self.target)
        _sync_folder(self.target.parent)

    def __exit__(self, *_: object) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self._is_partial(fd):
                self.partial.unlink(missing_ok=True)
        finally:
            os.close(fd)  # also gives the lock back

    def _open_locked(self) -> int:
        while True:
            fd = os.open(self.partial, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                _lock(fd, self.partial)
                if self._is_partial(fd):  # else another build renamed or removed it between open and lock
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _is_partial(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.partial.stat())
        except FileNotFoundError:
            return False


def _lock(fd: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "another build is writing this file; wait for it or choose another output", str(path)
        ) from None
    except OSError:
        pass  # some network file systems cannot lock: go on without


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be opened or synced
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
