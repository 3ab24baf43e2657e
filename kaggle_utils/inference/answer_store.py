"""Answers of runs in one SQLite file that survives kills.

It promises that an answer given to ``put`` is there afterwards whole, once, and that runs with different fingerprints
never see each other's. It does not know what a prompt is: a task is known by its id and a digest of what decides it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from kaggle_utils.inference.decoding_row import Generated

__all__ = ["AnswerStore", "AnswerStoreError"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    run TEXT NOT NULL, task TEXT NOT NULL, digest TEXT NOT NULL, text TEXT NOT NULL, prompt_tokens INTEGER,
    output_tokens INTEGER, seconds REAL, finish TEXT, created REAL NOT NULL, PRIMARY KEY (run, task, digest)
) WITHOUT ROWID;
"""


class AnswerStoreError(RuntimeError):
    """An answer file that cannot be used."""


class AnswerStore:
    """The answers of one run (one fingerprint) in a file that may hold many; use it in one thread, as a context."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        """Open or create the file; its folder is made.

        Raises:
            AnswerStoreError: the file is no answer store, or cannot be written.
        """
        self.path, self.fingerprint = Path(path), fingerprint
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise AnswerStoreError(
                f"{self.path} cannot be used as an answer store: {type(error).__name__}: {error}; delete it or choose "
                "another path in a folder that can be written to"
            ) from error

    def get(self, tasks: Sequence[tuple[str | int, str]]) -> dict[int, Generated]:
        """Return what is there of ``tasks``, pairs of id and digest, by their place."""
        query = (
            "SELECT text, prompt_tokens, output_tokens, seconds, finish FROM answers "
            "WHERE run = ? AND task = ? AND digest = ?"
        )
        found = {}
        for place, (task, digest) in enumerate(tasks):
            row = self._connection.execute(query, (self.fingerprint, _name(task), digest)).fetchone()
            if row is not None:
                found[place] = Generated(*row)
        return found

    def put(self, task: str | int, digest: str, answer: Generated) -> None:
        """Keep an answer; the first one stays."""
        self._connection.execute(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.fingerprint, _name(task), digest, answer.text.encode("utf-8", "replace").decode(),
                answer.prompt_tokens, answer.output_tokens, answer.seconds, answer.finish_reason, time.time(),
            ),
        )  # fmt: skip

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._connection.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _name(task: str | int) -> str:
    """1 and "1" are two tasks."""
    return json.dumps(task)
