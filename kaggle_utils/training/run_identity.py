"""What a run was made of, piece by piece, so that another run is never taken for it, and the difference has a name.

It promises that two runs with equal identities had the same rows, labels, folds, settings and model files, byte by
byte. It does not see code: versions of packages are recorded beside it, and a change of them is reported, not refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils import __version__
from kaggle_utils.data.tokenization import TokenRows

__all__ = [
    "RunMismatchError",
    "array_digest",
    "callable_name",
    "differences",
    "folder_digest",
    "rows_digest",
    "versions",
]

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "tokenizers", "safetensors")
_SUFFIXES = (".safetensors", ".bin", ".json")
_NOT_THE_MODEL = ("tokenizer", "special_tokens", "vocab", "added_tokens")


class RunMismatchError(ValueError):
    """The folder holds a run of other rows, settings or weights; ``differences`` names them."""

    def __init__(self, folder: Path, found: Sequence[str]) -> None:
        self.differences = tuple(found)
        super().__init__(
            f"{folder} holds another run; going on would mix the two. What differs:\n"
            + "\n".join(f"  - {text}" for text in found)
            + "\nGive this run another folder, or delete that one"
        )


def versions() -> dict[str, str]:
    """Versions of what computes, by package; "absent" where one is not installed."""
    return {"kaggle_utils": __version__, **{name: _version(name) for name in _PACKAGES}}


def array_digest(values: np.ndarray | Sequence[Any]) -> str:
    """Return 32 hexadecimal digits that name an array by type, shape and content; ids of any kind go as text.

    >>> array_digest(np.array([1, 2])) == array_digest([1, 2])
    True
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        return _digest([json.dumps([f"{type(v).__name__} {v}" for v in values], ensure_ascii=True).encode()])
    return _digest([f"{array.dtype.str} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()])


def rows_digest(rows: TokenRows | None) -> str | None:
    """Name token rows by their ids and borders; None stays None."""
    if rows is None:
        return None
    ids = (np.ascontiguousarray(row, dtype="<i4").tobytes() for row in rows.ids)
    return _digest([np.ascontiguousarray(rows.lengths, dtype="<i8").tobytes(), *ids])


def folder_digest(folder: Path) -> str:
    """Name a model folder by the whole content of its weights and its config; about 1 s a GB."""
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix in _SUFFIXES and file.is_file() and not file.name.startswith(_NOT_THE_MODEL)
    )
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def callable_name(function: Callable[..., Any] | None) -> str | None:
    """Name a function by module and name, and by its plain arguments where it is a ``functools.partial`` of one.

    >>> callable_name(array_digest)
    'kaggle_utils.training.run_identity.array_digest'
    """
    if function is None:
        return None
    inner = getattr(function, "func", None)
    if inner is not None:
        named = sorted(function.keywords.items())  # type: ignore[attr-defined]
        given = [_text(value) for value in function.args]  # type: ignore[attr-defined]
        return f"{callable_name(inner)}({', '.join([*given, *(f'{name}={_text(value)}' for name, value in named)])})"
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, within: str = "") -> list[str]:
    """Name what differs between two identities, as read from JSON and as it is now.

    >>> differences({"seed": 1, "data": {"rows": "ab"}}, {"seed": 2, "data": {"rows": "ab"}})
    ['seed: was 1, is 2']
    """
    found = []
    for key in sorted({*old, *new}):
        before, after, name = old.get(key), new.get(key), f"{within}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, within=f"{name}.")
        elif before != after:
            found.append(f"{name}: was {before!r}, is {after!r}")
    return found


def _text(value: Any) -> str:
    """The same in every process: an object's address is not."""
    if callable(value):
        return str(callable_name(value))
    return repr(value) if isinstance(value, str | int | float | None | Path) else type(value).__qualname__


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
