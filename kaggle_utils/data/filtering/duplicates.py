"""Near duplicates: MinHash signatures (rensa) of every row, and which rows repeat an earlier one.

The first row of its kind is kept, whatever the number of processes. A row is compared with the rows before it that
share a band of its signature, three of each band at most, so cost grows with the rows even where all are alike. Memory:
about 300 bytes a row, for at most ``duplicate_rows`` rows at a time; duplicates further apart are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from kaggle_utils._optional import require

from .characters import DIGIT
from .repetition import piece_hashes
from .texts import TextBatch

__all__ = ["Signatures", "find_duplicates", "sign"]

_PERMUTATIONS, _BANDS, _BAND_ROWS = 64, 12, 5
_PIECE = 4
_FEWEST_PIECES = 8
_NUMBERS_DIFFER = 0.95  # "1から10まで" and "1から100まで" are two tasks: rows with other digits must be this alike
_NEIGHBOURS = 3
_PAIRS_AT_ONCE = 200_000
_UNSIGNED = 0
"""Key of rows that are too short to be compared."""


@dataclass(frozen=True)
class Signatures:
    """What is kept of each row; arrays of one length n."""

    exact: np.ndarray
    """Hash of the texts without white space, uint64 [n]."""
    digits: np.ndarray
    """Hash of the digits in their order, uint64 [n]."""
    minhash: np.ndarray
    """Low bytes of the signature, uint8 [n, 64]."""
    bands: np.ndarray
    """Keys of the bands, uint64 [12, n]."""

    @classmethod
    def joined(cls, parts: Sequence[Signatures]) -> Signatures:
        """All rows of ``parts``, in order."""
        nothing = np.zeros(0, dtype=np.uint64)
        empty = cls(nothing, nothing, np.zeros((0, _PERMUTATIONS), np.uint8), np.zeros((_BANDS, 0), np.uint64))
        parts = parts or [empty]
        rest = (np.concatenate([getattr(part, name) for part in parts]) for name in ("exact", "digits", "minhash"))
        return cls(*rest, np.concatenate([part.bands for part in parts], axis=1))


def sign(batch: TextBatch, rows: np.ndarray, *, near: bool, fewest: int = 0) -> Signatures:
    """Signatures of ``rows``, a rising selection of the batch's rows; without ``near``, for finding equal ones only.

    Rows of fewer than ``fewest`` characters repeat nothing.
    """
    low, high = np.searchsorted(batch.rows, rows), np.searchsorted(batch.rows, rows, side="right")
    texts = ["\x00".join(batch.texts[a:b]) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    exact = np.array([_hash("".join(text.split())) if len(text) >= fewest else _UNSIGNED for text in texts], np.uint64)
    if not near or not len(rows):
        empty = np.full((_BANDS, len(rows)), _UNSIGNED, dtype=np.uint64)
        return Signatures(exact, exact, np.zeros((len(rows), _PERMUTATIONS), dtype=np.uint8), empty)
    starts, ends = batch.starts[low], batch.starts[high]
    digits = np.array([_hash(text) for text in _digits(batch, starts, ends)], dtype=np.uint64)
    values = _minhash(batch, starts, ends)
    bands = np.zeros((_BANDS, len(rows)), dtype=np.uint64)
    for band in range(_BANDS):
        for column in range(band * _BAND_ROWS, (band + 1) * _BAND_ROWS):
            bands[band] = (bands[band] ^ values[:, column]) * np.uint64(0x9E3779B97F4A7C15)
    bands[:, ends - starts < max(fewest, _PIECE + _FEWEST_PIECES)] = _UNSIGNED
    return Signatures(exact, digits, values.astype(np.uint8), bands)


def find_duplicates(signatures: Signatures, near: float | None) -> np.ndarray:
    """Row -> the earlier kept row that it repeats, or -1: int64 [n]."""
    equal = _first_equal(signatures.exact)
    copies = equal != np.arange(len(equal))
    leaders = np.where(copies, equal, -1)
    if near is None or not len(equal):
        return leaders
    pairs = _candidates(signatures, np.flatnonzero(~copies), near)
    for row, other in zip((pairs // len(equal)).tolist(), (pairs % len(equal)).tolist(), strict=True):
        other = other if leaders[other] < 0 else int(leaders[other])
        if leaders[row] < 0 and np.any(_alike(signatures, np.array([row]), np.array([other]), near)):
            leaders[row] = other
    of_equal = leaders[equal]  # a copy of a row that repeats another repeats that one too
    return np.where(copies & (of_equal >= 0), of_equal, leaders)


def _first_equal(exact: np.ndarray) -> np.ndarray:
    """The first row with the same key, int64 [n]; rows without a key are their own."""
    _, first, inverse = np.unique(exact, return_index=True, return_inverse=True)
    return np.where(exact == _UNSIGNED, np.arange(len(exact)), first[inverse.reshape(-1)])


def _candidates(signatures: Signatures, rows: np.ndarray, near: float) -> np.ndarray:
    """Pairs (later * n + earlier) of ``rows`` that share a band and are alike, rising."""
    count, pairs = np.int64(len(signatures.exact)), np.zeros(0, dtype=np.int64)
    for keys in signatures.bands:
        found = [pairs]
        for later, earlier in _neighbours(keys, rows):
            for start in range(0, len(later), _PAIRS_AT_ONCE):
                these, those = later[start : start + _PAIRS_AT_ONCE], earlier[start : start + _PAIRS_AT_ONCE]
                good = _alike(signatures, these, those, near)
                found.append(these[good] * count + those[good])
        pairs = np.unique(np.concatenate(found))
    return pairs


def _neighbours(keys: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(later, earlier) rows with one key: each with the three before it, and with the first."""
    here = rows[keys[rows] != _UNSIGNED]
    order = here[np.argsort(keys[here], kind="stable")]
    ordered = keys[order]
    for step in range(1, _NEIGHBOURS + 1):
        same = ordered[step:] == ordered[:-step]
        yield order[step:][same], order[:-step][same]
    if len(order):
        heads = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        first = order[np.maximum.accumulate(np.where(heads, np.arange(len(order)), 0))]
        yield order[~heads], first[~heads]


