"""Vectors that are made once and read from a file afterwards.

It promises that a file is whole or not there, and that vectors of another model, other texts or other settings are
never taken for these. It does not know how vectors are made.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["gathered_vectors", "stored_vectors", "vectors_key"]


def vectors_key(texts: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return 32 hex digits that stand for these texts, in this order, and these settings. Costs O(characters).

    >>> vectors_key(["ab", "c"], {}) == vectors_key(["a", "bc"], {})
    False
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:32]


def gathered_vectors(parts: Iterable[np.ndarray], *, rows: int) -> np.ndarray:
    """Return ``parts`` (each n_i x d) as one float32 array (rows, d)."""
    found = list(parts)
    _check_rows(sum(len(part) for part in found), rows)
    return np.concatenate(found).astype(np.float32, copy=False)


def stored_vectors(path: Path, parts: Iterable[np.ndarray], *, rows: int) -> np.ndarray:
    """Return the float32 array (rows, d) in ``path``, memory-mapped; where it is absent, write ``parts`` there first.

    ``parts`` is consumed only where the file is absent, one part in memory at a time. The file takes 4 d bytes a row.

    Raises:
        ValueError: the file holds something else, or the parts are more or fewer rows than said.
    """
    if not path.is_file():
        _write(path, parts, rows)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no vectors ({error}); delete it") from error
    if array.ndim != 2 or len(array) != rows or array.dtype != np.float32:
        raise ValueError(f"{path} holds {array.dtype} {array.shape}, expected float32 ({rows}, d); delete it")
    return array


def _write(path: Path, parts: Iterable[np.ndarray], rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    done = 0
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                if not done:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, part.shape[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(part, dtype="<f4").tobytes())
                done += len(part)
        _check_rows(done, rows)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check_rows(done: int, rows: int) -> None:
    if done != rows:
        raise ValueError(f"the encoder gave {done} vectors for {rows} texts; expected one each")
