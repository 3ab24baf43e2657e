"""Names for runs and rows, so that results of one are never taken for results of another.

It promises that two runs with the same fingerprint had the same model files, adapter and settings as far as it looked:
small files are read whole; of large ones it reads the size, a safetensors header and 66 blocks of 64 KiB spread evenly
(some 4 MiB), or everything with ``full=True``. An edit of a few weights between those blocks that keeps the size goes
unnoticed without ``full``. It does not see the code: the version of this package and of torch is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["file_digest", "row_digest", "run_fingerprint"]

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".model", ".txt", ".jinja")
_BLOCK = 1 << 16
_BLOCKS = 64
_SMALL = 1 << 23
"""Files up to 8 MiB are read whole."""


def run_fingerprint(
    model: str | os.PathLike[str], *, adapter: str | os.PathLike[str] | None = None, full: bool = False, **settings: Any
) -> str:
    """Return a name for everything that decides a row's logits, apart from the row: 64 hexadecimal digits.

    Args:
        model: the model's folder (or one file). Names count relative to it, so a copied folder is the same model.
        adapter: the adapter's folder or file. The ``adapter_config.json`` beside a file counts with it: it holds alpha.
        full: read every byte of every file (about 1 s a GiB) instead of samples.
        settings: what else decides: prompt style, truncation, max_length, dtype, quantization, attention path. Plain
            values only (text, numbers, True, False, None, lists and mappings of them).

    Budgets of packs are no part of it on purpose: a run that goes on with smaller packs uses what it has.

    Raises:
        FileNotFoundError: no such folder or file.
        TypeError: settings that are not plain values, all named.
    """
    if problems := [f"{key}={value!r}" for key, value in settings.items() if not _is_plain(value)]:
        raise TypeError(
            f"a fingerprint is made of plain values (text, numbers, lists, mappings), not {', '.join(problems)}; "
            "pass str(...) of what matters"
        )
    content = {
        "model": _files(Path(model), full=full),
        "adapter": _adapter_files(Path(adapter), full=full) if adapter is not None else None,
        "full": full,
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def row_digest(ids: np.ndarray) -> bytes:
    """Return 16 bytes that name a row by its token ids, whatever the integer type.

    >>> row_digest(np.array([1, 2])) == row_digest(np.array([1, 2], dtype=np.int32))
    True
    >>> row_digest(np.array([1, 2])) == row_digest(np.array([1, 2, 0]))
    False
    """
    return hashlib.blake2b(np.ascontiguousarray(ids, dtype="<i4").tobytes(), digest_size=16).digest()


def file_digest(path: Path, *, full: bool = False) -> str:
    """Return the SHA-256 of a file's size and content, or of samples of its content where it is large."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        if full or size <= _SMALL:
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
        if path.suffix == ".safetensors":
            length = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(length, size)))
        for start in sorted({0, size - _BLOCK, *(i * (size - _BLOCK) // _BLOCKS for i in range(_BLOCKS))}):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def _files(path: Path, *, full: bool) -> list[list[Any]]:
    """Name, size and digest of the files that make a model or an adapter; links are followed."""
    if path.is_file():
        return [[path.name, path.stat().st_size, file_digest(path, full=full)]]
    if not path.is_dir():
        raise FileNotFoundError(f"no model or adapter at {path}, so it has no fingerprint; correct the path")
    chosen = sorted(
        file
        for file in path.rglob("*")
        if file.suffix in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not chosen:
        raise FileNotFoundError(f"no model or adapter files in {path} (looked for *{', *'.join(_SUFFIXES)})")
    return [[f.relative_to(path).as_posix(), f.stat().st_size, file_digest(f, full=full)] for f in chosen]


def _adapter_files(path: Path, *, full: bool) -> list[list[Any]]:
    """The adapter's files; beside a bare file, the settings that loading it reads."""
    settings = path.with_name("adapter_config.json")
    beside = _files(settings, full=full) if path.is_file() and path != settings and settings.is_file() else []
    return [*_files(path, full=full), *beside]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return type(value) is dict and all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)
