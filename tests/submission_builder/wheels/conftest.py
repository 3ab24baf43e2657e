"""Tiny wheels and source distributions in a folder: the index of these tests."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path

import pytest


class TinyIndex:
    """A folder for pip's ``--find-links``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def wheel(self, name: str, version: str, *, requires=(), tag: str = "py3-none-any") -> Path:
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
        metadata += "".join(f"Provides-Extra: {extra}\n" for extra in re.findall('extra == "(\\w+)"', str(requires)))
        files = {
            f"{name}/__init__.py": f"version = {version!r}\n",
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        }
        digests = {n: base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b"=").decode()
                   for n, t in files.items()}  # fmt: skip
        record = "".join(f"{n},sha256={d},{len(files[n])}\n" for n, d in digests.items()) + f"{info}/RECORD,,\n"
        path = self.folder / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(file, text)
        return path

    def source(self, name: str, version: str) -> Path:
        """A source distribution whose set-up would be noticed, were it ever run."""
        import io
        import tarfile

        path = self.folder / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for file, text in (("setup.py", "raise SystemExit('was run')"), ("PKG-INFO", f"Name: {name}\n")):
                entry = tarfile.TarInfo(f"{name}-{version}/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        return path


@pytest.fixture
def index(tmp_path) -> TinyIndex:
    return TinyIndex(tmp_path / "index")
