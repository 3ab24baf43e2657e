"""What is wrong with the weights before they are packed: absent, cut off, pointers only, or there twice.

Only heads and tables of contents are read. It knows safetensors and the shard index files of transformers; other
formats are checked for being empty, for being a Git LFS pointer and for being a copy of one another.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from submission_builder.packing.sources import SourceFile
from submission_builder.packing.units import format_size

__all__ = ["WEIGHT_SUFFIXES", "copy_problems", "is_weight_file", "safetensors_problem", "weight_problems"]

WEIGHT_SUFFIXES = frozenset(
    {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".npz", ".ckpt"}
)
_LFS_HEAD = b"version https://git-lfs.github.com/spec/"
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_MAX_PARSED_BYTES = 8_000_000  # a longer header is only compared with the file's size, to keep memory small


def is_weight_file(name: str) -> bool:
    """
    >>> is_weight_file("model/model.safetensors"), is_weight_file("main.py")
    (True, False)
    """
    return PurePosixPath(name).suffix.lower() in WEIGHT_SUFFIXES


def weight_problems(files: Sequence[SourceFile]) -> list[str]:
    """Everything that is wrong with the weight files among ``files`` as far as heads and names tell."""
    problems = []
    names = {file.name for file in files}
    for file in files:
        try:
            problems += _file_problems(file, names)
        except OSError as error:  # noqa: PERF203
            problems.append(f"{file.path} cannot be read: {error.strerror}")
    return problems + _two_formats(files)


def copy_problems(files: Sequence[SourceFile], fingerprints: Mapping[str, str]) -> list[str]:
    """Weight files with equal size and equal samples; ``fingerprints`` maps archive names to digests of samples."""
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for file in files:
        if file.name in fingerprints and is_weight_file(file.name):
            groups[file.size, fingerprints[file.name]].append(file.name)
    return [
        f"the same weights are included {len(names)} times ({format_size(size)} each): {', '.join(sorted(names))}; "
        "keep one of them (exclude the others)"
        for (size, _), names in sorted(groups.items())
        if len(names) > 1
    ]


def safetensors_problem(path: Path, size: int) -> str | None:
    """None if the header of the safetensors file fits its size, else what is wrong.

    Format: 8 bytes little-endian header length, a JSON header with data_offsets, then the data.
    """
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            return f"its header says {length:,} bytes, the file has {size:,}: it is cut off or no safetensors file"
        if length > _MAX_PARSED_BYTES:
            return None
        raw = file.read(length)
    try:
        tensors = {key: value for key, value in json.loads(raw).items() if key != "__metadata__"}
        end = max((int(value["data_offsets"][1]) for value in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "its header is not readable: the file is damaged"
    if end + 8 + length != size:
        return f"its header promises {end + 8 + length:,} bytes, the file has {size:,}: download or save it again"
    return None


def _file_problems(file: SourceFile, names: set[str]) -> list[str]:
    if is_weight_file(file.name) and file.size == 0:
        return [f"{file.path} is empty (0 bytes); it should hold weights, download or save it again"]
    if file.size < 1024:
        with file.path.open("rb") as opened:
            if opened.read(len(_LFS_HEAD)) == _LFS_HEAD:
                return [f"{file.path} is a Git LFS pointer, not the file itself; run 'git lfs pull' where it came from"]
    if file.name.endswith(".safetensors"):
        problem = safetensors_problem(file.path, file.size)
        return [f"{file.path}: {problem}"] if problem else []
    if file.name.endswith((".safetensors.index.json", ".bin.index.json")):
        return _index_problems(file, names)
    return []


def _index_problems(file: SourceFile, names: set[str]) -> list[str]:
    try:
        shards = {str(shard) for shard in json.loads(file.path.read_bytes())["weight_map"].values()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [f"{file.path} is not readable as a shard index; download or save it again"]
    folder = PurePosixPath(file.name).parent
    missing = sorted(shard for shard in shards if str(folder / shard) not in names)
    if not missing:
        return []
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return [
        f"{file.path} names {len(shards)} shards, {len(missing)} of them absent: {', '.join(missing[:3])}{more}; "
        "download them, or leave the index out if the weights are in one file"
    ]


def _two_formats(files: Sequence[SourceFile]) -> list[str]:
    """Snapshots often hold the same weights as safetensors and once more in an older format."""
    folders: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        folders[str(PurePosixPath(file.name).parent)].append(file)
    problems = []
    for folder, inside in sorted(folders.items()):
        if not any(file.name.endswith(".safetensors") and not _is_spare(file.name) for file in inside):
            continue
        spare = [f for f in inside if _is_spare(f.name)]
        spare += [f for f in files if f.name.startswith(f"{folder}/original/") and is_weight_file(f.name)]
        if spare:
            listed = ", ".join(sorted(f.name for f in spare)[:3]) + (" ..." if len(spare) > 3 else "")
            problems.append(
                f"{folder} holds its weights twice: as safetensors and as {listed} "
                f"({format_size(sum(f.size for f in spare))}); exclude one of the formats"
            )
    return problems


def _is_spare(name: str) -> bool:
    file = PurePosixPath(name).name
    if file in ("tf_model.h5", "flax_model.msgpack"):
        return True
    return is_weight_file(file) and file.startswith(("pytorch_model.bin", "pytorch_model-", "consolidated"))
