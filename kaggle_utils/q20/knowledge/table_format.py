"""The container of a knowledge table: a JSON header, then raw or deflated arrays, all of it checked.

Layout: 8 bytes magic, 8 bytes length of the header (little-endian), the header in UTF-8 JSON, then the arrays at the
offsets that the header states, counted from the first multiple of 64 after the header. What the arrays mean is not
known here.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.q20.knowledge.cache_folder import write_atomically

__all__ = ["VERSION", "TableFile", "write_arrays"]

VERSION = 1
"""Version of the format that is written and read."""

_MAGIC = b"Q20TABLE"
_ALIGN = 64
_TYPES = {"uint8", "int32", "float32", "float64"}
_LEVEL = 6  # 9 takes twenty times as long for some percent


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, compress: bool) -> Path:
    """Write a header and arrays atomically; the header's keys "version" and "arrays" are filled in here."""
    entries, blobs, offset = {}, [], 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        data = array.reshape(-1).view(np.uint8)
        blob = zlib.compress(data, _LEVEL) if compress else memoryview(data)
        padding = -len(blob) % _ALIGN
        entries[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "codec": "deflate" if compress else "raw",
            "offset": offset,
            "bytes": len(blob),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        blobs += [blob, b"\0" * padding]
        offset += len(blob) + padding
    whole = {**header, "version": VERSION, "arrays": entries}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    head = _MAGIC + len(text).to_bytes(8, "little") + text
    return write_atomically(path, [head, b"\0" * (-len(head) % _ALIGN), *blobs])


class TableFile:
    """An existing file of this format, its header read and checked against its size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, of another version, cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header, self._start, self.digest = _read_header(path)
        self.entries: dict[str, dict[str, Any]] = self.header["arrays"]
        self.raw = all(entry["codec"] == "raw" for entry in self.entries.values())
        """Nothing is compressed, so arrays can be memory-mapped."""

    def arrays(self, *, verify: bool) -> dict[str, np.ndarray]:
        """Return all arrays: memory-mapped where they are raw, else in memory; ``verify`` compares checksums."""
        found = {}
        for name, entry in self.entries.items():
            found[name] = self._mapped(entry) if entry["codec"] == "raw" else self._inflated(name, entry)
            if verify:
                self._check(name, entry, found[name])
        return found

    def _mapped(self, entry: dict[str, Any]) -> np.ndarray:
        shape = tuple(entry["shape"])
        if 0 in shape:
            return np.zeros(shape, dtype=entry["dtype"])
        offset = self._start + entry["offset"]
        return np.memmap(self.path, dtype=entry["dtype"], mode="r", offset=offset, shape=shape).view(np.ndarray)

    def _inflated(self, name: str, entry: dict[str, Any]) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(self._start + entry["offset"])
            blob = file.read(entry["bytes"])
        wanted = _cells(entry) * np.dtype(entry["dtype"]).itemsize
        try:
            data = zlib.decompressobj().decompress(blob, max(wanted, 1))
        except zlib.error as error:
            raise ValueError(f"{self.path} is damaged: {name} cannot be decompressed ({error})") from error
        if len(data) != wanted:
            raise ValueError(f"{self.path} is damaged: {name} has {len(data)} bytes, expected {wanted}")
        return np.frombuffer(data, dtype=entry["dtype"]).reshape(entry["shape"])

    def _check(self, name: str, entry: dict[str, Any], array: np.ndarray) -> None:
        found = hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()
        if found != entry["sha256"]:
            raise ValueError(
                f"{self.path} is damaged: {name} has the SHA-256 {found[:16]}..., its header says "
                f"{entry['sha256'][:16]}...; copy or compile it again"
            )


def _read_header(path: Path) -> tuple[dict[str, Any], int, str]:
    """The header, where the arrays start, and the header's SHA-256."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no knowledge table at {path}; compile one with scripts/compile_table.py")
    size = path.stat().st_size
    with path.open("rb") as file:
        magic, length = file.read(8), int.from_bytes(file.read(8), "little")
        if magic != _MAGIC:
            raise ValueError(f"{path} is no knowledge table: it starts with {magic!r}, expected {_MAGIC!r}")
        if not 0 < length <= size - 16:
            raise ValueError(f"{path} is cut short or damaged: {size} bytes, its header alone should have {length}")
        text = file.read(length)
    start = -(-(16 + length) // _ALIGN) * _ALIGN
    try:
        header = json.loads(text)
        if header["version"] != VERSION:
            problems = [f"it has version {header['version']!r}, this code reads {VERSION}"]
        else:
            problems = [text for item in header["arrays"].items() for text in _problems(*item, size - start)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has a damaged header ({error!r}); compile or copy it again") from error
    if problems:
        raise ValueError(f"{path} cannot be read: {'; '.join(problems)}; compile or copy it again")
    return header, start, hashlib.sha256(text).hexdigest()


def _cells(entry: dict[str, Any]) -> int:
    return int(np.prod(entry["shape"], dtype=np.int64))


def _problems(name: str, entry: dict[str, Any], room: int) -> list[str]:
    """What is wrong with one array's entry; ``room`` is the number of bytes behind the header."""
    problems = []
    if entry["dtype"] not in _TYPES or entry["codec"] not in ("raw", "deflate") or min(entry["shape"], default=0) < 0:
        problems.append(f"{name} is {entry['codec']} {entry['dtype']} {entry['shape']}")
    elif entry["codec"] == "raw" and _cells(entry) * np.dtype(entry["dtype"]).itemsize != entry["bytes"]:
        problems.append(f"{name} {entry['dtype']} {entry['shape']} cannot be {entry['bytes']} bytes")
    if entry["offset"] < 0 or entry["bytes"] < 0 or entry["offset"] + entry["bytes"] > room:
        problems.append(
            f"{name} should end {entry['offset'] + entry['bytes']} bytes behind the header, {room} are there"
        )
    return problems