def _alike(signatures: Signatures, these: np.ndarray, those: np.ndarray, near: float) -> np.ndarray:
    share = np.count_nonzero(signatures.minhash[these] == signatures.minhash[those], axis=1) / _PERMUTATIONS
    same_numbers = signatures.digits[these] == signatures.digits[those]
    return share >= np.where(same_numbers, near, max(near, _NUMBERS_DIFFER))


def _minhash(batch: TextBatch, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """uint32 [n, 64] of the pieces of each row."""
    hashes = piece_hashes(batch.codes, _PIECE)
    spans = [hashes[a : max(a, b - _PIECE)] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.uint64)
    matrix = require("rensa", extra="filter").RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(spans), offsets, _PERMUTATIONS, 42
    )
    flat = chain.from_iterable(matrix.to_rows())
    return np.fromiter(flat, dtype=np.uint32, count=len(spans) * _PERMUTATIONS).reshape(-1, _PERMUTATIONS)


def _digits(batch: TextBatch, starts: np.ndarray, ends: np.ndarray) -> list[str]:
    """The digits of each row, numbers apart."""
    positions = np.flatnonzero(batch.kinds & DIGIT)
    low, high = np.searchsorted(positions, starts), np.searchsorted(positions, ends)
    characters = batch.codes[positions]
    apart = np.concatenate([[True], positions[1:] != positions[:-1] + 1]) if len(positions) else np.zeros(0, bool)
    marked = characters.astype(np.int64) * 2 + apart
    return [marked[a:b].tobytes().hex() if b > a else "" for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def _hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
