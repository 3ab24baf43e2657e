"""What each competition accepts: the limits of the archive and of the disk it is unpacked on.

The figures are those that participants and Kaggle's own messages quote (there is no official page for most of them);
a limit is a number here, not a promise by Kaggle. It does not know memory or time limits: ``verify`` has those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from submission_builder.packing.units import format_size

__all__ = ["PROFILES", "Profile", "custom_profile", "get_profile"]


@dataclass(frozen=True)
class Profile:
    """Size limits of one competition, in bytes."""

    name: str
    """What ``--profile`` takes."""
    max_archive_bytes: int
    """Largest submission.tar.gz that is accepted."""
    max_unpacked_bytes: int | None
    """Disk space for the unpacked files; None when it is not known."""
    description: str
    """Where the limits come from, in one line."""

    def __post_init__(self) -> None:
        problems = []
        for label, value in (("archive", self.max_archive_bytes), ("unpacked", self.max_unpacked_bytes)):
            if value is not None and (not isinstance(value, int) or value <= 0):
                problems.append(f"the {label} limit is {value!r}, expected a positive whole number of bytes")
        if problems:
            raise ValueError(f"profile {self.name!r}: " + "; ".join(problems))


_ALL = (
    Profile("llm-20-questions", 20 * 10**9, 100 * 10**9,
            "LLM 20 Questions, submitted from a notebook: 20 GB file, 100 GB disk"),
    Profile("llm-20-questions-upload", 100 * 10**9, 100 * 10**9,
            "LLM 20 Questions, file uploaded from your own machine: 100 GB"),
    Profile("simulation-small", 207_303_475, 12_670_153_523,
            "Newer simulation competitions: 197.7 MiB file, 11.8 GiB disk"),
    Profile("none", 2**63 - 1, None, "No limit: for trying things out"),
)  # fmt: skip

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})


def custom_profile(max_archive_bytes: int, *, max_unpacked_bytes: int | None = None) -> Profile:
    """Limits of a competition that has no named profile.

    >>> custom_profile(5 * 10**9).description
    'custom limit: 5.00 GB'
    """
    about = f"custom limit: {format_size(max_archive_bytes)}" if isinstance(max_archive_bytes, int) else "custom limit"
    return Profile("custom", max_archive_bytes, max_unpacked_bytes, about)


def get_profile(profile: str | Profile) -> Profile:
    """The profile of that name; a Profile is given back as it is.

    Raises:
        ValueError: no such name; the message lists the names there are.

    >>> get_profile("llm-20-questions").max_archive_bytes
    20000000000
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(
            f"profile {profile!r} is unknown; there are {', '.join(PROFILES)}. "
            "For another competition give its limit: custom_profile(bytes), or --limit 5GB on the command line"
        )
    return PROFILES[profile]
