"""The model that a caller asked for: found, or fetched from the hub, and checked to be that one.

It promises an error instead of a substitute (another maker's 4-bit copy under the asked name above all), and a record
of what was asked for and loaded. What counts as a sign of substitution is the matter of ``provenance.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaggle_utils.models.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from kaggle_utils.models.download import download_model
from kaggle_utils.models.provenance import PROVENANCE, describe_folder, is_hub_id, substitution_problems

__all__ = ["open_asked", "write_provenance"]


def open_asked(
    source: str, *, revision: str | None = None, expect: str | None = None, accept: Sequence[str] = ()
) -> Checkpoint:
    """Return the folder of the plain model that was asked for; a hub id is fetched, unless it is a folder here.

    Args:
        source: a folder, or a hub id.
        revision: of a hub id.
        expect: the hub id that a folder should be a copy of.
        accept: further names that the model's config may bear.

    Raises:
        ValueError: a revision for a folder.
        CheckpointError: it is another model, or quantised already: all signs at once.
    """
    if is_hub_id(source) and not Path(source).expanduser().is_dir():
        checkpoint = open_checkpoint(download_model(source, revision=revision))
    elif revision is not None:
        raise ValueError(f"revision={revision!r} is for hub ids, and {source} is a folder; leave it out")
    else:
        checkpoint = open_checkpoint(source)
    asked = expect or source
    problems = substitution_problems(
        asked, checkpoint.folder, checkpoint.config, checkpoint.weight_files, accepted=accept
    )
    if problems:
        raise CheckpointError(checkpoint.folder, [f"it is not the plain model asked for ({asked})", *problems])
    return checkpoint


def write_provenance(folder: Path, asked: Mapping[str, Any], loaded: Checkpoint) -> None:
    """Record what was asked for, what was loaded and what ``folder`` holds now: call it when all else lies there."""
    saved = open_checkpoint(folder)
    download = loaded.folder / ".download.json"
    record = {
        "asked": dict(asked),
        "loaded": {
            "folder": str(loaded.folder.resolve()),
            "name": loaded.config.get("_name_or_path"),
            "download": json.loads(download.read_text(encoding="utf-8")) if download.is_file() else None,
            **describe_folder(loaded.folder, loaded.config, loaded.weight_files),
        },
        "saved": describe_folder(saved.folder, saved.config, saved.weight_files),
    }
    (folder / PROVENANCE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
