"""Say what a submission will hold, how large it gets, and everything that is wrong with it, before a byte is written.

The stored size is exact and an upper bound; the compressed size is predicted from samples of each file. It does not
run main.py and does not load weights: ``verify`` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from submission_builder.packing.deflate import CHUNK_BYTES
from submission_builder.packing.entropy import Probe, probe_file
from submission_builder.packing.gzip_stream import stored_gzip_size
from submission_builder.packing.manifest import MANIFEST_NAME, manifest_size
from submission_builder.packing.partial_file import allocated_bytes, partial_path
from submission_builder.packing.plan_checks import (
    free_bytes,
    main_problems,
    name_problems,
    output_problems,
    size_problems,
    size_warnings,
)
from submission_builder.packing.size_table import size_table
from submission_builder.packing.sources import SourceFile, SourceList
from submission_builder.packing.tar_stream import member_size, tar_size
from submission_builder.packing.weight_checks import copy_problems, is_weight_file, weight_problems
from submission_builder.profiles import Profile, get_profile

__all__ = ["STORE_ABOVE", "PlanError", "PlannedFile", "SubmissionPlan", "make_plan"]

STORE_ABOVE = 0.97
"""A file that deflate would leave above this share of its size is stored: faster to pack, far faster to unpack."""
_PACKED_HEADER_BYTES = 90  # what a tar header and its padding compress to, about


@dataclass(frozen=True)
class PlannedFile:
    """One file of the submission."""

    name: str
    """POSIX path in the archive."""
    source: Path
    size: int
    """Bytes."""
    mode: int
    """0o644 or 0o755."""
    mtime_ns: int
    """Its time when planned; a build refuses the file if it has another one."""
    group: str
    """The argument that brought it in."""
    stored: bool
    """Not compressed, because that would save next to nothing."""
    predicted: int
    """Bytes it is expected to take in the archive."""


@dataclass(frozen=True)
class SubmissionPlan:
    """A submission without problems; ``archive.build_archive`` makes it real. Sizes are in bytes."""

    files: tuple[PlannedFile, ...]
    """In the order of the archive: sorted by name."""
    output: Path
    profile: Profile
    compress: str
    """"auto", "always" or "never"."""
    settings: Mapping[str, object] = field(repr=False)
    """What the manifest repeats of the plan's arguments."""
    manifest_size: int
    tar_size: int
    """Exact length of the uncompressed tar."""
    stored_size: int
    """Exact size of the archive if nothing were compressed; it never gets larger than this."""
    predicted_size: int
    """Expected size of the archive; exact for compress="never"."""
    unpacked_size: int
    """Sum of all files, the manifest included."""
    free_bytes: int | None
    """Free space where the output goes; None if unknown."""
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The size table, and what dominates it."""
        return size_table(self)


class PlanError(ValueError):
    """Everything wrong with a submission plan, reported at once."""

    def __init__(self, problems: Sequence[str], plan: SubmissionPlan | None = None) -> None:
        self.problems = tuple(problems)
        self.plan = plan
        """What could be planned in spite of the problems, to show its sizes."""
        super().__init__("the submission cannot be built:\n" + "\n".join(f"  - {p}" for p in self.problems))


def make_plan(
    main: str | os.PathLike,
    *,
    include: Mapping[str, str | os.PathLike] | None = None,
    packages: Sequence[str | os.PathLike] = (),
    exclude: Sequence[str] = (),
    output: str | os.PathLike = "submission.tar.gz",
    profile: str | Profile = "llm-20-questions",
    compress: str = "auto",
) -> SubmissionPlan:
    """Plan the archive; nothing is written.

    Args:
        main: the file that defines the agent; it becomes ``main.py`` at the top level.
        include: name in the archive -> file or folder ("." puts a folder's contents at the top level).
        packages: importable package names, or folders, copied beside main.py as .py and data files.
        exclude: shell patterns over archive names, such as ``model/original/*`` or ``*.bin``.
        output: the archive to write; its folder must exist.
        profile: limits, by name or as a Profile.
        compress: "auto" stores what does not shrink, "always" tries everything, "never" stores everything.

    Raises:
        PlanError: with all problems at once, in ``problems``.
        ValueError: unknown profile or compress setting.
    """
    if compress not in ("auto", "always", "never"):
        raise ValueError(f"compress is {compress!r}, expected 'auto', 'always' or 'never'")
    limits, target = get_profile(profile), Path(output).absolute()
    sources = SourceList(tuple(exclude))
    sources.add_main(Path(main))
    for name, path in (include or {}).items():
        sources.add_include(name, Path(path))
    for package in [packages] if isinstance(packages, str) else packages:
        sources.add_package(package)
    problems = sources.problems
    problems += name_problems(sources.files) + main_problems(sources.files)
    problems += weight_problems(sources.files) + output_problems(target, sources.folders, sources.files)
    probes = _probe(sources.files, compress, problems)
    problems += copy_problems(sources.files, {name: probe.fingerprint for name, probe in probes.items()})
    plan = _assemble(sources, probes, target, limits, compress)
    problems += size_problems(
        predicted=plan.predicted_size, exact=compress == "never",
        unpacked=plan.unpacked_size, free=plan.free_bytes, profile=limits, output=target,
    )  # fmt: skip
    if problems:
        raise PlanError(list(dict.fromkeys(problems)), plan)
    return plan


def _probe(files: Sequence[SourceFile], compress: str, problems: list[str]) -> dict[str, Probe]:
    probes = {}
    for file in files:
        if compress == "never" and not is_weight_file(file.name):
            continue
        try:
            probes[file.name] = probe_file(file.path, file.size)
        except OSError as error:
            problems.append(f"{file.path} cannot be read: {error.strerror}")
    return probes


def _assemble(
    sources: SourceList, probes: Mapping[str, Probe], output: Path, profile: Profile, compress: str
) -> SubmissionPlan:
    ordered = sorted(sources.files, key=lambda file: file.name.encode())
    files = tuple(_planned(file, probes.get(file.name), compress) for file in ordered)
    settings = _settings(sources)
    payload = sum(member_size(file.name, file.size) for file in files)
    manifest = manifest_size([(file.name, file.size) for file in files], settings=settings, tar_bytes=payload)
    tar = tar_size(payload + member_size(MANIFEST_NAME, manifest))
    stored = stored_gzip_size(tar)
    packed = sum(file.predicted + _PACKED_HEADER_BYTES for file in files) + manifest * 55 // 100
    predicted = stored if compress == "never" else min(stored, packed)
    free = free_bytes(output.parent)
    if free is not None:  # what a killed build left is truncated by the next one
        free += allocated_bytes(partial_path(output))
    return SubmissionPlan(
        files=files, output=output, profile=profile, compress=compress, settings=settings, manifest_size=manifest,
        tar_size=tar, stored_size=stored, predicted_size=predicted, free_bytes=free,
        unpacked_size=sum(file.size for file in files) + manifest,
        warnings=(
            *size_warnings(predicted=predicted, stored=stored, free=free, profile=profile),
            *(f"exclude pattern {pattern!r} matches nothing" for pattern in sources.unused_patterns()),
        ),
    )  # fmt: skip


def _planned(file: SourceFile, probe: Probe | None, compress: str) -> PlannedFile:
    ratio = 1.0 if probe is None or compress == "never" else probe.ratio
    stored = compress == "never" or (compress == "auto" and ratio > STORE_ABOVE and file.size >= CHUNK_BYTES)
    predicted = file.size if stored else round(file.size * ratio)
    return PlannedFile(
        file.name, file.path, file.size, file.mode, file.mtime_ns, file.group, stored=stored, predicted=predicted
    )


def _settings(sources: SourceList) -> dict[str, object]:
    groups = {file.group for file in sources.files} - {"main.py"}
    packages = sorted(group.removeprefix("package ") for group in groups if group.startswith("package "))
    return {
        "include": sorted(group for group in groups if not group.startswith("package ")),
        "packages": packages,
        "exclude": list(sources.exclude),
    }
