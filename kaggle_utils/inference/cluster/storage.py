"""Folders on a disk or in an object store, as runs over many machines use them.

It promises that a file is there whole or not at all: on a disk it is renamed into its place, in an object store a put
is atomic. A folder travels to other processes as its address; each opens it for itself with its own credentials. It
does not know what is in the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from kaggle_utils._optional import require

__all__ = ["TEMPORARY", "Folder", "folder_and_name"]

TEMPORARY = "_tmp-"
"""How names of files begin that are being written; readers of data sets pass over names with an underscore."""

_PUT_IS_ATOMIC = ("s3", "gcs", "abfs")


class Folder:
    """A folder; local paths are made absolute, so that all machines that share the disk mean the same one."""

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Name the folder; nothing is opened or created yet.

        Args:
            where: a local path, or an address that ``pyarrow.fs.FileSystem.from_uri`` takes: ``s3://bucket/folder``,
                ``gs://bucket/folder``, ``file:///folder``; options such as ``?region=eu-west-1`` stay at its end.
        """
        text = os.fspath(where)
        self.address = text if "://" in text else str(Path(text).expanduser().absolute())

    def __repr__(self) -> str:
        return f"Folder({str(self)!r})"

    def __str__(self) -> str:
        """For messages: without a name and password that the address may hold."""
        return re.sub(r"://[^/@]*@", "://", self.address)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address}

    def under(self, name: str) -> Folder:
        """Return the folder ``name`` in it."""
        base, mark, options = self.address.partition("?")
        return Folder(f"{base.rstrip('/')}/{name}{mark}{options}")

    def path(self, name: str = "") -> str:
        """Where a file lies, for messages."""
        return f"{str(self).partition('?')[0].rstrip('/')}/{name}" if name else str(self)

    def open(self, name: str) -> Any:
        """Open a file for reading at any place: pyarrow's ``NativeFile``."""
        filesystem, base = self._place
        return filesystem.open_input_file(f"{base}/{name}")

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where it is not there."""
        try:
            with self.open(name) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: Any) -> None:
        """Write a file whole, in the place of one that is there; ``content`` is bytes or a buffer."""
        filesystem, base = self._place
        filesystem.create_dir(base, recursive=True)
        direct = filesystem.type_name in _PUT_IS_ATOMIC
        target = f"{base}/{name}" if direct else f"{base}/{TEMPORARY}{uuid.uuid4().hex}"
        with filesystem.open_output_stream(target) as stream:
            stream.write(content)
        if not direct:
            filesystem.move(target, f"{base}/{name}")

    def sizes(self, *, recursive: bool = False) -> dict[str, int]:
        """Return the files in the folder with their bytes, by name, sorted; {} where there is no folder."""
        filesystem, base = self._place
        fs = require("pyarrow.fs", extra="cluster")
        chosen = fs.FileSelector(base, allow_not_found=True, recursive=recursive)
        try:
            found = filesystem.get_file_info(chosen)
        except FileNotFoundError:  # another worker made the folder between arrow's two looks for it
            found = filesystem.get_file_info(chosen)
        files = [info for info in found if info.type == fs.FileType.File]
        return dict(sorted((info.path[len(base) :].lstrip("/"), info.size) for info in files))

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone already do not matter."""
        filesystem, base = self._place
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                filesystem.delete_file(f"{base}/{name}")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        fs = require("pyarrow.fs", extra="cluster")
        if "://" in self.address:
            filesystem, path = fs.FileSystem.from_uri(self.address)
            return filesystem, path.rstrip("/")
        return fs.LocalFileSystem(), self.address


def folder_and_name(where: str | os.PathLike[str]) -> tuple[Folder, str | None]:
    """Return the folder of a file and its name, or a folder and None.

    >>> folder_and_name("s3://bucket/rows/")
    (Folder('s3://bucket/rows/'), None)
    >>> folder_and_name("s3://bucket/rows/a.parquet?region=eu-west-1")
    (Folder('s3://bucket/rows?region=eu-west-1'), 'a.parquet')
    """
    place = Folder(where)
    base, mark, options = place.address.partition("?")
    if not base.endswith(".parquet"):
        return place, None
    if "://" not in base and Path(base).is_dir():  # Spark writes folders of such names
        return place, None
    parent, _, name = base.rpartition("/")
    return Folder(f"{parent}{mark}{options}"), name
