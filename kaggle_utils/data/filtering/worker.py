"""What a worker process does: read a setup, then chunks, from standard input; answer each on standard output.

It ends when its input does, so it never outlives the process that started it by more than a chunk.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import numpy as np

from .chunk_job import ChunkJob
from .reader import Chunk
from .settings import FilterSettings
from .work_folder import WorkFolder

__all__ = ["TABLE", "serve"]

TABLE = "table.npy"
"""File of the work folder with the flags of all characters, which take longer to make than to read."""


def serve() -> None:
    """Answer until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    setup = json.loads(sys.stdin.readline())
    folder = WorkFolder(Path(setup["folder"]))
    table = np.load(folder.path / TABLE, allow_pickle=False)
    job = ChunkJob(folder, FilterSettings.from_dict(setup["settings"]), setup["fields"], table)
    for line in sys.stdin:
        error = ""
        try:
            job(Chunk(**json.loads(line)))
        except Exception:
            error = traceback.format_exc()
        replies.write(json.dumps({"error": error}) + "\n")
        replies.flush()
