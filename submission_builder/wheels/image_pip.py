"""pip, run as if the image's packages were installed and frozen: stub metadata says what is there, constraints hold it.

Nothing is installed, built or executed: pip resolves and downloads wheels. Your pip configuration (index, proxy,
certificates) counts, except for its constraints, which are about this machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from submission_builder.wheels import pip_view
from submission_builder.wheels.target import Target

__all__ = ["ImagePip", "PipError", "PipSources", "pip_parent"]

_OLDEST = (23, 1)


@dataclass(frozen=True)
class PipSources:
    """Where pip looks for wheels; the default is its own configuration."""

    index_url: str | None = None
    find_links: tuple[str, ...] = ()
    no_index: bool = False

    def options(self) -> list[str]:
        """As pip's options."""
        index = ["--no-index"] if self.no_index else ["--index-url", self.index_url] if self.index_url else []
        return [*index, *(option for place in self.find_links for option in ("--find-links", place))]


class PipError(RuntimeError):
    """pip ended with an error; ``errors`` is what it said, ``skipped`` why it left files out (package -> reasons)."""

    def __init__(self, errors: str, skipped: Mapping[str, Sequence[str]]) -> None:
        self.errors, self.skipped = errors, dict(skipped)
        super().__init__(errors)


def pip_parent() -> Path:
    """Return the folder that holds this Python's pip.

    Raises:
        RuntimeError: there is none, or it is too old to resolve for another machine.
    """
    spec = importlib.util.find_spec("pip")
    if spec is None or not spec.origin:
        raise RuntimeError(f"{sys.executable} has no pip, which resolves the wheels; run: python -m ensurepip")
    parent = Path(spec.origin).parent.parent
    import pip

    if tuple(int(part) for part in re.findall(r"\d+", pip.__version__)[:2]) < _OLDEST:
        raise RuntimeError(
            f"pip {pip.__version__} is too old: {_OLDEST[0]}.{_OLDEST[1]} or newer resolves for another machine; "
            "run: python -m pip install --upgrade pip"
        )
    return parent


class ImagePip:
    """Context manager; ``run`` calls pip for the target with ``installed`` packages that it must keep."""

    def __init__(self, installed: Mapping[str, str], target: Target, sources: PipSources) -> None:
        self.installed, self.target, self.sources = dict(installed), target, sources
        self._parent = pip_parent()

    def __enter__(self) -> ImagePip:
        self.folder = Path(tempfile.mkdtemp(prefix="image-pip-"))
        self._log, packages = self.folder / "pip.log", self.folder / "packages"
        packages.mkdir()
        for name, version in self.installed.items():
            _write_stub(packages, name, version)
        lines = [f"{name}=={version}\n" for name, version in self.installed.items()]
        (self.folder / "constraints.txt").write_text("".join(lines), encoding="utf-8")
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def report(self, requirements: Iterable[str], *options: str) -> tuple[list[dict], list[str]]:
        """Resolve without installing: (pip's report of what it would install, its warnings)."""
        path = self.folder / "report.json"
        done = self.run("install", "--dry-run", "--report", str(path), *options, *requirements)
        warnings = [line[9:] for line in done.stderr.splitlines() if "does not provide the extra" in line]
        return json.loads(path.read_text(encoding="utf-8"))["install"], warnings

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run ``pip command`` for the target.

        Raises:
            PipError: it ended with an error.
        """
        self._log.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-I", "-S", pip_view.__file__, str(self._parent), str(self.folder / "packages"),
             json.dumps(self.target.markers()), command, "--no-input", "--disable-pip-version-check",
             "--progress-bar=off", "--log", str(self._log),
             *self.target.pip_options(), *self.sources.options(), *arguments],
            capture_output=True, text=True, env=self._environment(),
        )  # fmt: skip
        if done.returncode:
            raise PipError(_errors(done.stdout, done.stderr), self._skipped())
        return done

    def _environment(self) -> dict[str, str]:
        """The variable, not the option: it takes the place of constraints in the user's configuration."""
        environment = {**os.environ, "PIP_CONSTRAINT": str(self.folder / "constraints.txt")}
        if self.sources.no_index:  # and of places that the configuration names beside the index
            environment["PIP_FIND_LINKS"] = " ".join(self.sources.find_links)
        for name in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_DEPS"):
            environment.pop(name, None)
        return environment

    def _skipped(self) -> dict[str, list[str]]:
        """Read in pip's log why it left files out."""
        reasons: dict[str, list[str]] = {}
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        pattern = r"Skipping link: (.+?): (?:\S*/)?([A-Za-z0-9][\w.!+-]*?\.(?:whl|tar\.gz|zip|tar\.bz2))"
        for match in re.finditer(pattern, text):
            name = re.split(r"-\d", match[2], maxsplit=1)[0].replace("_", "-").replace(".", "-").lower()
            reasons.setdefault(name, []).append(f"{match[2]}: {match[1].split(' (')[0]}")
        return reasons


def _write_stub(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "RECORD").write_text("", encoding="utf-8")
    (info / "INSTALLER").write_text("the image\n", encoding="utf-8")


def _errors(stdout: str, stderr: str) -> str:
    """Keep pip's errors, and who asked for what in a conflict, which it prints as information."""
    errors = [
        line[7:] for line in stderr.splitlines() if line.startswith("ERROR: ") and "ResolutionImpossible" not in line
    ]
    cause = re.search(r"The conflict is caused by:\n(.*?)\n(?:\n|To fix)", stdout, flags=re.DOTALL)
    return "\n".join(errors + ([cause[1].rstrip()] if cause else [])) or (stderr or stdout)[-2000:]
