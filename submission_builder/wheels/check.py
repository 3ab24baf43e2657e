"""Try a wheelhouse before it is attached: its files, that it is complete, and that it installs and imports.

Installing happens in a fresh environment of the target's Python where this machine has one, without network. What
cannot be tried here is said, never passed over: this machine has neither Kaggle's image nor its GPUs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from submission_builder.wheels import importing
from submission_builder.wheels.image_pip import ImagePip, PipError, PipSources, pip_parent
from submission_builder.wheels.images import canonical
from submission_builder.wheels.manifest import MANIFEST, REQUIREMENTS, Manifest, file_digest, read_manifest
from submission_builder.wheels.own_wheel import wheel_facts
from submission_builder.wheels.target import Target, find_python

__all__ = ["CheckReport", "check_wheelhouse"]

_PACKAGES = ["kaggle_utils", "submission_builder"]
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml", "triton": "torch"}
_TIMEOUT = 600


@dataclass(frozen=True)
class CheckReport:
    """What was found."""

    passed: tuple[str, ...]
    problems: tuple[str, ...]
    unchecked: tuple[str, ...]
    """What could not be tried on this machine, and why."""

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return not self.problems

    def to_text(self) -> str:
        """One line for each finding."""
        marks = (("ok        ", self.passed), ("PROBLEM   ", self.problems), ("unchecked ", self.unchecked))
        return "\n".join(mark + line.replace("\n", "\n          ") for mark, lines in marks for line in lines)


class _Findings:
    def __init__(self) -> None:
        self.passed, self.problems, self.unchecked = [], [], []

    def report(self) -> CheckReport:
        return CheckReport(tuple(self.passed), tuple(self.problems), tuple(self.unchecked))


def check_wheelhouse(
    folder: str | Path, *, python: str | Path | None = None, sources: PipSources | None = None
) -> CheckReport:
    """Check digests, resolve again with nothing but these wheels, install them and import every public module.

    Args:
        folder: what ``build_wheelhouse`` wrote.
        python: interpreter to install for (default: one of the target's version on this machine).
        sources: where pip finds those few packages of the image that our light core imports (numpy, tqdm).

    Raises:
        ValueError: the folder is no wheelhouse.
    """
    folder = Path(folder)
    manifest, findings = read_manifest(folder), _Findings()
    _check_files(folder, manifest, findings)
    if findings.problems:
        findings.unchecked.append("everything else: the files are not what was written")
        return findings.report()
    _check_complete(folder, manifest, findings)
    with tempfile.TemporaryDirectory(prefix="wheelhouse-check-") as temporary:
        _check_install(folder, manifest, findings, Path(temporary), python, sources or PipSources())
    return findings.report()


def _check_files(folder: Path, manifest: Manifest, findings: _Findings) -> None:
    for wheel in manifest.wheels:
        path = folder / wheel.file
        if not path.is_file():
            findings.problems.append(f"{wheel.file} is missing")
        elif file_digest(path) != wheel.sha256:
            findings.problems.append(f"{wheel.file} is not the file that was written (its SHA-256 differs)")
    named = {wheel.file for wheel in manifest.wheels}
    strangers = sorted(path.name for path in folder.glob("*.whl") if path.name not in named)
    if strangers:
        findings.problems.append(f"{', '.join(strangers)}: not in {MANIFEST}; build the wheelhouse again")
    requirements = folder / REQUIREMENTS
    if not requirements.is_file() or requirements.read_text(encoding="utf-8") != manifest.to_requirements():
        findings.problems.append(f"{REQUIREMENTS} is not what was written")
    if not findings.problems:
        findings.passed.append(f"{len(manifest.wheels)} files are as written")


def _check_complete(folder: Path, manifest: Manifest, findings: _Findings) -> None:
    """pip, on top of the image's packages and offline, must choose exactly these wheels."""
    there = {n: v for n, v in manifest.image_versions.items() if n not in manifest.replaced}
    target = Target(manifest.python, manifest.platforms)
    sources = PipSources(find_links=(str(folder.resolve()),), no_index=True)
    try:
        with ImagePip({**there, **manifest.assumed}, target, sources) as pip:
            chosen = {canonical(entry["metadata"]["name"]) for entry in pip.report([manifest.wanted])[0]}
    except PipError as failure:
        findings.problems.append(f"the wheels are not enough for {manifest.image}:\n{failure}")
        return
    needless = {w.name for w in manifest.wheels} - chosen - set(manifest.without_dependencies)
    if needless:
        findings.problems.append(f"nobody needs {', '.join(sorted(needless))}")
    else:
        findings.passed.append(
            f"resolved offline on top of {manifest.image}: {manifest.wanted} needs exactly these wheels, "
            f"and they replace {', '.join(manifest.replaced) or 'nothing'}"
        )


def _check_install(folder, manifest, findings, work: Path, python, sources: PipSources) -> None:
    short = ".".join(manifest.python.split(".")[:2])
    found = Path(python) if python else find_python(short)
    if found is None:
        findings.unchecked.append(
            f"Python {short} is not on this machine: compiled wheels were not installed, and our own modules were "
            f"imported by Python {sys.version_info[0]}.{sys.version_info[1]} with the packages that it has"
        )
        return _import_own(folder, manifest, findings, work)
    environment = work / "environment"
    done = _run([str(found), "-m", "venv", "--without-pip", str(environment)])
    if done.returncode:
        findings.unchecked.append(f"{found} cannot make an environment: {done.stderr.strip()[-300:]}")
        return None
    interpreter = environment / "bin" / "python"
    done = _pip(interpreter, "--no-deps", "-r", str(folder / REQUIREMENTS), offline=True)
    if done.returncode:
        findings.problems.append(f"installing with Python {short} failed:\n{done.stderr.strip()[-1500:]}")
        return None
    findings.passed.append(f"installed without network into a fresh environment of Python {short}")
    if _add_light_packages(folder, manifest, findings, interpreter, sources):
        done = _run([str(interpreter), "-I", importing.__file__, *_PACKAGES])
        _judge_imports(done, folder, manifest, findings, f"Python {short}")
    return None


def _add_light_packages(folder, manifest, findings, interpreter: Path, sources: PipSources) -> bool:
    """Install those few packages of the image without which nothing of ours imports."""
    facts = wheel_facts(folder / next(w.file for w in manifest.wheels if w.name == manifest.package))
    needs = [canonical(n) for n in _requirement_names(facts.get_all("Requires-Dist") or [], extra=False)]
    known = {**manifest.image_versions, **manifest.assumed}
    pins = [f"{name}=={known[name]}" for name in needs if name in known]
    pins = [pin for pin in pins if pin.partition("==")[0] not in {w.name for w in manifest.wheels}]
    if not pins:
        return True
    done = _pip(interpreter, "--no-deps", "--only-binary=:all:", *sources.options(), *pins)
    if done.returncode:
        findings.unchecked.append(
            f"no import was tried: {' '.join(pins)} of the image cannot be had here; give --find-links FOLDER with "
            f"their wheels, or a network ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})"
        )
    return not done.returncode


def _import_own(folder, manifest, findings, work: Path) -> None:
    own = next(w.file for w in manifest.wheels if w.name == manifest.package)
    done = _pip(Path(sys.executable), "--no-deps", "--target", str(work / "own"), str(folder / own), offline=True)
    if done.returncode:
        findings.problems.append(f"installing {own} failed:\n{done.stderr.strip()[-1500:]}")
        return
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    done = _run([sys.executable, "-I", "-c", code, str(work / "own"), importing.__file__, *_PACKAGES])
    _judge_imports(
        done, folder, manifest, findings, f"this machine's Python {sys.version_info[0]}.{sys.version_info[1]}"
    )


def _judge_imports(done: subprocess.CompletedProcess, folder, manifest, findings, where: str) -> None:
    if done.returncode:
        findings.problems.append(f"importing our modules failed:\n{done.stderr.strip()[-1500:]}")
        return
    result = json.loads(done.stdout.splitlines()[-1])
    findings.passed.append(f"{result['imported']} public modules import with {where}")
    facts = wheel_facts(folder / next(w.file for w in manifest.wheels if w.name == manifest.package))
    optional = {canonical(n) for n in _requirement_names(facts.get_all("Requires-Dist") or [], extra=True)}
    elsewhere: dict[str, list[str]] = {}
    for module, (lacking, error) in result["failed"].items():
        name = canonical(_DISTRIBUTIONS.get(lacking, lacking))
        if lacking and name in {*manifest.image_versions, *manifest.assumed, *optional}:
            elsewhere.setdefault(name, []).append(module)
        else:
            findings.problems.append(f"import {module}: {error}")
    for name, modules in sorted(elsewhere.items()):
        origin = "of the image" if name in manifest.image_versions else "of an extra that was not asked for"
        findings.unchecked.append(f"import needs {name} {origin}, which is not here: {', '.join(modules)}")


def _requirement_names(lines: list[str], *, extra: bool) -> list[str]:
    """
    Return names in Requires-Dist, of extras or of what is always needed.

    >>> _requirement_names(["numpy>=1.26", 'torch>=2.6; extra == "llm"'], extra=False)
    ['numpy']
    """
    names = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if ("extra" in marker) == extra:
            end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "._-")), len(requirement))
            names.append(requirement[:end])
    return names


def _pip(interpreter: Path, *arguments: str, offline: bool = False) -> subprocess.CompletedProcess:
    """Install with this machine's pip; offline it reads no configuration, as on Kaggle."""
    command = [sys.executable, str(pip_parent() / "pip"), "--python", str(interpreter), "install", "-q", "--no-input",
               "--disable-pip-version-check"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not (offline and name.startswith("PIP_"))}
    if offline:
        environment["PIP_CONFIG_FILE"] = os.devnull
        command.append("--no-index")
    return _run([*command, *arguments], environment)


def _run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=environment)
