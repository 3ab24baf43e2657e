"""P(yes) of single cells as language models gave them, in one SQLite file that survives kills.

It promises that what ``put`` was given is there afterwards, whole or not at all, and that cells are found again by the
words and texts themselves: a table that has grown or was reordered keeps what was computed. It knows no models; a
source is a name. A power cut (not a kill) may cost the newest cells, never the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["CellJournal"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS questions (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS cells (source TEXT NOT NULL, word TEXT NOT NULL, questions BLOB NOT NULL, p BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS cells_by_word ON cells (source, word);
"""
_VERSION = 1


class CellJournal:
    """A file of cells; a context manager. One process writes at a time, others may read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or create the file; ValueError where it is something else."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=60)
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version != _VERSION and tables:
                raise ValueError(f"version {version}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.DatabaseError, ValueError) as error:
            self._db.close()
            raise ValueError(
                f"{self.path} is no journal of cells that this code reads ({error}); delete it or choose another path"
            ) from error
        self._ids: dict[str, int] = {}
        self._refresh()

    def __enter__(self) -> CellJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is in it."""
        self._db.close()

    def put(self, source: str, cells: Iterable[tuple[str, Sequence[str], np.ndarray]]) -> None:
        """Add (word, question texts, P(yes) [n]) in one transaction; of a cell given twice the later value counts.

        Raises:
            ValueError: a value is no probability, or the lengths differ; then nothing is added.
        """
        try:
            with self._db:
                self._put(source, cells)
        except BaseException:
            self._refresh(forget=True)  # questions numbered in a transaction that was rolled back
            raise

    def _put(self, source: str, cells: Iterable[tuple[str, Sequence[str], np.ndarray]]) -> None:
        rows = []
        for word, texts, values in cells:
            p = np.asarray(values, dtype="<f4")
            if p.shape != (len(texts),) or not (np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()):
                raise ValueError(
                    f"{source!r} gave {p.shape} values for {len(texts)} questions about {word!r}, from "
                    f"{p.min(initial=1)} to {p.max(initial=0)}; expected one probability for each"
                )
            ids = np.array([self._id(text) for text in texts], dtype="<i4")
            rows.append((source, word, ids.tobytes(), p.tobytes()))
        self._db.executemany("INSERT INTO cells VALUES (?, ?, ?, ?)", rows)

    def read(self, source: str, words: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """Return P(yes), float32 [words, texts], NaN where nothing is stored; cost O(stored cells of these words)."""
        self._refresh()
        out = np.full((len(words), len(texts)), np.nan, dtype=np.float32)
        column = np.full(max(self._ids.values(), default=0) + 1, -1, dtype=np.int64)
        for place, text in enumerate(texts):
            if text in self._ids:
                column[self._ids[text]] = place
        found = self._db.cursor()
        for row, word in enumerate(words):
            for ids, p in found.execute(
                "SELECT questions, p FROM cells WHERE source = ? AND word = ? ORDER BY rowid", (source, word)
            ):
                places = column[np.frombuffer(ids, dtype="<i4")]
                out[row, places[places >= 0]] = np.frombuffer(p, dtype="<f4")[places >= 0]
        return out

    def sources(self) -> dict[str, int]:
        """Return the number of stored cells of each source."""
        rows = self._db.execute("SELECT source, sum(length(p)) / 4 FROM cells GROUP BY source ORDER BY source")
        return {source: int(count) for source, count in rows}

    def _refresh(self, *, forget: bool = False) -> None:
        """Read the numbers of the questions again where another process has added some, or always to ``forget``."""
        (count,) = self._db.execute("SELECT count(*) FROM questions").fetchone()
        if forget or count != len(self._ids):
            self._ids = dict(self._db.execute("SELECT text, id FROM questions"))

    def _id(self, text: str) -> int:
        """The number of a question; new ones are written within the transaction of the caller."""
        if text not in self._ids:
            self._db.execute("INSERT OR IGNORE INTO questions (text) VALUES (?)", (text,))  # another process may have
            (self._ids[text],) = self._db.execute("SELECT id FROM questions WHERE text = ?", (text,)).fetchone()
        return self._ids[text]
