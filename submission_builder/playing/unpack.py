"""Unpack a submission archive as strictly as the strictest reader would, and say what is wrong with it.

One pass over the file: inflate, hash, extract. Everything wrong is collected; nothing outside the target folder is
ever written. It does not know what the files mean, beyond ``main.py`` and ``MANIFEST.json``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from isal import isal_zlib

from submission_builder.linting.problem import Problem

__all__ = ["Unpacked", "unpack_archive"]

_CHUNK = 1 << 20
_BLOCK = 1 << 16  # compressed bytes at a time: they inflate to 64 MiB at the most
_REPACK = "build it again with submission-builder build, or tar -czf from inside the folder"


@dataclass
class Unpacked:
    """What came out of an archive."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Name to sha256 of each regular file."""
    size: int = 0
    """Bytes of all regular files."""
    tar_sha256: str = ""
    """Digest of the uncompressed tar."""

    def error(self, message: str, fix: str = _REPACK) -> None:
        """Add a problem with the archive."""
        self.problems.append(Problem("archive", "error", message, fix))

    def new_files(self) -> list[str]:
        """Files that now lie in the folder and did not come out of the archive (compiled bytecode aside)."""
        now = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        return sorted(name for name in now - set(self.files) if "__pycache__" not in name)

    @property
    def siblings(self) -> set[str]:
        """Modules and packages that lie beside main.py."""
        tops = {Path(name).parts[0] for name in self.files if name.endswith(".py")}
        return {top.removesuffix(".py") for top in tops} - {"main"}


class _GzipStream(io.RawIOBase):
    """Inflates exactly one gzip member and remembers what is wrong with the rest."""

    def __init__(self, raw, progress: Callable[[int], None]) -> None:
        self._raw, self._progress = raw, progress
        self._inflate, self._buffer = isal_zlib.decompressobj(wbits=31), memoryview(b"")
        self._digest, self.complaint = hashlib.sha256(), ""

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:
        while not len(self._buffer):
            if self._inflate.eof:
                return 0
            block = self._raw.read(_BLOCK)
            if not block:
                self.complaint = "the gzip stream is cut off: the file is incomplete"
                return 0
            self._progress(len(block))
            self._buffer = memoryview(self._inflate.decompress(block))  # a view: cutting bytes would copy the rest
            self._digest.update(self._buffer)
        count = min(len(target), len(self._buffer))
        target[:count], self._buffer = self._buffer[:count], self._buffer[count:]
        return count

    def finish(self) -> str:
        """Read to the end of the file; return the digest of what was inflated."""
        while self.read(_CHUNK):
            pass
        rest = self._inflate.unused_data + self._raw.read(_CHUNK)
        if not self.complaint and rest.startswith(b"\x1f\x8b"):
            self.complaint = "holds more than one gzip member: streaming readers stop after the first"
        elif not self.complaint and rest.strip(b"\0"):
            self.complaint = f"{len(rest)}+ bytes of something else follow the gzip stream"
        return self._digest.hexdigest()


def unpack_archive(archive: Path, folder: Path, *, progress: Callable[[int], None] = lambda count: None) -> Unpacked:
    """Extract ``archive`` (.tar.gz) into the empty ``folder``.

    Args:
        archive: the submission file.
        folder: created if need be; anything that an archive should not contain is left out and reported.
        progress: called with the number of compressed bytes read since its last call.

    Returns:
        Names, digests and problems. A damaged archive is a result, not an exception.

    Raises:
        FileNotFoundError: no such archive.
        OSError: the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = Unpacked(folder)
    with archive.open("rb") as raw:
        stream = _GzipStream(raw, progress)
        try:
            with tarfile.open(fileobj=io.BufferedReader(stream, _CHUNK), mode="r|", bufsize=_CHUNK) as tar:
                for member in tar:
                    _extract(tar, member, result)
            result.tar_sha256 = stream.finish()
        except (tarfile.TarError, EOFError, zlib.error, isal_zlib.error) as error:
            stream.complaint = stream.complaint or f"cannot be read: {error}"
        except OSError as error:
            if error.errno == errno.ENOSPC:
                free = shutil.disk_usage(folder).free
                raise OSError(
                    errno.ENOSPC,
                    f"no space left in {folder} while unpacking {archive} after "
                    f"{result.size:,} bytes ({free:,} bytes are free); pass work_dir= on a larger disk",
                ) from error
            raise
    if stream.complaint:
        result.error(f"{archive.name}: {stream.complaint}")
    _check_main(result)
    _check_manifest(result)
    return result


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, result: Unpacked) -> None:
    if member.name.startswith(("/", "\\")) or ".." in Path(member.name).parts:
        result.error(f"{member.name!r} would be written outside the agent's folder")
        return
    try:
        _write_member(tar, member, result)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        result.error(
            f"{member.name[:120]!r} cannot be unpacked: {error.strerror}", "no other unpacker could do it either"
        )


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, result: Unpacked) -> None:
    target = result.folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif not member.isreg():
        kind = "link" if member.islnk() or member.issym() else "special file"
        result.error(f"{member.name!r} is a {kind}, which Kaggle's unpacker may drop", "pack the file itself")
    else:
        name = Path(member.name).as_posix()
        if name in result.files:
            result.error(f"{name!r} is in the archive twice")
        target.parent.mkdir(parents=True, exist_ok=True)
        source, digest = tar.extractfile(member), hashlib.sha256()
        with target.open("wb") as out:
            while block := source.read(_CHUNK):
                digest.update(block)
                out.write(block)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
        result.files[name] = digest.hexdigest()
        result.size += member.size


def _check_main(result: Unpacked) -> None:
    if "main.py" in result.files or not result.files:
        if not result.files:
            result.error("holds no files")
        return
    nested = sorted(name for name in result.files if name.endswith("/main.py"))
    hint = f"it is at {nested[0]!r}" if nested else f"there are {', '.join(sorted(result.files)[:5])}"
    result.error(f"main.py is not at the top level; {hint}", "tar -C FOLDER -czf submission.tar.gz main.py ...")


def _check_manifest(result: Unpacked) -> None:
    """Compare with MANIFEST.json where there is one (``files``: name, sha256)."""
    if "MANIFEST.json" not in result.files:
        return
    try:
        listed = json.loads((result.folder / "MANIFEST.json").read_text(encoding="utf-8"))["files"]
        rows = listed.items() if isinstance(listed, dict) else [(row["name"], row) for row in listed]
        expected = {name: row if isinstance(row, str) else row["sha256"] for name, row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        result.error(f"MANIFEST.json cannot be read ({error!r})")
        return
    for name, digest in expected.items():
        if digest and result.files.get(name) != digest:
            state = "differs from" if name in result.files else "is named in"
            result.error(f"{name!r} {state} MANIFEST.json")
    for name in sorted(set(result.files) - set(expected) - {"MANIFEST.json"}):
        result.problems.append(Problem("archive", "warning", f"{name!r} is not in MANIFEST.json", _REPACK))
