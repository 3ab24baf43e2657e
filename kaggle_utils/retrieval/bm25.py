"""BM25 over character bigrams, which needs no word list and no dictionary and suits Japanese.

It promises the same hits on every run, also when two texts score the same, and files without pickle. It does not know
meanings: a query finds only texts that share a bigram with it.
"""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kaggle_utils._optional import require

from .retriever import Hit, best_hits, checked_texts

__all__ = ["Analysis", "Bm25Retriever", "character_bigrams", "whitespace_words"]

Analysis = Literal["bigrams", "words"]

_FORMAT = 1
_ARRAYS = ("data", "indices", "indptr")


def character_bigrams(text: str) -> list[str]:
    """Return the overlapping pairs of characters of ``text`` after NFKC and lower-casing.

    White space ends a run and is part of none; a run of one character is kept as it is. Half of a surrogate pair
    becomes "?". Costs O(characters).

    >>> character_bigrams("伊勢神宮 Ｓ")
    ['伊勢', '勢神', '神宮', 's']
    """
    runs = _normalised(text).split()
    return [run[i : i + 2] for run in runs for i in range(max(len(run) - 1, 1))]


def whitespace_words(text: str) -> list[str]:
    """Return what stands between white space, after NFKC and lower-casing: whole sentences of Japanese.

    >>> whitespace_words("Is it a CAT")
    ['is', 'it', 'a', 'cat']
    """
    return _normalised(text).split()


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower().encode("utf-8", "replace").decode("utf-8")


_ANALYSES: Mapping[str, Callable[[str], list[str]]] = {"bigrams": character_bigrams, "words": whitespace_words}


class Bm25Retriever:
    """BM25 (Lucene's variant, in bm25s) over ``texts``.

    Building costs time and memory in proportion to the characters of all texts (about 8 bytes for each different
    bigram of each text). A query costs O(texts + postings of its bigrams).
    Source: Robertson and Zaragoza 2009; Lù 2024, "BM25S".

    Raises:
        ValueError: no texts, an unknown ``analysis``, or ``k1`` or ``b`` out of range.
        TypeError: things among the texts that are no str.
    """

    def __init__(
        self, texts: Sequence[str], *, analysis: Analysis = "bigrams", k1: float = 1.5, b: float = 0.75
    ) -> None:
        found = checked_texts(texts, what="texts")
        _check(found, analysis, k1, b)
        self.analysis, self.k1, self.b, self.size = analysis, float(k1), float(b), len(found)
        self._vocabulary: dict[str, int] = {}
        ids = [[self._number(token) for token in _ANALYSES[analysis](text)] for text in found]
        self._index = self._new_index()
        if self._vocabulary:  # else no text holds anything, and no query finds anything
            self._index.index((ids, self._vocabulary), create_empty_token=False, show_progress=False)

    def search(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Return at most ``k`` hits per query, best first, equal scores by index.

        Only texts that share a bigram with the query are hits: an empty query, or one of unknown characters, gets an
        empty list. Scores are above 0.
        """
        return [self._hits(query, k) for query in checked_texts(queries, what="queries")]

    def save(self, path: str | Path) -> Path:
        """Write the index (not the texts) to one .npz file, atomically. Returns the path."""
        target = Path(path)
        settings = {"format": _FORMAT, "analysis": self.analysis, "k1": self.k1, "b": self.b, "size": self.size}
        scores = self._index.scores if self._vocabulary else dict.fromkeys(_ARRAYS, np.zeros(0, dtype=np.int32))
        arrays = {name: np.asarray(scores[name]) for name in _ARRAYS}
        arrays["vocabulary"] = _as_bytes(list(self._vocabulary))
        arrays["settings"] = _as_bytes(settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def load(cls, path: str | Path) -> Bm25Retriever:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            ValueError: the file is no such index, or one of another format.
        """
        arrays = _read(Path(path))
        settings = json.loads(arrays["settings"].tobytes())
        if settings.get("format") != _FORMAT:
            raise ValueError(f"{path} has format {settings.get('format')!r}, expected {_FORMAT}; build it again")
        made = cls.__new__(cls)
        made.analysis, made.size = settings["analysis"], int(settings["size"])
        made.k1, made.b = float(settings["k1"]), float(settings["b"])
        made._vocabulary = {token: i for i, token in enumerate(json.loads(arrays["vocabulary"].tobytes()))}
        made._index = made._new_index()
        made._index.scores = {**{name: arrays[name] for name in _ARRAYS}, "num_docs": made.size}
        made._index.nonoccurrence_array = None  # Lucene's variant has none
        return made

    def _number(self, token: str) -> int:
        return self._vocabulary.setdefault(token, len(self._vocabulary))

    def _new_index(self) -> Any:
        bm25s = require("bm25s", extra="retrieval")
        return bm25s.BM25(k1=self.k1, b=self.b, method="lucene", backend="numpy", csc_backend="numpy")

    def _hits(self, query: str, k: int) -> list[Hit]:
        tokens = _ANALYSES[self.analysis](query)
        known = [self._vocabulary[token] for token in tokens if token in self._vocabulary]
        # bm25s's own choice breaks ties differently for each k, so only its scores are taken
        scores = self._index.get_scores_from_ids(known) if known else np.zeros(0, dtype=np.float32)
        return best_hits(scores, k=k, above=0.0)


def _check(texts: Sequence[str], analysis: str, k1: float, b: float) -> None:
    problems = []
    if not texts:
        problems.append("there are no texts; give at least one")
    if analysis not in _ANALYSES:
        problems.append(f"analysis is {analysis!r}, expected one of {', '.join(_ANALYSES)}")
    if not k1 >= 0:
        problems.append(f"k1 is {k1!r}, expected 0 or more")
    if not 0 <= b <= 1:
        problems.append(f"b is {b!r}, expected 0 to 1")
    if problems:
        raise ValueError("this BM25 index cannot be built:\n" + "\n".join(f"  - {p}" for p in problems))


def _as_bytes(content: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(content).encode("ascii"), dtype=np.uint8)


def _read(path: Path) -> dict[str, np.ndarray]:
    wanted = {*_ARRAYS, "vocabulary", "settings"}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, AttributeError) as error:  # not an .npz, or one with objects
        raise ValueError(f"{path} is no saved BM25 index ({error}); write one with Bm25Retriever.save") from error
    if missing := sorted(wanted - set(arrays)):
        raise ValueError(f"{path} is no saved BM25 index: it lacks {', '.join(missing)}; it has {', '.join(arrays)}")
    return arrays
