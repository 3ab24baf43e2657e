"""Where the figures of a benchmark go: one JSON line on the screen, and for full runs results/NAME.json and RESULTS.md.

It notes what is needed to run it again: device, date, commit, versions, command. It knows nothing of what is measured.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ROOT", "benchmark_parser", "commit", "device", "save", "versions"]

ROOT = Path(__file__).resolve().parent.parent
_TABLE_HEAD = "| benchmark | device | date | commit | command | figures |\n|---|---|---|---|---|---|\n"
_INTRO = (
    "# Results\n\nEach row is the last full run of one script on a quiet machine; details in results/NAME.json.\n\n"
)


def benchmark_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the ``--quick`` that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="less data and fewer rounds, under a minute; saves nothing"
    )
    return parser


def device() -> str:
    """Processor, cores and, where torch is already loaded, the GPU."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    count = torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
    gpu = f", {f'{count} x ' if count > 1 else ''}{torch.cuda.get_device_name()}" if count else ""
    return f"{model}, {cores} cores{gpu}"


def commit() -> str:
    """Short hash of the checkout, with a + when tracked files differ from it.

    Outside git (a copy on another machine) what ``BENCHMARK_COMMIT`` says, else "unknown".
    """

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    found = git("rev-parse", "--short", "HEAD")
    if not found:
        return os.environ.get("BENCHMARK_COMMIT", "unknown")
    return found + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions of Python and of ``packages``; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203
            continue
    return found


def save(name: str, figures: Mapping[str, object], *, headline: str, packages: Sequence[str] = (),
         details: Mapping[str, object] | None = None, folder: Path | None = None) -> Path:  # fmt: skip
    """Write results/NAME.json and replace the row of ``name`` in RESULTS.md; returns the JSON file.

    ``headline`` is the sentence of figures in the table, ``figures`` what the script prints as its last line,
    ``details`` whatever else is worth keeping.
    """
    folder = folder or ROOT / "benchmarks"
    command = " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    record = {
        "name": name, "device": device(), "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit(), "command": command, "versions": versions(packages),
        "figures": dict(figures), "details": dict(details or {}),
    }  # fmt: skip
    path = folder / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    row = f"| {name} | {record['device']} | {record['date']} | {record['commit']} | `{command}` | {headline} |\n"
    _replace_row(folder / "RESULTS.md", name, row)
    return path


def _replace_row(path: Path, name: str, row: str) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else _INTRO
    if _TABLE_HEAD not in text:
        text = text.rstrip("\n") + "\n\n" + _TABLE_HEAD
    head, _, rest = text.partition(_TABLE_HEAD)
    lines = rest.splitlines(keepends=True)
    rows = [line for line in lines if line.startswith("|") and not line.startswith(f"| {name} |")]
    after = [line for line in lines if not line.startswith("|")]
    path.write_text(head + _TABLE_HEAD + "".join(sorted([*rows, row])) + "".join(after), encoding="utf-8")
