"""The engine gives a fold's predictions: row by row what plain transformers gives, and nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kaggle_utils.data.tokenization import TokenRows  # noqa: E402
from kaggle_utils.inference.fold_scoring import engine_logits  # noqa: E402


def token_rows(lengths, vocabulary):
    generator = np.random.default_rng(0)
    return TokenRows.of(generator.integers(5, vocabulary, n).astype(np.int32) for n in lengths)


def test_rows_get_what_plain_transformers_gives_them(tmp_path):
    from tiny_classifiers import write_tiny_classifier
    from transformers import AutoModelForSequenceClassification

    folder = write_tiny_classifier(tmp_path / "fold-0", "deberta-v2")
    plain = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = token_rows((9, 40, 3, 17, 40), plain.config.vocab_size)
    found = engine_logits(folder, rows, "cpu")
    with torch.no_grad():
        wanted = [plain(torch.from_numpy(row).long()[None]).logits[0].numpy() for row in rows.ids]
    assert found.dtype == np.float32 and found.shape == (5, plain.config.num_labels)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"fold-0"}, "the store is removed when all is there"


def test_rows_without_an_answer_are_named(tmp_path):
    from safetensors.torch import load_file, save_file
    from tiny_classifiers import write_tiny_classifier

    folder = write_tiny_classifier(tmp_path / "fold-0", "deberta-v2")
    tensors = load_file(folder / "model.safetensors")
    tensors["deberta.embeddings.word_embeddings.weight"][7] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    rows = TokenRows.of(np.array(row, np.int32) for row in ([5, 6], [5, 7], [8, 9, 10]))
    with pytest.raises(RuntimeError, match=r"no logits for 1 of 3 rows \(\[1\]\)"):
        engine_logits(folder, rows, "cpu")
