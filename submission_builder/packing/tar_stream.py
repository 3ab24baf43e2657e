"""Write a deterministic POSIX (pax) tar of regular files: no times, owners or folders, only names, modes and contents.

The headers are made here and not by ``tarfile``, so that the bytes do not depend on the Python version. The order of
the members is the caller's. Sources are read once, straight into the chunks that get compressed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from submission_builder.packing.deflate import CHUNK_BYTES
from submission_builder.packing.gzip_stream import GzipStream, Piece

__all__ = ["BLOCK_BYTES", "RECORD_BYTES", "SourceChangedError", "TarStream", "member_size", "tar_header", "tar_size"]

BLOCK_BYTES = 512
RECORD_BYTES = 10240
_MAX_USTAR_SIZE = 8**11 - 1


class SourceChangedError(RuntimeError):
    """A file is no longer what it was when the submission was planned."""


def _field(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def _ustar(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    fields = (name.ljust(100, b"\0"), _field(mode, 8), _field(0, 8), _field(0, 8), _field(size, 12), _field(0, 12))
    rest = kind + bytes(100) + b"ustar\x0000" + bytes(64) + _field(0, 8) + _field(0, 8) + bytes(155 + 12)
    head = b"".join(fields)
    checksum = sum(head) + sum(rest) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + rest


def _pax_record(key: bytes, value: bytes) -> bytes:
    body = b" %s=%s\n" % (key, value)
    length = len(body)
    while len(b"%d" % length) + len(body) != length:  # the length counts its own digits
        length = len(b"%d" % length) + len(body)
    return b"%d%s" % (length, body)


def _padding(size: int) -> int:
    return -size % BLOCK_BYTES


def tar_header(name: str, size: int, mode: int) -> bytes:
    """Header blocks of one regular file; a pax record where the name or the size needs one.

    >>> [len(tar_header(name, size, 0o644)) for name, size in (("main.py", 10), ("m" * 101, 10), ("m", 9 << 30))]
    [512, 1536, 1536]
    """
    raw, records = name.encode("utf-8"), b""
    if len(raw) > 100 or not name.isascii():
        records += _pax_record(b"path", raw)
    if size > _MAX_USTAR_SIZE:
        records += _pax_record(b"size", b"%d" % size)
    short = name.encode("ascii", "replace")[:100]
    own = _ustar(short, size if size <= _MAX_USTAR_SIZE else 0, mode, b"0")
    if not records:
        return own
    extra = _ustar(b"././@PaxHeader", len(records), 0o644, b"x")
    return extra + records + bytes(_padding(len(records))) + own


def member_size(name: str, size: int) -> int:
    """Bytes that a file of ``size`` takes in the tar, with header and padding.

    >>> member_size("main.py", 0), member_size("main.py", 1), member_size("main.py", 512)
    (512, 1024, 1024)
    """
    return len(tar_header(name, size, 0o644)) + size + _padding(size)


def tar_size(members_bytes: int) -> int:
    """Length of a whole tar whose members take ``members_bytes``: two zero blocks, filled up to 10,240.

    >>> tar_size(0), tar_size(9216), tar_size(9217)
    (10240, 10240, 20480)
    """
    return -(-(members_bytes + 2 * BLOCK_BYTES) // RECORD_BYTES) * RECORD_BYTES


class TarStream:
    """Lays members end to end and hands full chunks to a GzipStream."""

    def __init__(self, stream: GzipStream, *, digest: object = None, on_bytes: Callable[[int], object] | None = None):
        """``digest`` sees every byte of the tar; ``on_bytes`` is told how many source bytes were just read."""
        self.position = 0
        """Bytes of tar so far."""
        self._stream, self._digest, self._on_bytes = stream, digest, on_bytes
        self._pieces: list[Piece] = []
        self._buffer, self._used, self._digested, self._compress = stream.take_buffer(), 0, 0, False

    def add_file(self, name: str, source: Path, *, size: int, mtime_ns: int, mode: int, compress: bool = True,
                 digest: object = None) -> None:  # fmt: skip
        """Append the file; a chunk that only holds files with ``compress=False`` is stored.

        Raises:
            SourceChangedError: its size or time differs from ``size`` and ``mtime_ns``, before or after the reading.
            OSError: it cannot be read.
        """
        with source.open("rb", buffering=0) as file:
            _check_unchanged(os.fstat(file.fileno()), source, size, mtime_ns)
            self._put(tar_header(name, size, mode), compress)
            left = size
            while left:
                got = file.readinto(self._room(left))
                if not got:
                    raise SourceChangedError(_changed(source, size, f"it ended after {size - left:,} bytes"))
                if digest is not None:
                    self._pieces.append(Piece(digest, self._used, self._used + got))
                self._advance(got, compress)
                left -= got
                if self._on_bytes:
                    self._on_bytes(got)
            if file.read(1):
                raise SourceChangedError(_changed(source, size, "it has more"))
            _check_unchanged(os.fstat(file.fileno()), source, size, mtime_ns)
        self._put(bytes(_padding(size)), compress)

    def add_bytes(self, name: str, data: bytes, *, mode: int = 0o644, compress: bool = True) -> None:
        """Append a member that exists in memory only."""
        self._put(tar_header(name, len(data), mode) + data + bytes(_padding(len(data))), compress)

    def settle(self) -> None:
        """Wait until every digest has seen all that was added; the chunk that was started stays open."""
        self._stream.drain()
        for digest, start, stop in self._take_pieces():
            digest.update(memoryview(self._buffer)[start:stop])

    def close(self, *, compress: bool = True) -> None:
        """Write the two zero blocks, fill the last record and hand over the last chunk."""
        self._put(bytes(tar_size(self.position) - self.position), compress)
        if self._used:
            self._submit()
        self._stream.drain()

    def _room(self, wanted: int) -> memoryview:
        return memoryview(self._buffer)[self._used : self._used + wanted]

    def _advance(self, count: int, compress: bool) -> None:
        self._used += count
        self.position += count
        self._compress |= compress
        if self._used == CHUNK_BYTES:
            self._submit()

    def _put(self, data: bytes, compress: bool) -> None:
        view = memoryview(data)
        while view:
            room = self._room(len(view))
            room[:], view = view[: len(room)], view[len(room) :]
            self._advance(len(room), compress)

    def _take_pieces(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        if self._digest is not None:
            pieces.append(Piece(self._digest, self._digested, self._used))
            self._digested = self._used
        return pieces

    def _submit(self) -> None:
        self._stream.submit(self._buffer, self._used, compress=self._compress, pieces=self._take_pieces())
        self._buffer, self._used, self._digested, self._compress = self._stream.take_buffer(), 0, 0, False


def _changed(source: Path, size: int, what: str) -> str:
    return f"{source} changed while it was packed: planned {size:,} bytes, {what}. Wait for its writer, then plan again"


def _check_unchanged(found: os.stat_result, source: Path, size: int, mtime_ns: int) -> None:
    if found.st_size != size:
        raise SourceChangedError(_changed(source, size, f"now {found.st_size:,}"))
    if found.st_mtime_ns != mtime_ns:
        raise SourceChangedError(_changed(source, size, "same size but written to since"))
