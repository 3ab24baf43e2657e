"""Late interaction: one vector a token, each token of the query meets the nearest one of the text (MaxSim).

It promises the exact sums, in blocks of bounded memory. It does not train: a checkpoint without its trained projection
is refused, since it would rank at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require

from .encoder_folder import Dtype, checked_folder, load_options, read_config
from .retriever import Hit, best_hits, checked_texts, distinct_texts

__all__ = ["LateEncoder", "LateRetriever", "max_similarities"]

_CHUNK = 1024  # texts that are sorted by length together


class LateEncoder:
    """Texts to one unit vector a token, with a ColBERT checkpoint that sentence-transformers' MultiVectorEncoder reads.

    These are Stanford's (JaColBERTv2 is one), PyLate's and its own. ``dtype`` "auto" is float16 on a GPU, float32 on
    a CPU.

    Raises:
        FileNotFoundError: ``folder`` is no folder of a model. Nothing is downloaded.
        ValueError: the folder is another kind of encoder, whose projection would be made up at random.
        ImportError: sentence-transformers is older than 6.0.
    """

    def __init__(
        self, folder: str | Path, *, batch_size: int = 32, device: str | None = None, dtype: Dtype = "auto"
    ) -> None:
        self.folder, self.batch_size = checked_folder(folder), batch_size
        if not _is_trained(self.folder):
            raise ValueError(
                f"{self.folder} is no late-interaction checkpoint: expected architectures ['HF_ColBERT'] in "
                "config.json (Stanford), or model_type 'ColBERT' or 'MultiVectorEncoder' in "
                "config_sentence_transformers.json. Take it as a DenseEncoder, or choose a ColBERT model"
            )
        library = require("sentence_transformers", extra="retrieval")
        if not hasattr(library, "MultiVectorEncoder"):  # Kaggle's image of 2026 has 5.4
            raise ImportError(
                f"sentence-transformers {library.__version__} has no MultiVectorEncoder, late interaction needs 6.0 or "
                "newer: make the wheels with --replace sentence-transformers, or take a DenseEncoder or BM25"
            )
        self._model = library.MultiVectorEncoder(str(self.folder), **load_options(device, dtype))

    def encode_queries(self, queries: Sequence[str]) -> list[np.ndarray]:
        """Return an array (tokens, d) of float32 for each query."""
        return self._tokens(self._model.encode_query, queries)

    def encode_passages(self, passages: Sequence[str]) -> list[np.ndarray]:
        """Return an array (tokens, d) of float32 for each passage; one of punctuation alone may have no token."""
        return self._tokens(self._model.encode_document, passages)

    def _tokens(self, encode: Any, texts: Sequence[str]) -> list[np.ndarray]:
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # tokenizers take no surrogates
        found = encode(clean, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True)
        return [np.asarray(array, dtype=np.float32) for array in found]


class LateRetriever:
    """The texts with the largest MaxSim to the query.

    Building encodes each different text once and keeps 2 d bytes a token (float16, which moves a cosine by less than
    0.001). A query costs O(its tokens x all tokens x d); memory beside the vectors stays near ``block_bytes``.
    Source: Khattab and Zaharia 2020, "ColBERT".

    Raises:
        ValueError: no texts.
        TypeError: things among the texts that are no str.
    """

    def __init__(self, texts: Sequence[str], encoder: LateEncoder, *, block_bytes: int = 1 << 26) -> None:
        distinct, self._which = distinct_texts(checked_texts(texts, what="texts"))
        if not distinct:
            raise ValueError("there are no texts to search; give at least one")
        self.encoder, self.size, self._block_bytes = encoder, len(self._which), block_bytes
        parts = list(_encoded(encoder, distinct))
        self._lengths = np.array([len(part) for part in parts], dtype=np.int64)
        self._vectors = np.concatenate([part.astype(np.float16) for part in parts])

    def search(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Return the ``k`` texts with the largest MaxSim for each query, equal ones by index.

        Texts without any token are no hits.
        """
        found = checked_texts(queries, what="queries")
        return [self._hits(tokens, k) for tokens in self.encoder.encode_queries(found)] if found else []

    def _hits(self, query: np.ndarray, k: int) -> list[Hit]:
        scores = max_similarities(query, self._vectors, self._lengths, block_bytes=self._block_bytes)
        return best_hits(scores[self._which], k=k)


def max_similarities(
    query: np.ndarray, vectors: np.ndarray, lengths: np.ndarray, *, block_bytes: int = 1 << 26
) -> np.ndarray:
    """Return, for each text, the sum over the query's tokens of the largest product with a token of the text (n,).

    ``query`` is (q, d), ``vectors`` (tokens of all texts one after the other, d), ``lengths`` (n,) how many each text
    has; a text without tokens gets minus infinity. Costs O(q x tokens x d), and about ``block_bytes`` of memory, or
    what one text needs where that is more.

    >>> texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.75]], dtype=np.float32)
    >>> max_similarities(np.eye(2, dtype=np.float32), texts, np.array([2, 0, 1])).tolist()
    [2.0, -inf, 1.25]
    """
    scores = np.full(len(lengths), -np.inf, dtype=np.float32)
    filled = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[filled])
    room = max(1, block_bytes // (4 * (len(query) + vectors.shape[1])))  # tokens of a block, as float32, with products
    first = 0
    while first < len(filled):
        begin = int(ends[first] - lengths[filled[first]])
        last = max(first + 1, int(np.searchsorted(ends, begin + room, side="right")))
        products = vectors[begin : ends[last - 1]].astype(np.float32) @ query.T.astype(np.float32)
        starts = np.concatenate([[begin], ends[first : last - 1]]) - begin
        scores[filled[first:last]] = np.maximum.reduceat(products, starts, axis=0).sum(axis=1)
        first = last
    return scores


def _encoded(encoder: LateEncoder, texts: list[str]) -> Iterator[np.ndarray]:
    tqdm = require("tqdm.auto", extra="retrieval").tqdm
    with tqdm(total=len(texts), desc="encoding texts", unit="text", disable=len(texts) <= _CHUNK) as bar:
        for start in range(0, len(texts), _CHUNK):
            part = texts[start : start + _CHUNK]
            yield from encoder.encode_passages(part)
            bar.update(len(part))


def _is_trained(folder: Path) -> bool:
    kind = read_config(folder, "config_sentence_transformers.json")
    if kind.get("model_type") in ("MultiVectorEncoder", "ColBERT") or "query_prefix" in kind:  # early PyLate: no type
        return True
    return "HF_ColBERT" in (read_config(folder, "config.json").get("architectures") or [])
