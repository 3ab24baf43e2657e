"""Our own wheel, from the checkout that this package runs from, or put together again from what pip installed.

The same source gives the same bytes. A checkout is copied before it is built, so that neither old ``build`` folders
get into the wheel nor new ones into the checkout.
"""

from __future__ import annotations

import base64
import email
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

__all__ = ["PROJECT", "checkout_folder", "make_own_wheel", "repack_installed", "wheel_facts"]

PROJECT = "kaggle-notebook-utils"
"""The distribution's name."""
_PACKAGES = ("kaggle_utils", "submission_builder")
_SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_EPOCH = "315532800"  # 1980-01-01, the first day of a zip file
_LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def checkout_folder() -> Path | None:
    """Return the checkout that this package runs from, or None where it was installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if all((folder / name).exists() for name in (*_SOURCES[:2], *_PACKAGES)) else None


def make_own_wheel(folder: Path) -> Path:
    """Write our wheel into ``folder`` and return its path.

    Raises:
        RuntimeError: the checkout cannot be built (setuptools is missing, or what it said).
    """
    checkout = checkout_folder()
    return repack_installed(PROJECT, folder) if checkout is None else _build(checkout, folder)


def _build(checkout: Path, folder: Path) -> Path:
    try:
        metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        raise RuntimeError("the wheel of a checkout is built with setuptools: pip install 'setuptools>=70.1'") from None
    with tempfile.TemporaryDirectory(prefix="own-wheel-") as temporary:
        source = Path(temporary) / "source"
        source.mkdir()
        for name in _SOURCES:
            if (checkout / name).exists():
                shutil.copy(checkout / name, source / name)
        for name in _PACKAGES:
            shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        done = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index",
             "--disable-pip-version-check", "-w", str(folder), str(source)],
            capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
        )  # fmt: skip
    wheels = sorted(folder.glob(f"{PROJECT.replace('-', '_')}-*.whl"))
    if done.returncode or len(wheels) != 1:
        said = done.stderr[-2000:] or done.stdout[-2000:]
        raise RuntimeError(
            f"building the wheel of {checkout} failed; if it is for want of bdist_wheel, run "
            f"python -m pip install 'setuptools>=70.1'. pip said:\n{said}"
        )
    return wheels[0]


def repack_installed(name: str, folder: Path) -> Path:
    """Write the wheel that an installed distribution came from into ``folder`` and return its path.

    Scripts are left out (pip makes them anew from the entry points). Files outside site-packages are not known.

    Raises:
        RuntimeError: it is not installed, or not from a wheel (editable, or without a list of its files).
    """
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise RuntimeError(f"{name} is not installed here, so no wheel can be made of it") from None
    about = installed.read_text("WHEEL")
    files = [file for file in installed.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    if (
        not about
        or not any(file.suffix == ".py" for file in files)
        or any(file.name.startswith("__editable__") for file in files)
    ):
        raise RuntimeError(f"{name} {installed.version} was not installed from a wheel; build it from its checkout")
    tags = email.message_from_string(about).get_all("Tag")
    joined = "-".join(".".join(sorted(set(column))) for column in zip(*(tag.split("-") for tag in tags), strict=True))
    info = next(file.parts[0] for file in files if file.parts[0].endswith(".dist-info"))
    path = folder / f"{info.removesuffix('.dist-info')}-{joined}.whl"
    wanted = [f for f in files if not (f.parts[0] == info and len(f.parts) == 2 and f.name in _LEFT_OUT)]
    _write_wheel(path, info, {str(file): Path(str(file.locate())) for file in wanted})
    return path


def _write_wheel(path: Path, info: str, files: dict[str, Path]) -> None:
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            data = files[name].read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
            _add(archive, name, data)
        _add(archive, f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]).encode())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def wheel_facts(path: Path) -> email.message.Message:
    """Return the METADATA of a wheel: Name, Version, Requires-Dist, Provides-Extra."""
    with zipfile.ZipFile(path) as archive:
        inside = next(n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(inside))
