"""Find the files that go into a submission: main.py, included files and folders, packages copied as files.

Symbolic links are followed (caches and /kaggle/input are full of them). Nothing is read but folders and file sizes, and
nothing is written. Problems are collected, not raised, so that a plan can report all of them at once.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import importlib.util
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SKIPPED_FOLDERS", "SourceFile", "SourceList", "normalize_archive_name"]

SKIPPED_FOLDERS = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".cache", ".pytest_cache", ".ruff_cache"})
"""Folders that are never packed: caches and version control."""
_SKIPPED_SUFFIXES = (".pyc", ".pyo", ".partial")
_PACKAGE_ONLY_SKIPS = frozenset({"tests"})


@dataclass(frozen=True)
class SourceFile:
    """One regular file and the name it gets in the archive."""

    name: str
    """POSIX path from the top of the archive."""
    path: Path
    """Where it is read from; links are followed when it is opened."""
    size: int
    """Bytes."""
    mode: int
    """0o755 if its owner may execute it, else 0o644; nothing else of the source's mode is kept."""
    mtime_ns: int
    """Time of its last change, to notice a file that is written while it is packed."""
    group: str
    """The argument that brought it in: "main.py", "model", "package kaggle_utils"."""


def normalize_archive_name(name: str) -> str:
    """``name`` as a path from the top of the archive; "" (from ".") is the top itself.

    Raises:
        ValueError: absolute, climbing with "..", with a backslash or empty parts.

    >>> normalize_archive_name("./model/"), normalize_archive_name(".")
    ('model', '')
    """
    trimmed = name[:-1] if len(name) > 1 and name.endswith("/") else name
    parts = trimmed.split("/")
    wrong = (
        "is empty, use '.' for the top of the archive" if not trimmed
        else "is absolute" if trimmed.startswith("/")
        else "climbs out of the archive with '..'" if ".." in parts
        else "holds a backslash" if "\\" in trimmed
        else "holds a NUL" if "\0" in trimmed
        else "holds an empty part" if "" in parts
        else None
    )  # fmt: skip
    if wrong:
        raise ValueError(f"archive name {name!r} {wrong}; expected a relative name such as 'model' or 'lib/weights'")
    return "/".join(part for part in parts if part != ".")


