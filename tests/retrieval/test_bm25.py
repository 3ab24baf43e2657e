"""BM25 over bigrams ranks as the formula says, breaks ties by index, and survives a round trip through its file."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("bm25s")

from kaggle_utils.retrieval.bm25 import Bm25Retriever, character_bigrams
from kaggle_utils.retrieval.retriever import Retriever

TEXTS = ["伊勢神宮は何県？", "鉛筆は水に沈みますか？", "木曜日の5日後は何曜日？", "", "ｐｅｎｃｉｌ and water"]


def bm25(texts: list[str], query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25, written out."""
    bags = [Counter(character_bigrams(text)) for text in texts]
    lengths = [sum(bag.values()) for bag in bags]
    mean, scores = sum(lengths) / len(texts), [0.0] * len(texts)
    for token in character_bigrams(query):
        holds = sum(token in bag for bag in bags)
        idf = math.log(1 + (len(texts) - holds + 0.5) / (holds + 0.5))
        for i, bag in enumerate(bags):
            scores[i] += idf * bag[token] / (bag[token] + k1 * (1 - b + b * lengths[i] / mean))
    return scores


def test_scores_are_those_of_the_formula():
    retriever = Bm25Retriever(TEXTS)
    assert isinstance(retriever, Retriever)
    for query in ("伊勢の神宮", "水に沈む鉛筆は何？", "PENCIL"):
        expected = bm25(TEXTS, query)
        hits, positive = retriever.search([query], k=5)[0], [score for score in expected if score > 0]
        assert {hit.index for hit in hits} == {i for i, score in enumerate(expected) if score > 0}
        assert [hit.score for hit in hits] == pytest.approx(sorted(positive, reverse=True), rel=1e-5)
        assert hits[0].index == int(np.argmax(expected))


def test_width_and_case_do_not_matter():
    assert [hit.index for hit in Bm25Retriever(TEXTS).search(["Ｐencil"], k=2)[0]] == [4]


def test_equal_texts_come_by_index_for_every_k():
    retriever = Bm25Retriever(["別の文", *["同じ質問です"] * 40])
    for k in (1, 2, 7, 40):
        assert [hit.index for hit in retriever.search(["同じ質問"], k=k)[0]] == list(range(1, k + 1))


def test_nothing_in_common_finds_nothing():
    retriever = Bm25Retriever(TEXTS)
    assert retriever.search(["", "  ", "ΩЖ", "\ud800"], k=3) == [[], [], [], []]
    assert Bm25Retriever(["", " "]).search(["何"], k=1) == [[]]
    assert retriever.search([], k=3) == []


@pytest.mark.parametrize("texts", [TEXTS, ["", " "]])
def test_a_saved_index_answers_the_same_and_holds_no_objects(tmp_path, texts):
    made = Bm25Retriever(texts, k1=1.2, b=0.5)
    path = made.save(tmp_path / "deep" / "index.npz")
    loaded = Bm25Retriever.load(path)
    queries = ["神宮は何", "水", "water"]
    assert loaded.search(queries, k=4) == made.search(queries, k=4)
    assert (loaded.k1, loaded.b, loaded.size, loaded.analysis) == (1.2, 0.5, len(texts), "bigrams")
    with np.load(path, allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in file.files)
    assert [p.name for p in path.parent.iterdir()] == ["index.npz"]


def test_foreign_files_are_refused(tmp_path):
    bad = tmp_path / "index.npz"
    bad.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="no saved BM25 index"):
        Bm25Retriever.load(bad)
    np.savez(tmp_path / "objects.npz", settings=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="no saved BM25 index"):
        Bm25Retriever.load(tmp_path / "objects.npz")
    np.savez(tmp_path / "other.npz", data=np.zeros(2))
    with pytest.raises(ValueError, match=r"lacks indices, indptr, settings, vocabulary"):
        Bm25Retriever.load(tmp_path / "other.npz")


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)no texts.*analysis is 'trigrams'.*k1 is -1.*b is 2"):
        Bm25Retriever([], analysis="trigrams", k1=-1, b=2)
    with pytest.raises(TypeError, match="queries is one str"):
        Bm25Retriever(TEXTS).search("伊勢神宮", k=1)
    with pytest.raises(TypeError, match=r"texts has no str at 1 \(NoneType\)"):
        Bm25Retriever(["a", None])
    with pytest.raises(ValueError, match="k is 0"):
        Bm25Retriever(TEXTS).search(["何"], k=0)
