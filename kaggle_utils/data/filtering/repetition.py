"""Models in a loop: texts whose pieces came before in the same text.

Pieces are 8 characters with at least 4 letters among them, so that ruled lines of tables do not count. Cost: one sort
of a quarter of a batch's pieces.
"""

from __future__ import annotations

import numpy as np

from .characters import DIGIT, LETTER
from .findings import Finding
from .texts import TextBatch

__all__ = ["piece_hashes", "repeated_shares", "repeating"]

_PIECE = 8
_FEWEST = 30  # repeated pieces below which a text is too short to be a loop
_BASE = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1
_QUARTER = np.uint64(1 << 62)


def repeating(batch: TextBatch, limit: float) -> dict[int, Finding]:
    """Text -> finding, where more than ``limit`` of the pieces are repeats."""
    shares, repeats = repeated_shares(batch)
    return {
        int(text): Finding("loop", f"{shares[text]:.0%} of its 8-character pieces came before: {_tail(batch, text)}")
        for text in np.flatnonzero((shares > limit) & (repeats >= _FEWEST))
    }


def repeated_shares(batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
    """Share of pieces that came before, float64 [T], and their number, int64 [T].

    A quarter of the pieces, chosen by their content, is looked at first; only where many of these repeat, or where far
    fewer than a quarter were chosen (a loop has few pieces), is everything counted. Elsewhere the numbers are 0.
    """
    shares, repeats = np.zeros(len(batch.texts)), np.zeros(len(batch.texts), dtype=np.int64)
    if len(batch.codes) < _PIECE:
        return shares, repeats
    hashes = piece_hashes(batch.codes, _PIECE)
    chosen = np.flatnonzero(hashes < _QUARTER)
    text = batch.text_of(chosen)
    keys = np.sort((text.astype(np.uint64) << np.uint64(40)) | (hashes[chosen] >> np.uint64(24)))
    again = (keys[1:][keys[1:] == keys[:-1]] >> np.uint64(40)).astype(np.int64)
    sampled, repeated = (np.bincount(found, minlength=len(shares)) for found in (text, again))
    lengths = np.diff(batch.starts) - 1
    suspects = (repeated > 0.3 * sampled) | (sampled < 0.5 * (lengths / 4))
    for number in np.flatnonzero(suspects & (lengths > _FEWEST)).tolist():
        shares[number], repeats[number] = _count_pieces(batch, number)
    return shares, repeats


def _count_pieces(batch: TextBatch, number: int) -> tuple[float, int]:
    text, low, high = batch.texts[number], int(batch.starts[number]), int(batch.starts[number + 1])
    letter = (batch.kinds[low : high - 1] & (LETTER | DIGIT)) == LETTER
    sums = np.concatenate([[0], np.cumsum(letter)])
    wordy = np.flatnonzero(sums[_PIECE:] - sums[:-_PIECE] >= _PIECE // 2).tolist()
    repeats = len(wordy) - len({text[i : i + _PIECE] for i in wordy})
    return repeats / max(1, len(wordy)), repeats


def piece_hashes(codes: np.ndarray, size: int) -> np.ndarray:
    """A 64-bit hash of every ``size`` (a power of two) neighbouring code points, uint64 [C - size + 1]."""
    hashes, width, base = codes.astype(np.uint64) + np.uint64(1), 1, _BASE
    while width < size:
        hashes = hashes[:-width] * np.uint64(base) + hashes[width:]
        base, width = base * base & _WORD, width * 2
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    return hashes ^ (hashes >> np.uint64(32))


def _tail(batch: TextBatch, text: int) -> str:
    return batch.texts[text][-40:].replace("\n", " ")
