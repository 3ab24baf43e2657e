"""Dense retrieval: one vector a text, cosine similarity, exact.

It promises the exact best texts (no approximate index) and equal scores for equal texts. It does not know languages:
how good the hits are is the encoder's affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kaggle_utils._optional import require

from .encoder_folder import Dtype, checked_folder, folder_digest, load_options
from .retriever import Hit, best_hits, checked_texts, distinct_texts
from .vectors import gathered_vectors, stored_vectors, vectors_key

__all__ = ["DenseEncoder", "DenseRetriever"]

_CHUNK = 4096  # texts that are sorted by length together


class DenseEncoder:
    """Texts to unit vectors, with a sentence-transformers folder or a plain Hugging Face encoder.

    ``query_prefix`` and ``passage_prefix`` are put in front of every text; E5 models want "query: " and "passage: ",
    and find far less without them. None takes the prompts that the folder itself names, if any. ``pooling`` ("mean",
    "cls" or "lasttoken") is for plain folders, which do not say it; None means the mean. ``max_tokens`` cuts longer
    texts; None takes the folder's limit. ``dtype`` "auto" is float16 on a GPU and float32 on a CPU; bfloat16 halves the
    time on CPUs that have it (AMX, AVX512-BF16). Encoding costs one pass of the model over the tokens; texts are
    batched by length, so that little is padding.

    Raises:
        FileNotFoundError: ``folder`` is no folder of a model. Nothing is downloaded.
        ValueError: ``pooling`` for a folder that says its own.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        pooling: Literal["mean", "cls", "lasttoken"] | None = None,
        max_tokens: int | None = None,
        batch_size: int = 32,
        device: str | None = None,
        dtype: Dtype = "auto",
    ) -> None:
        self.folder, self.batch_size = checked_folder(folder), batch_size
        if pooling and (self.folder / "modules.json").is_file():
            raise ValueError(f"pooling is {pooling!r}, but {self.folder}/modules.json says how to pool; leave it out")
        self._options = load_options(device, dtype)
        self._settings = {"query": query_prefix, "document": passage_prefix, "pooling": pooling, "max": max_tokens}
        given = {
            name: text for name, text in (("query", query_prefix), ("document", passage_prefix)) if text is not None
        }
        self._model = self._load(given, pooling)
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the vectors, the folder's content included; reads the whole folder."""
        dtype = str(self._options["model_kwargs"]["dtype"])
        return {**self._settings, "folder": folder_digest(self.folder), "dtype": dtype}

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, d), float32, in the order of ``queries``."""
        return self._unit(self._model.encode_query, list(queries))

    def encode_passages(self, passages: Sequence[str]) -> np.ndarray:
        """Return unit vectors (n, d), float32, in the order of ``passages``."""
        return self._unit(self._model.encode_document, list(passages))

    def _load(self, prompts: dict[str, str], pooling: str | None) -> Any:
        library = require("sentence_transformers", extra="retrieval")
        options = {**self._options, "prompts": prompts or None}
        if pooling is None:
            return library.SentenceTransformer(str(self.folder), **options)
        modules = require("sentence_transformers.sentence_transformer.modules", extra="retrieval")
        safe = {"local_files_only": True, "trust_remote_code": False}
        kinds = {
            "model_kwargs": {**options.pop("model_kwargs"), **safe},
            "processor_kwargs": safe,
            "config_kwargs": safe,
        }
        body = modules.Transformer(str(self.folder), **kinds)
        head = modules.Pooling(body.get_embedding_dimension(), pooling)
        return library.SentenceTransformer(modules=[body, head], **options)

    def _unit(self, encode: Any, texts: list[str]) -> np.ndarray:
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # tokenizers take no surrogates
        found = np.asarray(encode(clean, batch_size=self.batch_size, show_progress_bar=False), dtype=np.float32)
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self.folder} gave vectors that are not finite in {self._options['model_kwargs']['dtype']}; "
                "take device='cpu', where it runs in float32"
            )
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


class DenseRetriever:
    """The texts whose vectors point most nearly where the query's does.

    Building encodes each different text once. With ``cache`` (a folder) the vectors are written there, keyed by the
    encoder's files and settings and the texts, and memory-mapped: a second run encodes nothing. Vectors take 4 d bytes
    a text. A query costs O(texts x d), one matrix product; queries go together in blocks whose scores take at most
    ``block_bytes``.

    Raises:
        ValueError: no texts.
        TypeError: things among the texts that are no str.
    """

    def __init__(
        self,
        texts: Sequence[str],
        encoder: DenseEncoder,
        *,
        cache: str | Path | None = None,
        block_bytes: int = 1 << 26,
    ) -> None:
        distinct, self._which = distinct_texts(checked_texts(texts, what="texts"))
        if not distinct:
            raise ValueError("there are no texts to search; give at least one")
        self.encoder, self.size, self._block_bytes = encoder, len(self._which), block_bytes
        parts = _encoded(encoder, distinct)
        if cache is None:
            self._vectors = gathered_vectors(parts, rows=len(distinct))
        else:
            path = Path(cache) / f"{vectors_key(distinct, encoder.settings)}.npy"
            self._vectors = stored_vectors(path, parts, rows=len(distinct))

    def search(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """Return the ``k`` texts with the largest cosine for each query, equal ones by index; every text is a hit."""
        found = checked_texts(queries, what="queries")
        if not found:
            return []
        asked, rows = self.encoder.encode_queries(found), max(1, self._block_bytes // (4 * len(self._vectors)))
        return [
            best_hits(scores[self._which], k=k)
            for start in range(0, len(asked), rows)
            for scores in asked[start : start + rows] @ self._vectors.T
        ]


def _encoded(encoder: DenseEncoder, texts: list[str]) -> Iterator[np.ndarray]:
    tqdm = require("tqdm.auto", extra="retrieval").tqdm
    with tqdm(total=len(texts), desc="encoding texts", unit="text", disable=len(texts) <= _CHUNK) as bar:
        for start in range(0, len(texts), _CHUNK):
            part = texts[start : start + _CHUNK]
            yield encoder.encode_passages(part)
            bar.update(len(part))
