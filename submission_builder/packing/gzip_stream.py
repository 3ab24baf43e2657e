"""Write one single-member gzip stream (RFC 1952), chunks compressed in parallel, bytes the same for any thread count.

The caller's thread reads and writes; a pool compresses; one more thread hashes, in order. All waiting is on futures, so
an error in any of them, a full disk or Ctrl-C comes out of the next call in the caller's thread and nothing hangs.
It knows nothing of tar: ``tar_stream`` cuts the chunks.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from isal import isal_zlib

from submission_builder.packing.deflate import CHUNK_BYTES, EMPTY_FINAL_BLOCK, deflate, store, stored_size

__all__ = ["GZIP_HEADER", "MAX_THREADS", "GzipStream", "Piece", "default_threads", "stored_gzip_size"]

GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")  # no time, no name, unknown system: same on every run
MAX_THREADS = 8


class Piece(NamedTuple):
    """Part of a chunk that one digest must see."""

    digest: object
    """Anything with ``update``, such as ``hashlib.sha256()``."""
    start: int
    stop: int


class _Pending(NamedTuple):
    buffer: bytearray
    length: int
    packed: Future
    hashed: Future | None


def default_threads() -> int:
    """Compression threads: the cores this process may use, at most 8 (the reader is the limit beyond that)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def stored_gzip_size(length: int) -> int:
    """Exact size of the gzip file when nothing is compressed, and the most it can be when something is.

    >>> stored_gzip_size(0), stored_gzip_size(10240)
    (20, 10265)
    """
    return len(GZIP_HEADER) + stored_size(length) + len(EMPTY_FINAL_BLOCK) + 8


def _pack(data: memoryview, compress: bool) -> tuple[bytes, int]:
    return (deflate if compress else store)(data), isal_zlib.crc32(data)


def _hash(data: memoryview, pieces: Sequence[Piece]) -> None:
    for digest, start, stop in pieces:
        digest.update(data[start:stop])


class GzipStream:
    """Use as a context manager: leaving it stops the threads; only ``finish`` completes the file."""

    def __init__(self, write: Callable[[bytes], object], *, threads: int | None = None) -> None:
        """``write`` is called in the caller's thread with each piece of output, in order."""
        threads = default_threads() if threads is None else threads
        if threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1")
        self._write = write
        self._packers = ThreadPoolExecutor(threads, thread_name_prefix="deflate")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._pending: deque[_Pending] = deque()
        self._free = [bytearray(CHUNK_BYTES) for _ in range(2 * threads + 2)]  # bounds the memory
        self._crc, self._length = 0, 0
        write(GZIP_HEADER)

    def __enter__(self) -> GzipStream:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._packers, self._hasher):
            pool.shutdown(wait=True, cancel_futures=True)

    def take_buffer(self) -> bytearray:
        """An empty buffer of ``CHUNK_BYTES``; writes the oldest chunk first when all are in use."""
        if not self._free:
            self._write_oldest()
        return self._free.pop()

    def submit(self, buffer: bytearray, length: int, *, compress: bool, pieces: Sequence[Piece] = ()) -> None:
        """Queue the first ``length`` bytes of ``buffer``; the stream owns it from here on."""
        data = memoryview(buffer)[:length]
        hashed = self._hasher.submit(_hash, data, tuple(pieces)) if pieces else None
        self._pending.append(_Pending(buffer, length, self._packers.submit(_pack, data, compress), hashed))
        while self._pending and self._pending[0].packed.done():  # keep the disk busy while the pool works
            self._write_oldest()

    def drain(self) -> None:
        """Wait until everything that was submitted is hashed and written."""
        while self._pending:
            self._write_oldest()

    def finish(self) -> None:
        """Write what is queued, the end of the deflate stream and the gzip trailer."""
        self.drain()
        self._write(EMPTY_FINAL_BLOCK + struct.pack("<II", self._crc, self._length & 0xFFFFFFFF))

    def _write_oldest(self) -> None:
        chunk = self._pending.popleft()
        packed, crc = chunk.packed.result()
        if chunk.hashed:
            chunk.hashed.result()
        self._write(packed)
        self._crc = isal_zlib.crc32_combine(self._crc, crc, chunk.length)
        self._length += chunk.length
        self._free.append(chunk.buffer)
