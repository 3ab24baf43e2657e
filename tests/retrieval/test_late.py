"""Late interaction gives the library's own MaxSim, in blocks of any size, and refuses untrained folders."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from tiny_encoders import TEXTS, write_tiny_bert, write_tiny_colbert

from kaggle_utils.retrieval.late import LateEncoder, LateRetriever, max_similarities

pytestmark = pytest.mark.skipif(not find_spec("sentence_transformers"), reason="the retrieval extra is not installed")

QUERIES = ["水に沈む鉛筆", "a pencil", "?"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return LateEncoder(write_tiny_colbert(tmp_path_factory.mktemp("encoders") / "tiny-colbert"), batch_size=2)


def test_the_checkpoint_is_read_with_its_projection_and_its_lengths(encoder):
    queries, passages = encoder.encode_queries(QUERIES), encoder.encode_passages([*TEXTS, TEXTS[0] * 20])
    assert {array.shape[1] for array in [*queries, *passages]} == {16}
    assert {len(array) for array in queries} == {24}  # filled up with [MASK] to query_maxlen
    assert len(passages[-1]) <= 48  # doc_maxlen
    for array in passages:
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1.0, atol=1e-5)


def test_hits_follow_the_librarys_own_maxsim(encoder):
    texts = [*TEXTS, "?!", *TEXTS[::-1]]
    reference = encoder._model.similarity(
        encoder._model.encode_query(QUERIES), encoder._model.encode_document(texts)
    ).numpy()
    for block_bytes in (1, 40_000, 1 << 26):
        found = LateRetriever(texts, encoder, block_bytes=block_bytes).search(QUERIES, k=11)
        for row, hits in zip(reference, found, strict=True):
            assert [row[hit.index] for hit in hits] == pytest.approx([hit.score for hit in hits], abs=0.02)
            assert len(hits) == 11
            pairs = {hit.score: [h.index for h in hits if h.score == hit.score] for hit in hits}
            assert all(indices == sorted(indices) for indices in pairs.values())
            assert sum(len(indices) == 2 for indices in pairs.values()) == 5  # equal texts tie to the last bit


def test_blocks_of_any_size_give_the_same_sums():
    numbers = np.random.default_rng(1)
    query, lengths = numbers.normal(size=(4, 8)).astype(np.float32), np.array([0, 3, 1, 0, 7, 2, 0])
    vectors = numbers.normal(size=(13, 8)).astype(np.float16)
    ends = np.cumsum(lengths)
    expected = [
        (vectors[end - n : end].astype(np.float32) @ query.T).max(axis=0).sum() if n else -np.inf
        for n, end in zip(lengths, ends, strict=True)
    ]
    for block_bytes in (1, 200, 400, 1 << 20):
        np.testing.assert_allclose(
            max_similarities(query, vectors, lengths, block_bytes=block_bytes), expected, rtol=1e-5
        )
    assert max_similarities(query, vectors[:0], np.array([0, 0])).tolist() == [-np.inf, -np.inf]


def test_an_encoder_without_a_trained_projection_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)no late-interaction checkpoint.*HF_ColBERT"):
        LateEncoder(write_tiny_bert(tmp_path / "plain"))
    with pytest.raises(FileNotFoundError, match="nothing is fetched"):
        LateEncoder(tmp_path / "absent")
