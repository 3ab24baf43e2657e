"""Build the archive that was planned: streamed from where the files are, complete or not there at all.

Same files, same bytes: on any machine, with any number of threads. Memory stays the same whatever the size of the
weights. An old archive of that name is replaced only when the new one is complete and on the disk.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from submission_builder.packing.gzip_stream import GzipStream
from submission_builder.packing.manifest import MANIFEST_NAME, FileRecord, manifest_bytes
from submission_builder.packing.partial_file import PartialFile
from submission_builder.packing.tar_stream import TarStream
from submission_builder.packing.units import format_duration, format_size
from submission_builder.plan import PlannedFile, SubmissionPlan

__all__ = ["BuildError", "BuildReport", "build_archive"]

_logger = logging.getLogger(__name__)


class BuildError(RuntimeError):
    """The archive could not be completed; nothing of it is left and an old one is untouched."""


@dataclass(frozen=True)
class BuildReport:
    """What was built. Sizes in bytes."""

    path: Path
    size: int
    unpacked_size: int
    """Sum of the unpacked files, the manifest included."""
    tar_size: int
    tar_sha256: str | None
    """Digest of the uncompressed tar: the identity of the contents, whatever compressed them. None without hashing."""
    seconds: float
    files: tuple[FileRecord, ...]
    mtime_ns: int
    """Time of the archive file, to notice when another has taken its place."""

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of the archive file, as sha256sum gives it; the first use reads the file from the disk.

        Raises:
            BuildError: another file has taken its place since.
            OSError: it is no longer there.
        """
        digest = hashlib.sha256()
        with self.path.open("rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
                raise BuildError(
                    f"{self.path} is no longer the archive that was built here; build it again to describe it"
                )
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def to_text(self) -> str:
        """A few lines for people."""
        rate = format_size(self.tar_size / max(self.seconds, 1e-9))
        lines = [
            f"built {self.path}",
            f"  {format_size(self.size)} ({self.size:,} bytes), {100 * self.size / max(self.tar_size, 1):.1f} % of "
            f"{format_size(self.tar_size)}, {len(self.files):,} files, {format_duration(self.seconds)}, {rate}/s",
        ]
        if self.tar_sha256:
            lines.append(f"  sha256 of the tar inside: {self.tar_sha256}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The same as one JSON object, with the digest of the archive file."""
        return json.dumps({**asdict(self), "path": str(self.path), "sha256": self.sha256}, indent=1)


def build_archive(
    plan: SubmissionPlan, *, progress: bool = True, hash: bool = True, threads: int | None = None
) -> BuildReport:
    """Write ``plan.output``.

    Args:
        plan: from ``make_plan``; its files must not have changed since.
        progress: show bytes, ratio, expected size and time left.
        hash: SHA-256 of every file and of the tar, computed while packing.
        threads: compression threads; None takes the cores there are, at most 8. The bytes do not depend on it.

    Raises:
        SourceChangedError: a file was changed, cut or extended since it was planned or while it was read.
        BuildError: the disk is full, the limit of the profile is passed, or another build writes the same output.
        Whatever is raised, KeyboardInterrupt included, no partial archive stays.
    """
    started = time.perf_counter()
    with _progress_bar(plan, progress) as bar:
        try:
            with PartialFile(plan.output) as target:
                records, tar_sha256 = _write_all(plan, target, bar, hash, threads)
                target.commit()
        except OSError as error:
            raise BuildError(_disk_message(plan, error)) from error
    report = BuildReport(
        path=plan.output, size=target.position, unpacked_size=plan.unpacked_size, tar_size=plan.tar_size,
        tar_sha256=tar_sha256, seconds=time.perf_counter() - started, files=records, mtime_ns=target.mtime_ns,
    )  # fmt: skip
    _logger.info("built %s: %s of %d files", report.path, format_size(report.size), len(report.files))
    return report


def _write_all(plan: SubmissionPlan, target: PartialFile, bar, hashing: bool, threads: int | None):
    """Everything between the gzip header and its trailer; returns the records and the tar's digest."""

    def write(data: bytes) -> None:
        target.write(data)
        _check_limit(plan, target.position)

    tar_digest = hashlib.sha256() if hashing else None
    with GzipStream(write, threads=threads) as stream:
        on_bytes = None if bar is None else lambda count: _advance(bar, count, target.position)
        tar = TarStream(stream, digest=tar_digest, on_bytes=on_bytes)
        digests = [_add_file(tar, file, hashing) for file in plan.files]
        tar.settle()
        records = tuple(
            FileRecord(file.name, file.size, digest.hexdigest() if digest else None)
            for file, digest in zip(plan.files, digests, strict=True)
        )
        manifest = manifest_bytes(
            records, settings=plan.settings, tar_bytes=tar.position,
            tar_sha256=tar_digest.hexdigest() if tar_digest else None, length=plan.manifest_size,
        )  # fmt: skip
        compress = plan.compress != "never"
        tar.add_bytes(MANIFEST_NAME, manifest, compress=compress)
        tar.close(compress=compress)
        stream.finish()
    return records, tar_digest.hexdigest() if tar_digest else None


def _add_file(tar: TarStream, file: PlannedFile, hashing: bool):
    digest = hashlib.sha256() if hashing else None
    tar.add_file(
        file.name, file.source, size=file.size, mtime_ns=file.mtime_ns, mode=file.mode, compress=not file.stored,
        digest=digest,
    )  # fmt: skip
    return digest


def _progress_bar(plan: SubmissionPlan, progress: bool):
    if not progress:
        return contextlib.nullcontext()
    from tqdm.auto import tqdm  # here: a quiet build need not wait for it

    total = sum(file.size for file in plan.files)
    return tqdm(total=total, unit="B", unit_scale=True, desc=plan.output.name, dynamic_ncols=True)


def _advance(bar, count: int, written: int) -> None:
    bar.update(count)
    ratio = written / bar.n
    bar.set_postfix_str(f"ratio {ratio:.3f}, about {format_size(ratio * bar.total)}", refresh=False)


def _check_limit(plan: SubmissionPlan, written: int) -> None:
    if written > plan.profile.max_archive_bytes:
        raise BuildError(
            f"stopped at {format_size(written)} (predicted {format_size(plan.predicted_size)}): the archive passes the "
            f"{format_size(plan.profile.max_archive_bytes)} of profile {plan.profile.name!r}. Quantise the weights or "
            "exclude files; nothing was left behind"
        )


def _disk_message(plan: SubmissionPlan, error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return (
        f"the archive {plan.output} could not be completed: {error.strerror or error}{where}. It needs about "
        f"{format_size(plan.predicted_size)} (at most {format_size(plan.stored_size)}); nothing was left behind and an "
        "old archive is untouched"
    )
