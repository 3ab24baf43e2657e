"""Fine-tuning settings: contradictions are refused together, and shares become steps."""

from __future__ import annotations

import pytest

from kaggle_utils.training.sft_settings import SftSettings


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(ValueError, match="cannot be trained with") as caught:
        SftSettings(learning_rate=0, over_long="cut", group_by_length=True, save_strategy="no", eval_max_rows=0,
                    early_stopping_patience=0, lr_scheduler_type="constant")  # fmt: skip
    named = ("learning_rate is 0", "over_long is 'cut', expected one of drop", "group_by_length is for padded",
             "needs checkpoints", "early_stopping_patience is 0", "has no warm-up", "eval_max_rows is 0")  # fmt: skip
    for name in named:
        assert name in str(caught.value), name


def test_without_rows_to_evaluate_checkpoints_still_come():
    settings = SftSettings(early_stopping_patience=2, eval_steps=0.1).without_evaluation()
    assert settings.early_stopping_patience is None and not settings.load_best_model_at_end
    plan = settings.steps(200)
    assert (plan.evaluate, plan.save, plan.total) == (None, 20, 200)
    assert SftSettings(num_train_epochs=0.5, warmup_steps=10).steps(30).total == 15
