"""Results of scoring runs in one SQLite file that survives kills.

It promises that what ``put_many`` was given is there afterwards whole or not at all, that runs with different
fingerprints never see each other's results, and that several processes may use one file. It does not know models or
tokens: a key is a digest and a variant, a value an array of float32. It also remembers what a run chose by measuring,
since a choice decides the arithmetic. A power cut (not a kill) may cost the newest transactions, never the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

__all__ = ["ResultStore", "StoreError"]

_logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL REFERENCES runs(id), variant TEXT NOT NULL, digest BLOB NOT NULL,
    value BLOB NOT NULL, finite INTEGER NOT NULL, PRIMARY KEY (run, variant, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS choices (
    run INTEGER NOT NULL REFERENCES runs(id), name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
"""
# A finite result is never replaced: the first stays, so that a file read twice reads the same. One that was damaged (of
# another length) is.
_PUT = """
INSERT INTO results (run, variant, digest, value, finite) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (run, variant, digest)
DO UPDATE SET value = excluded.value, finite = excluded.finite
WHERE results.finite = 0 OR length(results.value) <> length(excluded.value)
"""
_CHUNK = 500  # older SQLite allows 999 parameters a statement

_Key = tuple[bytes, str]


class StoreError(RuntimeError):
    """A result file that cannot be used."""


class ResultStore:
    """The results of one run (one fingerprint) in a file that may hold many runs.

    A store belongs to the thread that made it. Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        """Open or create the file at ``path``; its folder is created.

        Raises:
            ValueError: an empty fingerprint.
            StoreError: the file is there and is no result store, or cannot be written.
        """
        if not fingerprint:
            raise ValueError("a result store needs a fingerprint; make one with inference.fingerprint.run_fingerprint")
        self.path = Path(path)
        self.fingerprint = fingerprint
        with self._usable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._run = self._open_run()

    def get_many(self, keys: Iterable[_Key]) -> dict[_Key, np.ndarray]:
        """Return those of ``keys`` that are there: (digest, variant) -> float32 [labels], perhaps not finite.

        A value that is no array of float32 is left out, with a warning, as if it were not there.

        Raises:
            StoreError: the file is damaged.
        """
        found: dict[_Key, np.ndarray] = {}
        damaged = 0
        for variant, digests in _by_variant(keys).items():
            for part in _chunks(digests):
                for digest, value in self._select(variant, part):
                    if isinstance(value, bytes) and len(value) % 4 == 0:
                        found[bytes(digest), variant] = np.frombuffer(value, dtype="<f4").copy()
                    else:
                        damaged += 1
        if damaged:
            _logger.warning("%s: %d results are damaged and will be computed again", self.path, damaged)
        return found

    def missing(self, keys: Iterable[_Key]) -> list[_Key]:
        """Return those of ``keys`` that are not there, in their order."""
        keys = list(keys)
        found = self.get_many(keys)
        return [key for key in keys if key not in found]

    def put_many(self, results: Mapping[_Key, np.ndarray]) -> None:
        """Write all of ``results`` in one transaction; a result that is there stays, unless it was not finite."""
        if not results:
            return
        rows = [
            (self._run, variant, digest, _bytes(value), int(np.isfinite(value).all()))
            for (digest, variant), value in results.items()
        ]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_PUT, rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def choice(self, name: str) -> str | None:
        """Return what this run chose under ``name``; None where it has not chosen.

        Raises:
            StoreError: the file is damaged.
        """
        with self._usable():
            row = self._connection.execute(
                "SELECT value FROM choices WHERE run = ? AND name = ?", (self._run, name)
            ).fetchone()
        return row[0] if row else None

    def choose(self, name: str, value: str) -> str:
        """Remember a choice unless there is one already; return the one that holds."""
        self._connection.execute(
            "INSERT OR IGNORE INTO choices (run, name, value) VALUES (?, ?, ?)", (self._run, name, value)
        )
        held = self.choice(name)
        return value if held is None else held

    def __len__(self) -> int:
        """Results of this run."""
        with self._usable():
            return self._connection.execute("SELECT COUNT(*) FROM results WHERE run = ?", (self._run,)).fetchone()[0]

    def fingerprints(self) -> list[str]:
        """Fingerprints of all runs in the file, oldest first."""
        with self._usable():
            return [row[0] for row in self._connection.execute("SELECT fingerprint FROM runs ORDER BY id")]

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._connection.close()

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, variant: str, digests: list[bytes]) -> list[tuple[bytes, bytes]]:
        marks = ",".join("?" * len(digests))
        with self._usable():
            return self._connection.execute(
                f"SELECT digest, value FROM results WHERE run = ? AND variant = ? AND digest IN ({marks})",
                (self._run, variant, *digests),
            ).fetchall()

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Say what to do about a file that SQLite cannot use."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path} cannot be used as a result store: {type(error).__name__}: {error}; it should be a SQLite "
                "file written by ResultStore, in a folder that can be written to: delete it or choose another path"
            ) from error

    def _open_run(self) -> int:
        # WAL lets readers go on while one writes; some network drives refuse it, and then the old journal stays.
        mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            _logger.warning("%s: no write-ahead log on this drive (journal mode %s)", self.path, mode)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(
            "INSERT OR IGNORE INTO runs (fingerprint, created) VALUES (?, ?)", (self.fingerprint, time.time())
        )
        return self._connection.execute("SELECT id FROM runs WHERE fingerprint = ?", (self.fingerprint,)).fetchone()[0]


def _bytes(value: np.ndarray) -> bytes:
    return np.ascontiguousarray(value, dtype="<f4").tobytes()


def _by_variant(keys: Iterable[_Key]) -> dict[str, list[bytes]]:
    grouped: dict[str, list[bytes]] = {}
    for digest, variant in keys:
        grouped.setdefault(variant, []).append(digest)
    return grouped


def _chunks(items: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