@dataclass
class SourceList:
    """Collects files and, beside them, everything that is wrong with them."""

    exclude: Sequence[str] = ()
    """Shell patterns over archive names, such as ``model/original/*``."""
    files: list[SourceFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Real paths of the folders that were walked."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Archive names that were kept out, and the pattern that did it."""

    def add_main(self, path: Path) -> None:
        """The agent's file, which becomes ``main.py`` at the top level."""
        if not path.exists():
            near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
            there = f"the folder holds {', '.join(near[:5])}" if near else "there is no Python file in its folder"
            self.problems.append(f"main file {path} does not exist; {there}. Give the file that defines the agent")
        elif path.is_dir():
            self.problems.append(f"main file {path} is a folder; give the Python file that defines the agent")
        else:
            self._add_file("main.py", path, "main.py", exclude=())

    def add_include(self, name: str, path: Path) -> None:
        """A file under that name, or the contents of a folder below it."""
        try:
            top = normalize_archive_name(name)
        except ValueError as error:
            self.problems.append(str(error))
            return
        self._add_tree(top, path, top or ".", what=f"include {name!r}")

    def add_package(self, package: str | os.PathLike) -> None:
        """An importable package by name, or a folder: its .py files and data, no caches, no tests.

        A package that pip installed brings its ``.dist-info`` along: transformers asks for the versions of bitsandbytes
        and accelerate that way, and takes them for absent without it.
        """
        if isinstance(package, str) and all(part.isidentifier() for part in package.split(".")):
            found = self._find_package(package)
            for top, path in found:
                self._add_tree(top, path, f"package {package}", what=f"package {package!r}", skip=_PACKAGE_ONLY_SKIPS)
            for path in _dist_infos(package, [path for _, path in found]):
                self._add_file(
                    f"{path.name}/METADATA", path / "METADATA", f"package {package}"
                )  # RECORD differs by machine
            return
        path = Path(package)
        if not path.is_dir():
            self.problems.append(f"package {str(package)!r} is neither an importable name nor a folder")
            return
        name = path.resolve().name
        self._add_tree(name, path, f"package {name}", what=f"package {str(package)!r}", skip=_PACKAGE_ONLY_SKIPS)

    def unused_patterns(self) -> list[str]:
        """Patterns of ``exclude`` that kept nothing out."""
        return [pattern for pattern in self.exclude if pattern not in self.excluded.values()]

    def _find_package(self, package: str) -> list[tuple[str, Path]]:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError) as error:
            self.problems.append(f"package {package!r} cannot be looked up: {error}")
            return []
        if spec is None:
            self.problems.append(f"package {package!r} is not installed here; install it or give its folder")
            return []
        top = package.replace(".", "/")
        if spec.submodule_search_locations:
            return [(top, Path(folder)) for folder in spec.submodule_search_locations]
        if spec.origin and Path(spec.origin).is_file():
            return [(top + Path(spec.origin).suffix, Path(spec.origin))]
        self.problems.append(f"package {package!r} is no file or folder ({spec.origin}); it cannot be copied")
        return []

    def _add_tree(self, top: str, path: Path, group: str, *, what: str, skip: Iterable[str] = ()) -> None:
        if not path.exists():
            kind = "is a dangling link" if path.is_symlink() else "does not exist"
            self.problems.append(f"{what}: {path} {kind}; check the path")
        elif not path.is_dir():
            if top:
                self._add_file(top, path, group)
            else:
                self.problems.append(f"{what}: {path} is a file; give it a name in the archive")
        else:
            before = len(self.files) + len(self.problems) + len(self.excluded)
            self._walk(top, path, group, SKIPPED_FOLDERS | set(skip), ())
            if len(self.files) + len(self.problems) + len(self.excluded) == before:
                self.problems.append(f"{what}: folder {path} holds no files to pack")

    def _walk(self, top: str, folder: Path, group: str, skip: frozenset[str], above: tuple[Path, ...]) -> None:
        real = folder.resolve()
        if real in above:
            self.problems.append(f"{folder} links back to {real}, a folder above it; remove the link")
            return
        self.folders.append(real)
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self.problems.append(f"folder {folder} cannot be read: {error.strerror}")
            return
        for entry in entries:
            name = f"{top}/{entry.name}" if top else entry.name
            if _is_folder(entry):
                if entry.name not in skip:
                    self._walk(name, entry, group, skip, (*above, real))
            elif not entry.name.endswith(_SKIPPED_SUFFIXES):
                self._add_file(name, entry, group)

    def _add_file(self, name: str, path: Path, group: str, *, exclude: Sequence[str] | None = None) -> None:
        patterns = self.exclude if exclude is None else exclude
        match = next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), None)
        if match is not None:
            self.excluded[name] = match
            return
        try:
            problem = _file_problem(name, path)
            found = None if problem else path.stat()
        except OSError as error:
            problem, found = f"{path} cannot be read: {error.strerror}", None
        if found is None:
            self.problems.append(problem)
            return
        mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
        self.files.append(SourceFile(name, path, found.st_size, mode, found.st_mtime_ns, group))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # behind a folder without permission: _add_file says so
        return False


def _file_problem(name: str, path: Path) -> str | None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return f"{name!r} is not valid UTF-8; rename {str(path)!r}"
    if not path.exists():
        if path.is_symlink():
            return f"{path} is a dangling link to {os.readlink(path)}; restore its target or leave it out"  # noqa: PTH115
        return f"{path} does not exist"
    if not path.is_file():
        return f"{path} is neither a file nor a folder; leave it out"
    path.open("rb").close()  # an OSError says why it cannot be read
    return None


def _dist_infos(package: str, folders: Sequence[Path]) -> list[Path]:
    """Metadata folders beside the package itself; a checkout or an editable install has none there."""
    parents = {folder.parent for folder in folders}
    names = importlib.metadata.packages_distributions().get(package.partition(".")[0], [])
    paths = (getattr(importlib.metadata.distribution(name), "_path", None) for name in dict.fromkeys(names))
    return [path for path in map(Path, filter(None, paths)) if path.suffix == ".dist-info" and path.parent in parents]
