"""What can be wrong with a submission as a whole: its names, its main.py, its output path, its size.

Each check returns sentences; none raises and none writes.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from submission_builder.packing.manifest import MANIFEST_NAME
from submission_builder.packing.sources import SourceFile
from submission_builder.packing.units import format_size
from submission_builder.profiles import Profile

__all__ = ["free_bytes", "main_problems", "name_problems", "output_problems", "size_problems", "size_warnings"]

_SHRINK = "quantise the weights first (kaggle_utils.models.saving.quantize_and_save) or exclude files"


def name_problems(files: Sequence[SourceFile]) -> list[str]:
    """Names taken twice, a name that is both file and folder, and the manifest's own name."""
    taken: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        taken[file.name].append(file)
    twice = {name: same for name, same in sorted(taken.items()) if len(same) > 1}
    problems = [
        f"{name} is taken by {len(same)} files: {', '.join(str(f.path) for f in same[:3])}; give one another name"
        for name, same in list(twice.items())[:5]
    ]
    if len(twice) > 5:
        problems.append(f"{len(twice) - 5} more names are taken twice")
    if MANIFEST_NAME in taken:
        problems.append(f"{MANIFEST_NAME} is the builder's own file; rename {taken[MANIFEST_NAME][0].path}")
    parents = {parent for name in taken for parent in _parents(name)}
    problems += [f"{name} is a file and a folder at once; rename one of them" for name in sorted(parents & set(taken))]
    return problems


def main_problems(files: Sequence[SourceFile]) -> list[str]:
    """An empty main.py, or one that Python cannot parse (a notebook magic left in it, for example)."""
    main = next((file for file in files if file.name == "main.py"), None)
    if main is None:
        return []  # SourceList.add_main has said so
    if main.size == 0:
        return [f"{main.path} is empty (0 bytes); it must define the agent"]
    try:
        ast.parse(main.path.read_bytes(), filename=str(main.path))
    except SyntaxError as error:
        return [f"{main.path} line {error.lineno}: {error.msg}; Kaggle could not load it"]
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        return [f"{main.path} cannot be parsed: {error}; Kaggle could not load it"]
    return []


def output_problems(output: Path, folders: Sequence[Path], files: Sequence[SourceFile]) -> list[str]:
    """An output that cannot be written, must not be written, or would contain itself."""
    parent = output.parent
    if not parent.is_dir():
        return [f"output folder {parent} does not exist; create it or choose another output"]
    problems = []
    if output.is_dir():
        problems.append(f"output {output} is a folder; name the file, such as {output / 'submission.tar.gz'}")
    if not os.access(parent, os.W_OK):
        problems.append(f"output folder {parent} is not writable; choose another output")
    real = parent.resolve()
    inside = sorted({str(folder) for folder in folders if real == folder})
    if inside:
        problems.append(
            f"output {output} lies in the included folder {inside[0]} and would contain itself; move it out"
        )
    problems += [
        f"output {output} is below {root}, which is only read; write to the working folder"
        for root in _input_roots()
        if real == root or root in real.parents
    ]
    if output.exists():
        own = output.stat()
        problems += [
            f"output {output} is also packed as {file.name}; choose another output"
            for file in files
            if os.path.samestat(own, file.path.stat())
        ]
    return problems


def size_problems(
    *, predicted: int, exact: bool, unpacked: int, free: int | None, profile: Profile, output: Path
) -> list[str]:
    """Limits and disk space that the submission will certainly or probably not keep; all sizes in bytes."""
    size = f"{format_size(predicted)}{'' if exact else ' (predicted)'}"
    problems = []
    if predicted > profile.max_archive_bytes:
        limit = format_size(profile.max_archive_bytes)
        if limit == format_size(predicted):  # then only the bytes tell them apart
            size, limit = f"{predicted:,} bytes{size[len(limit) :]}", f"{profile.max_archive_bytes:,} bytes"
        problems.append(f"the archive will be {size}, over the {limit} of profile {profile.name!r}; {_SHRINK}")
    if profile.max_unpacked_bytes is not None and unpacked > profile.max_unpacked_bytes:
        limit = format_size(profile.max_unpacked_bytes)
        problems.append(f"unpacked it takes {format_size(unpacked)}, over the {limit} of {profile.name!r}; {_SHRINK}")
    if free is not None and predicted > free:
        problems.append(
            f"the archive needs {size} beside any old one, {output.parent} has {format_size(free)} free; "
            "free space there or choose an output on another disk"
        )
    return problems


def size_warnings(*, predicted: int, stored: int, free: int | None, profile: Profile) -> list[str]:
    """Limits that hold by the prediction but not by the exact upper bound ``stored``."""
    warnings = []
    if predicted <= profile.max_archive_bytes < stored:
        warnings.append(
            f"the limit of {format_size(profile.max_archive_bytes)} holds only if compression saves what the probe "
            f"predicts ({format_size(predicted)}; at most it is {format_size(stored)}); the build stops at the limit"
        )
    if free is not None and predicted <= free < stored:
        warnings.append(
            f"{format_size(free)} are free, enough for the predicted {format_size(predicted)} but not for the most "
            f"it can be ({format_size(stored)}); the build stops cleanly if the disk fills"
        )
    return warnings


def free_bytes(folder: Path) -> int | None:
    """Bytes that this user may still write to the file system of ``folder``; None if it cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _input_roots() -> list[Path]:
    named = os.environ.get("KAGGLE_UTILS_INPUT_DIR")
    return [Path(root).resolve() for root in dict.fromkeys(["/kaggle/input", named]) if root]
