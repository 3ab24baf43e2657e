"""Prediction and evaluation keep the order of the rows, whatever training does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

from tiny_classifiers import tiny_classifier

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.training.fold_batches import EncodedRows, LengthGroupedBatches
from kaggle_utils.training.fold_predict import checked_logits, predict_logits
from kaggle_utils.training.fold_trainer import fold_trainer, training_arguments
from kaggle_utils.training.kfold_settings import KFoldSettings


class RecordingBatches(LengthGroupedBatches):
    """Remembers what was trained on."""

    def __iter__(self):
        self.given = getattr(self, "given", [])
        for batch in super().__iter__():
            self.given.append(batch)
            yield batch


GENERATOR = np.random.default_rng(0)
ROWS = TokenRows.of([GENERATOR.integers(5, 500, length) for length in GENERATOR.integers(1, 60, 40)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("fold-predict")
    tiny_classifier("bert").save_pretrained(path)
    return path


def test_logits_are_those_of_each_row_alone(folder):
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        alone = np.concatenate([model(torch.tensor(ids[None].astype(int))).logits.numpy() for ids in ROWS.ids])
    for max_tokens in (1, 128, 16384):
        found = predict_logits(folder, ROWS, "cpu", max_tokens=max_tokens)
        assert found.dtype == np.float32 and np.abs(found - alone).max() < 1e-4
    assert np.abs(np.diff(alone, axis=0)).max(axis=1).min() > 1e-3  # no two neighbours are alike: order would show


def test_the_trainer_of_a_fold_keeps_the_order_too(folder, tmp_path):
    """``group_by_length`` of transformers' own sampler permutes this; ours is for training only."""
    settings = KFoldSettings(
        per_device_eval_batch_size=4, per_device_train_batch_size=4, eval_strategy="no", save_strategy="no",
        load_best_model_at_end=False,
    )  # fmt: skip
    labels = np.arange(40) % 3
    model = tiny_classifier("bert")
    data = EncodedRows([ROWS.ids, ROWS.ids], [labels, labels])
    batches = RecordingBatches([ROWS.lengths, ROWS.lengths], batch_size=4, seed=0)
    trainer = fold_trainer(
        model,
        training_arguments(settings, settings.steps(10), folder=tmp_path, seed=0, precision="no", cpu=True),
        settings,
        batches=batches,
        train_rows=data,
        eval_rows=data,
        report=lambda *told: None,
    )
    predicted = trainer.predict(data)
    assert predicted.label_ids.tolist() == labels.tolist()
    assert np.abs(predicted.predictions - predict_logits(folder, ROWS, "cpu")).max() < 1e-4
    trainer.train()
    seen = np.concatenate(batches.given[:20])  # two epochs: each row once in each order of A and B
    assert sorted(seen) == list(range(80)) and sorted(seen[:40] % 40) == list(range(40))


def test_logits_that_cannot_be_meant_are_refused():
    good = np.zeros((3, 2))
    assert checked_logits(good, rows=3, labels=2, who="predict").dtype == np.float32
    with pytest.raises(ValueError, match=r"predict returned logits of shape \(3, 2\) for 4 rows"):
        checked_logits(good, rows=4, labels=2, who="predict")
    good[1] = np.nan
    with pytest.raises(ValueError, match=r"1 rows that are not finite, such as row \[1\].*learning rate"):
        checked_logits(good, rows=3, labels=2, who="predict")
