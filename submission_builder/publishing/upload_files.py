"""Which files of a folder go up, and what Kaggle and its client would do to them.

The client sends the files at the top of a folder one by one and each sub-folder as one archive (``--dir-mode``), or,
by default, not at all. Kaggle unpacks archives again. Nothing is written here; folders are walked, files are not read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from submission_builder.packing.sources import SourceFile, SourceList
from submission_builder.packing.units import format_size

__all__ = ["FOLDER_MODES", "MAX_BYTES", "MAX_TOP_LEVEL", "METADATA_NAMES", "UploadFile", "UploadFiles", "find_files"]

MAX_BYTES = 200 * 10**9
"""Largest dataset, and all private data of one account."""
MAX_TOP_LEVEL = 50
"""Most files and folders at the top of a dataset."""
FOLDER_MODES = ("zip", "tar", "skip", "flatten")
"""What can be done about sub-folders; the first three are the client's own."""
METADATA_NAMES = (
    "dataset-metadata.json", "datapackage.json", "kernel-metadata.json", "model-metadata.json",
    "model-instance-metadata.json",
)  # fmt: skip
"""Files at the top that the client reads or passes over, and never sends."""
_NEVER = (".huggingface/*", "*/.huggingface/*")  # the client leaves these out as well
_UNPACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".7z", ".rar")


@dataclass(frozen=True)
class UploadFile:
    """One file and the name it gets in the folder that is sent."""

    name: str
    path: Path
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass
class UploadFiles:
    """What goes up, with everything that is wrong or worth knowing beside it."""

    files: list[UploadFile]
    folder_mode: str
    """As asked for; it matters only where there are sub-folders."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def folders(self) -> dict[str, int]:
        """Sub-folders at the top, and the bytes below each."""
        sizes: dict[str, int] = defaultdict(int)
        for file in self.files:
            if "/" in file.name:
                sizes[file.name.split("/")[0]] += file.size
        return dict(sorted(sizes.items()))

    @property
    def dir_mode(self) -> tuple[str, ...]:
        """What the client must be told about sub-folders; nothing where there are none."""
        return ("-r", self.folder_mode) if self.folders and self.folder_mode in ("zip", "tar") else ()


def find_files(folder: Path, *, folder_mode: str = "zip", exclude: Sequence[str] = ()) -> UploadFiles:
    """The files of ``folder`` that are sent. Caches, version control and old metadata files stay behind.

    Args:
        folder: links in it are followed.
        folder_mode: one of FOLDER_MODES; "skip" leaves sub-folders behind, "flatten" puts their files at the top as
            ``folder__file``.
        exclude: shell patterns over names in the folder, such as ``original/*``.
    """
    if folder_mode not in FOLDER_MODES:
        raise ValueError(f"sub-folders: {folder_mode!r} is unknown; there are {', '.join(FOLDER_MODES)}")
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        return UploadFiles([], folder_mode, [f"folder {folder} {kind}; give the folder that is to be sent"])
    sources = SourceList((*exclude, *_NEVER))
    sources.add_include(".", folder)
    result = UploadFiles([], folder_mode, sources.problems)
    unused = [pattern for pattern in sources.unused_patterns() if pattern not in _NEVER]
    result.warnings += [f"exclude pattern {pattern!r} matches nothing" for pattern in unused]
    kept = [file for file in sources.files if file.name not in METADATA_NAMES]
    result.files = _placed(kept, folder_mode, result)
    result.problems += _limit_problems(result)
    result.warnings += _unpacking_warnings(result)
    return result


def _placed(files: Sequence[SourceFile], folder_mode: str, result: UploadFiles) -> list[UploadFile]:
    left = [file for file in files if "/" in file.name] if folder_mode == "skip" else []
    if left:
        tops = sorted({file.name.split("/")[0] for file in left})
        size = format_size(sum(file.size for file in left))
        result.warnings.append(f"{len(left)} files ({size}) below {', '.join(tops[:5])} are left out")
    taken: dict[str, Path] = {}
    placed = []
    for file in sorted(set(files) - set(left), key=lambda file: file.name):
        name = file.name.replace("/", "__") if folder_mode == "flatten" else file.name
        if name in taken:
            result.problems.append(f"{taken[name]} and {file.path} would both be called {name}; rename one of them")
            continue
        taken[name] = file.path
        placed.append(UploadFile(name, file.path, file.size, file.mtime_ns))
    return placed


def _limit_problems(result: UploadFiles) -> list[str]:
    problems, folders = [], result.folders
    if not result.files and not result.problems:
        problems.append("there is no file to send (caches and metadata files are not sent)")
    if result.size > MAX_BYTES:
        problems.append(f"the files take {format_size(result.size)}, over Kaggle's limit of {format_size(MAX_BYTES)}")
    top = [file.name for file in result.files if "/" not in file.name]
    if len(top) + len(folders) > MAX_TOP_LEVEL:
        problems.append(
            f"{len(top)} files and {len(folders)} folders lie at the top, Kaggle takes {MAX_TOP_LEVEL}; "
            "move files into a sub-folder, which is sent as one archive and unpacked there"
        )
    if result.dir_mode:
        both = sorted({f"{name}.{result.folder_mode}" for name in folders} & set(top))
        problems += [f"{name} is also the name under which the folder beside it is sent; rename it" for name in both]
    return problems


def _unpacking_warnings(result: UploadFiles) -> list[str]:
    packed = [file.name for file in result.files if file.name.lower().endswith(_UNPACKED)]
    warnings = []
    if packed:
        warnings.append(
            f"Kaggle unpacks archives: {', '.join(packed[:5])} will be a folder there; if it must stay a file, add "
            "another ending to its name"
        )
    if result.dir_mode:
        largest, place = max(result.folders.values()), Path(tempfile.gettempdir())
        free = shutil.disk_usage(place).free
        if largest > free:
            warnings.append(
                f"the client packs a sub-folder of {format_size(largest)} below {place}, where {format_size(free)} are "
                "free; set TMPDIR to a larger disk before the upload"
            )
    return warnings
