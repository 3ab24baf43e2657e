"""How small a file will get, from 16 samples of it: an order-0 entropy probe and a trial compression.

Deflate finds no repeats in model weights, so there it is a Huffman coder, and the entropy of the byte histogram says
its result within about one percent (Shannon 1948). Text does repeat; there the trial on the samples is nearer.
It reads at most 1 MiB of a file and does not know what the rest holds.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from submission_builder.packing.deflate import deflate

__all__ = ["SAMPLES", "SAMPLE_BYTES", "Probe", "entropy_bits", "probe_file", "sample_offsets"]

SAMPLES = 16
SAMPLE_BYTES = 65536
_STRIDE = 5  # counting every fifth byte is enough; odd, so that both bytes of a 16-bit number are met


@dataclass(frozen=True)
class Probe:
    """What the samples of one file tell."""

    ratio: float
    """Expected compressed size divided by size; above 1 never (incompressible chunks are stored)."""
    fingerprint: str
    """Digest of the samples: files of equal size and fingerprint are taken for copies of each other."""


def entropy_bits(data: bytes) -> float:
    """Order-0 entropy of ``data`` in bits per byte, from 0 to 8.

    >>> entropy_bits(b"aaaa"), entropy_bits(b"abab"), entropy_bits(bytes(range(256)))
    (0.0, 1.0, 8.0)
    """
    shares = [count / len(data) for count in Counter(data).values()]
    return math.fsum(share * -math.log2(share) for share in shares) + 0.0  # + 0.0 turns -0.0 into 0.0


def sample_offsets(size: int) -> list[tuple[int, int]]:
    """(offset, length) of the samples: the whole file when it is small, else 16 places spread evenly.

    >>> sample_offsets(100), len(sample_offsets(10**9)), sample_offsets(10**9)[-1]
    ([(0, 100)], 16, (999934464, 65536))
    """
    if size <= SAMPLES * SAMPLE_BYTES:
        return [(0, size)]
    step = (size - SAMPLE_BYTES) / (SAMPLES - 1)
    return [(round(i * step), SAMPLE_BYTES) for i in range(SAMPLES)]


def probe_file(path: Path, size: int) -> Probe:
    """Sample ``path`` and estimate what deflate makes of it.

    Raises:
        OSError: the file cannot be read.
    """
    parts = []
    with path.open("rb", buffering=0) as file:
        for offset, length in sample_offsets(size):
            file.seek(offset)
            parts.append(file.read(length))
    data = b"".join(parts)
    fingerprint = hashlib.sha256(data).hexdigest()
    if not data:
        return Probe(1.0, fingerprint)
    ratio = min(1.0, len(deflate(data)) / len(data))
    if size > SAMPLES * SAMPLE_BYTES:  # a smaller file was tried as a whole
        ratio = min(ratio, max(entropy_bits(data[::_STRIDE]) / 8, 0.001))
    return Probe(ratio, fingerprint)
