"""Files of a run: written whole or not at all, JSON, CSV and arrays; nothing that could be executed.

It does not know what is in them.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_arrays", "read_json", "write_arrays", "write_csv", "write_json"]


def write_json(path: Path, content: Any) -> Path:
    """Write ``content``; keys in their order. Returns the path."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=True) + "\n"
    return _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote.

    Raises:
        ValueError: no JSON, with the file's name.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); delete it, or take it from a copy of the run") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write plain arrays by name into one .npz. Returns the path.

    Raises:
        TypeError: arrays of objects, which could only be pickled.
    """
    if objects := [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]:
        raise TypeError(f"arrays {objects} hold Python objects; give numbers, or text as numpy strings")

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    return _replace(path, write)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a table; floats so that they read back exactly. Returns the path."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)

    return _replace(path, write)


def _replace(path: Path, write: Callable[[Path], Any]) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # mkstemp gives a file that only its owner may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
