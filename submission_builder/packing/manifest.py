"""MANIFEST.json, the last member of the archive: what is in it, with a SHA-256 for every file.

Its length is known before anything is read (digests have a fixed length), so that the size of the archive is too. It
holds no time, host or local path. How the tar was compressed is not in it either: the same content packed with another
setting keeps the same tar digest. That digest cannot be inside the tar; what stands here is the digest of everything
before this member, and the whole tar's is in the build report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from submission_builder import __version__

__all__ = ["MANIFEST_NAME", "FileRecord", "manifest_bytes", "manifest_size"]

MANIFEST_NAME = "MANIFEST.json"
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class FileRecord:
    """One packed file as the manifest and the build report name it."""

    name: str
    size: int
    """Bytes, uncompressed."""
    sha256: str | None
    """Hex digest of the contents; None when hashing was off."""


def manifest_bytes(
    records: Sequence[FileRecord],
    *,
    settings: Mapping[str, object],
    tar_bytes: int,
    tar_sha256: str | None,
    length: int | None = None,
) -> bytes:
    """The manifest as UTF-8 JSON, filled with blanks up to ``length`` bytes.

    ``tar_bytes`` and ``tar_sha256`` describe the tar in front of the manifest's own header: check them with
    ``gzip -dc submission.tar.gz | head -c BYTES | sha256sum``.

    >>> data = manifest_bytes([FileRecord("main.py", 3, None)], settings={}, tar_bytes=1024, tar_sha256=None)
    >>> json.loads(data)["files"]
    [{'name': 'main.py', 'size': 3, 'sha256': None}]
    """
    content = {
        "format": 1,
        "builder": f"submission_builder {__version__}",
        "settings": dict(settings),
        "files": [{"name": r.name, "size": r.size, "sha256": r.sha256} for r in records],
        "tar_before_manifest": {"bytes": tar_bytes, "sha256": tar_sha256},
    }
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8").ljust(length or 0)


def manifest_size(names_and_sizes: Sequence[tuple[str, int]], *, settings: Mapping[str, object], tar_bytes: int) -> int:
    """Length of the manifest of these files, before any digest is known."""
    records = [FileRecord(name, size, _NO_DIGEST) for name, size in names_and_sizes]
    return len(manifest_bytes(records, settings=settings, tar_bytes=tar_bytes, tar_sha256=_NO_DIGEST))
