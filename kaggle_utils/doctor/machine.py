"""Memory, disk, attached inputs and versions of packages, as findings.

It promises to change nothing but to create the working and scratch folders, as ``kaggle_utils.environment`` does. It
does not know what any notebook needs.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import kaggle_utils
from kaggle_utils.doctor.finding import Finding, isolated
from kaggle_utils.doctor.requirement import DISTRIBUTION, declared, fits, installed_version
from kaggle_utils.environment import attached_inputs, input_dir, scratch_dir, where, working_dir
from kaggle_utils.models.rooms import host_memory

__all__ = ["input_findings", "memory_and_disk_findings", "version_findings"]

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "pandas",
    "scikit-learn",
    "isal",
    "kaggle-environments",
)
_GAME = "==1.18.0"  # the last release that holds llm_20_questions
_FROM_WHEELS = "attach the wheels as a dataset and run the notebook's first cell; online: pip install"
_SHOWN = 40
_WHERE = {"notebook": "a Kaggle notebook", "agent": "a Kaggle simulation", "elsewhere": "not on Kaggle"}


def version_findings() -> Iterator[Finding]:
    """Yield Python's version, ours and where it lies, and those of the packages that matter."""
    say = lambda *words, **more: Finding("versions", *words, **more)  # noqa: E731
    yield say("python", f"{platform.python_version()} on {platform.platform(terse=True)}, {_WHERE[where()]}")
    ours = installed_version(DISTRIBUTION)
    place = Path(kaggle_utils.__file__).parent
    if ours in (None, kaggle_utils.__version__):
        yield say(DISTRIBUTION, f"{kaggle_utils.__version__}, from {place}")
    else:
        remedy = f"two copies are on the path: remove one, or restart the kernel ({place} is imported)"
        yield say(DISTRIBUTION, f"{kaggle_utils.__version__}, but {ours} is installed", "one", remedy, level="note")
    wanted = declared() | {"kaggle-environments": _GAME}
    for name in _PACKAGES:
        yield _version_finding(name, wanted.get(name, ""))


def _version_finding(name: str, comparisons: str) -> Finding:
    version = installed_version(name)
    if version is None:
        remedy = f"{_FROM_WHEELS} '{name}{comparisons}', where a notebook needs it"
        return Finding("versions", name, "missing", comparisons, remedy, "note")
    if not fits(version, comparisons):
        remedy = f"this package was not tried with it; online: pip install '{name}{comparisons}'"
        return Finding("versions", name, version, comparisons, remedy, "note")
    return Finding("versions", name, version, comparisons)


def memory_and_disk_findings() -> Iterator[Finding]:
    """Yield the machine's memory and processors, and the room in the working and scratch folders."""
    check = "memory and disk"
    yield Finding(check, "memory", f"{host_memory() / 2**30:.1f} GiB, {_available() / 2**30:.1f} GiB of it free")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(check, "processors", str(cores))
    yield from isolated(check, lambda: [_room(check, "working folder", working_dir())], what="working folder")
    yield from isolated(check, lambda: [_room(check, "scratch folder", scratch_dir())], what="scratch folder")


def _room(check: str, what: str, folder: Path) -> Finding:
    use = shutil.disk_usage(folder)
    value = f"{folder}: {use.free / 1e9:.1f} GB free of {use.total / 1e9:.1f} GB"
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(check, what, f"{value}, cannot be written to", "writable", "choose another folder", "note")
    if use.free < 1e9:
        return Finding(check, what, value, "1 GB free", "remove what is not needed", "note")
    return Finding(check, what, value)


def _available() -> int:
    """Return the bytes of memory that are free now, as the kernel counts them; the whole where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return host_memory()
    return min(kib * 1024, host_memory())


def input_findings() -> Iterator[Finding]:
    """Yield the attached inputs by the names that ``input_dir`` takes."""
    try:
        base = input_dir()
    except FileNotFoundError as error:
        remedy = "on Kaggle attach inputs; elsewhere set KAGGLE_UTILS_INPUT_DIR to a folder of them"
        yield Finding("inputs", "input folder", str(error).split(" (")[0], "a folder", remedy, "note")
        return
    names = attached_inputs()
    if not names:
        remedy = 'attach with "Add Input" in the right panel'
        yield Finding("inputs", "attached", f"nothing in {base}", remedy=remedy, level="note")
    for name in names[:_SHOWN]:
        yield Finding("inputs", "attached", name)
    if len(names) > _SHOWN:
        yield Finding("inputs", "attached", f"and {len(names) - _SHOWN} more")
