"""A folder that appears whole or not at all, made of hard links where the disk allows it.

Large files on the same file system cost no space and no time; the others are copied with their time of change, by which
the client recognises a file whose upload it had begun. A hard link is the same file: who edits it in place edits both,
so small files, which people do edit, are always copied. One process at a time writes one folder; a second is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from submission_builder.packing.plan_checks import free_bytes
from submission_builder.packing.units import format_size
from submission_builder.publishing.upload_files import UploadFile

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two runs over one folder at a time are not noticed there
    fcntl = None

__all__ = ["LINK_FROM", "WrittenFolder", "json_bytes", "out_problems", "write_folder"]

LINK_FROM = 1 << 20
"""Bytes from which a file is hard linked instead of copied."""
_CHUNK = 1 << 24


@dataclass(frozen=True)
class WrittenFolder:
    """What a folder cost, in bytes."""

    path: Path
    linked: int
    """Shared with the sources."""
    copied: int
    """Taken anew from the disk."""


def json_bytes(document: Mapping[str, object]) -> bytes:
    """A metadata file's contents.

    >>> json_bytes({"title": "Wörter"}).decode()
    '{\\n "title": "Wörter"\\n}\\n'
    """
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def out_problems(out: Path, source: Path, files: Sequence[UploadFile], *, marker: str) -> list[str]:
    """Everything that stands against writing ``out``; an old folder of ours is known by its file ``marker``."""
    parent, real = out.parent, out.resolve()
    if not parent.is_dir():
        return [f"output folder {parent} does not exist; create it or choose another --out"]
    problems = []
    if not os.access(parent, os.W_OK):
        problems.append(f"output folder {parent} is not writable; choose another --out, such as one in /kaggle/working")
    if real == source.resolve() or source.resolve() in real.parents or real in source.resolve().parents:
        problems.append(f"output {out} and the folder {source} lie in each other; choose another --out")
    elif out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        problems.append(f"output {out} is a folder with other things in it (no {marker}); choose another --out")
    elif out.exists() and not out.is_dir():
        problems.append(f"output {out} is a file; choose another --out")
    free = free_bytes(parent) if not problems else None
    need = sum(file.size for file in files if not _same_disk(file.path, parent) and not _reusable(out, file))
    if free is not None and need > free:
        problems.append(
            f"{format_size(need)} lie on another disk and must be copied, {parent} has {format_size(free)} free; "
            "choose an --out on the disk of the files"
        )
    return problems


def write_folder(
    files: Sequence[UploadFile], out: Path, *, documents: Mapping[str, Mapping[str, object]], progress: bool = True
) -> WrittenFolder:
    """Make ``out`` of these files and JSON documents; an old ``out`` is replaced when the new one is whole.

    Raises:
        OSError: the disk is full, a file went away; the old folder is as it was and no partial one is left.
        BlockingIOError: another process is writing the same folder.
    """
    linked = copied = 0
    with _partial(out) as partial, _bar(sum(file.size for file in files), progress) as bar:
        for file in files:
            target = partial / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.size >= LINK_FROM and (
                _link(file.path, target) or (_reusable(out, file) and _link(out / file.name, target))
            ):
                linked += file.size
                bar(file.size)
            else:
                _copy(file.path, target, bar)
                copied += file.size
        for name, document in documents.items():
            (partial / name).write_bytes(json_bytes(document))
        _swap(partial, out)
    return WrittenFolder(out, linked, copied)


@contextlib.contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """An empty, locked folder beside ``out``; what a killed run left in it is removed, and it is gone afterwards."""
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(exist_ok=True)
    handle = os.open(partial, os.O_RDONLY) if fcntl else -1
    try:
        if fcntl:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                text = "another run is writing this folder; wait for it or choose another --out"
                raise BlockingIOError(error.errno, text, str(out)) from None
        for entry in partial.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            yield partial
        finally:
            if _is_ours(partial, handle):  # renamed, or another run's by now, if not
                shutil.rmtree(partial, ignore_errors=True)
    finally:
        if handle >= 0:
            os.close(handle)


def _is_ours(partial: Path, handle: int) -> bool:
    try:
        return handle < 0 or os.path.samestat(os.fstat(handle), partial.stat())
    except OSError:
        return False


def _swap(partial: Path, out: Path) -> None:
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _link(source: Path, target: Path) -> bool:
    """Hard link the file itself, not a link to it; False where the disk or the system says no."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path, bar) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            writer.write(chunk)
            bar(len(chunk))
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _same_disk(path: Path, folder: Path) -> bool:
    try:
        return path.stat().st_dev == folder.stat().st_dev
    except OSError:
        return False


def _reusable(out: Path, file: UploadFile) -> bool:
    """An earlier copy of the same file, by size and time: it need not be copied again."""
    try:
        found = (out / file.name).stat()
    except OSError:
        return False
    return found.st_size == file.size and found.st_mtime_ns == file.mtime_ns


@contextlib.contextmanager
def _bar(total: int, progress: bool):
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, desc="files", delay=2, disable=not progress) as bar:
        yield bar.update
