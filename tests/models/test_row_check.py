"""Before a run, a few rows show whether rows that are scored together see each other."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import DECODERS, ENCODERS, tiny_classifier  # noqa: E402

from kaggle_utils.models import packed  # noqa: E402
from kaggle_utils.models.attention import AttentionPath  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402
from kaggle_utils.models.row_check import RowCheckError, check_rows, plain_logits, rounding_limit  # noqa: E402


def rows_of(*lengths):
    random = np.random.default_rng(0)
    return [random.integers(1, 512, n).astype(np.int32) for n in lengths]


@pytest.mark.parametrize("path", ["causal", "ragged", "flex"])
@pytest.mark.parametrize("family", DECODERS)
def test_every_path_passes(family, path):
    scorer = PackedClassifier(tiny_classifier(family), path=AttentionPath(path, "a test"), max_tokens=128)
    scorer.self_check(rows_of(40, 30, 9, 1))
    assert scorer.notes == []
    assert scorer.model.config._attn_implementation == f"kaggle_{path}", "the check left its own attention behind"


@pytest.mark.parametrize("family", ENCODERS)
def test_encoders_pass(family):
    scorer = PackedClassifier(tiny_classifier(family))
    scorer.self_check(rows_of(40, 30, 9, 1))
    assert scorer.notes == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_passes(dtype):
    model = tiny_classifier("gemma2")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(4)  # as initialised
    assert check_rows(PackedClassifier(model.to(dtype)), rows_of(40, 30, 9, 1)) is None


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_rows_that_see_each_other_are_an_error(family, monkeypatch):
    scorer = PackedClassifier(tiny_classifier(family), path=AttentionPath("ragged", "a test"), max_tokens=128)
    # The borders of the rows are forgotten: one long row, as transformers itself makes of packed input with a cache.
    monkeypatch.setattr(packed, "pack_layout", lambda path, lengths, *a, **k: {"ends": torch.tensor([sum(lengths)])})
    with pytest.raises(RowCheckError, match=r"4 rows scored together differ by up to .*'ragged' on cpu.*self_check"):
        scorer.self_check(rows_of(40, 30, 20, 10))


def test_a_forgotten_cap_is_an_error(monkeypatch):
    from kaggle_utils.models import attention

    monkeypatch.setattr(attention, "softcapped", lambda scores, cap: scores)
    scorer = PackedClassifier(tiny_classifier("gemma2"), path=AttentionPath("causal", "a test"))
    with pytest.raises(RowCheckError):
        scorer.self_check(rows_of(40, 30, 20, 10))


def test_a_small_difference_is_a_note_and_said_once(monkeypatch):
    scorer = PackedClassifier(tiny_classifier("llama"))
    limit = rounding_limit(scorer.model, plain_logits(scorer.model, rows_of(9, 5)))
    score = scorer.score
    monkeypatch.setattr(scorer, "score", lambda rows: score(rows) + np.float32(0.6 * limit))
    scorer.self_check(rows_of(9, 5))
    scorer.self_check(rows_of(9, 5))
    assert len(scorer.notes) == 1 and "would be an error" in scorer.notes[0]


def test_rows_that_overflow_alone_too_are_no_reason(monkeypatch):
    model = tiny_classifier("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("inf")
    rows = [*rows_of(9, 5), np.array([7, 7, 7], np.int32)]
    assert check_rows(PackedClassifier(model), rows) is None


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_weights_that_give_no_row_a_number_are_an_error(family):
    model = tiny_classifier(family)
    with torch.no_grad():
        getattr(model, "score", getattr(model, "classifier", None)).weight[0, 0] = float("nan")
    with pytest.raises(
        RowCheckError, match=r"none of 2 rows has finite logits.*damaged weights: (score|classifier)\.weight;"
    ):
        PackedClassifier(model).self_check(rows_of(9, 5))


def test_overflow_in_every_row_names_the_dtype():
    model = tiny_classifier("llama")
    with torch.no_grad():
        model.score.weight.fill_(6e4)
    with pytest.raises(RowCheckError, match=r"damaged weights, or overflow in torch\.float16; .*dtype='bfloat16'"):
        check_rows(PackedClassifier(model.half()), rows_of(9, 5))


def test_the_limit_grows_with_the_dtype_and_the_logits():
    model, small, large = tiny_classifier("llama"), np.array([[0.1, 0.2]]), np.array([[100.0, np.nan]])
    exact = rounding_limit(model, small)
    assert rounding_limit(model, large) == pytest.approx(100 * exact)
    assert exact < rounding_limit(model.half(), small) < rounding_limit(model.bfloat16(), small)
