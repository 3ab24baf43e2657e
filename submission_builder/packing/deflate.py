"""One chunk of bytes as deflate blocks (RFC 1951) that end on a byte boundary and need no earlier chunk.

ISA-L level 1, because it is the only level whose bytes are the same on every x86-64 machine since SSE4.2, and it packs
weights as small as zlib at a tenth of the CPU time; level 0 would expand them by a quarter. A chunk that does not
shrink is stored, so the result is never longer than ``stored_size``.
"""

from __future__ import annotations

import struct

from isal import isal_zlib

__all__ = ["CHUNK_BYTES", "EMPTY_FINAL_BLOCK", "STORED_BLOCK_BYTES", "deflate", "store", "stored_size"]

STORED_BLOCK_BYTES = 65535
"""Most bytes that one stored block can hold."""
CHUNK_BYTES = 4 * STORED_BLOCK_BYTES
"""Unit of work, about 256 KiB: it stays in a core's cache between reading, hashing and packing (a tenth less CPU than
1 MiB), and a whole number of stored blocks gives the stored size a closed form."""
EMPTY_FINAL_BLOCK = b"\x03\x00"
"""Ends a deflate stream: a final block with fixed codes that holds nothing."""


def stored_size(length: int) -> int:
    """Bytes that ``store`` makes of ``length`` bytes: 5 for each block of up to 65,535.

    >>> stored_size(0), stored_size(1), stored_size(65535), stored_size(65536)
    (0, 6, 65540, 65546)
    """
    return length + 5 * -(-length // STORED_BLOCK_BYTES)


def store(data: bytes | memoryview) -> bytes:
    """``data`` as stored, non-final deflate blocks."""
    view, parts = memoryview(data), []
    for start in range(0, len(view), STORED_BLOCK_BYTES):
        block = view[start : start + STORED_BLOCK_BYTES]
        parts += (struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block)
    return b"".join(parts)


def deflate(data: bytes | memoryview) -> bytes:
    """``data`` as non-final deflate blocks, compressed where that is shorter than storing."""
    if not len(data):
        return b""
    compressor = isal_zlib.compressobj(level=1, method=isal_zlib.DEFLATED, wbits=-15)
    packed = compressor.compress(data) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return packed if len(packed) < stored_size(len(data)) else store(data)
