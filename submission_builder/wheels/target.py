"""The machine that the wheels are for: its Python and platform, as pip's options and as environment markers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from submission_builder.wheels.images import Image

__all__ = ["Target", "find_python", "make_target", "platform_tags"]

_LEGACY = {"x86_64": {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}, "aarch64": {17: "manylinux2014"}}


@dataclass(frozen=True)
class Target:
    """A CPython on Linux."""

    python: str
    """"3.12" or "3.12.13"."""
    platforms: tuple[str, ...]
    """Platform tags of wheels that it runs, newest first."""

    @property
    def short_python(self) -> str:
        """ "3.12"."""
        return ".".join(self.python.split(".")[:2])

    def pip_options(self) -> list[str]:
        """Options with which pip chooses wheels for it."""
        tags = [option for tag in self.platforms for option in ("--platform", tag)]
        return ["--only-binary=:all:", "--python-version", self.python, "--implementation", "cp", *tags]

    def markers(self) -> dict[str, str]:
        """What requirements' markers (``; python_version < "3.11"``) see there. pip itself would ask this machine."""
        full = self.python if self.python.count(".") == 2 else f"{self.python}.0"
        machine = re.split(r"_(?=x86_64|aarch64|i686|armv|ppc|s390)", self.platforms[0])[-1]
        return {
            "implementation_name": "cpython", "implementation_version": full, "os_name": "posix",
            "platform_machine": machine, "platform_python_implementation": "CPython", "platform_release": "",
            "platform_system": "Linux", "platform_version": "", "python_full_version": full,
            "python_version": self.short_python, "sys_platform": "linux",
        }  # fmt: skip


def make_target(image: Image, *, python: str | None = None, platform: str | None = None) -> Target:
    """Return the image's own target, or what the arguments say instead.

    Raises:
        ValueError: no Python version or platform is known, or one is none; everything at once.
    """
    python, platform = python or image.python, platform or image.platform or "manylinux_2_35_x86_64"
    problems = []
    if not re.fullmatch(r"3\.\d{1,2}(\.\d{1,2})?", python):
        problems.append(
            f"Python {python!r} is no version such as 3.12"
            if python
            else f"{image.name} does not say its Python: add the line '# python: 3.12' to it, or give --python"
        )
    if not re.fullmatch(r"(manylinux\w*|linux)_[a-z0-9_]+", platform):
        problems.append(f"platform {platform!r} is no Linux wheel tag such as manylinux_2_35_x86_64")
    if problems:
        raise ValueError("; ".join(problems))
    return Target(python, tuple(platform_tags(platform)))


def platform_tags(platform: str) -> list[str]:
    """Return ``platform`` and every older tag of its family; pip's ``--platform`` takes each one literally.

    >>> platform_tags("manylinux_2_17_x86_64")[:3]
    ['manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux_2_16_x86_64']
    >>> platform_tags("linux_x86_64")
    ['linux_x86_64']
    """
    match = re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform)
    if not match:
        return [platform]
    newest, machine = int(match[1]), match[2]
    tags = []
    for minor in range(newest, 4, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY.get(machine, {}):
            tags.append(f"{_LEGACY[machine][minor]}_{machine}")
    return [*tags, f"linux_{machine}"]


def find_python(version: str) -> Path | None:
    """Return an interpreter of this major and minor version on this machine that runs, or None."""
    short = ".".join(version.split(".")[:2])
    if short == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [shutil.which(f"python{short}"), *sorted(pyenv.glob(f"{short}.*/bin/python"), reverse=True)]
    return next((Path(path) for path in found if path and _version_of(Path(path)) == short), None)


def _version_of(python: Path) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
