"""A private folder for files that can be made again, and writing a file so that nobody ever sees half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cache_folder", "write_atomically"]


def cache_folder() -> Path | None:
    """Return a folder of this user for files that can be made again, or None where none can be written.

    It is below KAGGLE_UTILS_SCRATCH_DIR where that is set, else below the system's folder for temporary files, which
    others can write to: a folder there that belongs to somebody else is not used.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    override = os.environ.get("KAGGLE_UTILS_SCRATCH_DIR")
    try:
        folder = Path(override or tempfile.gettempdir()) / f"kaggle-utils-q20-{user}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = not hasattr(os, "getuid") or (folder.stat().st_uid == user and not folder.is_symlink())
        return folder if mine and os.access(folder, os.W_OK | os.X_OK) else None
    except OSError:
        return None


def write_atomically(path: Path, pieces: Iterable[bytes | memoryview]) -> Path:
    """Write ``pieces`` one after the other to ``path``; until all are written, what stood there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
