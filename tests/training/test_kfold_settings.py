"""Settings: contradictions are refused all at once, and shares of a run become whole steps."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from kaggle_utils.training.fold_trainer import training_arguments
from kaggle_utils.training.kfold_settings import KFoldSettings, StepPlan
from kaggle_utils.training.lean_trainer import lean_trainer_class
from kaggle_utils.training.step_shares import local_loader


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ValueError, match="cannot be trained with") as caught:
        KFoldSettings(
            learning_rate=0, label_smoothing_factor=1.0, mixed_precision="fp8", folds=(0, 0), freeze_layers=-1,
            save_strategy="no", eval_strategy="no", early_stopping_patience=0, max_steps=0,
        )  # fmt: skip
    message = str(caught.value)
    for text in ("learning_rate is 0", "label_smoothing_factor is 1.0", "mixed_precision is 'fp8'", "folds is (0, 0)",
                 "freeze_layers is -1", "needs evaluations", "needs checkpoints", "early_stopping_patience is 0",
                 "max_steps is 0, expected -1 or at least 1"):  # fmt: skip
        assert text in message
    assert message.count("\n  - ") == 9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"load_best_model_at_end": False, "early_stopping_patience": 2}, "early_stopping_patience needs load_best"),
        ({"lr_scheduler_type": "constant"}, '"constant" has no warm-up'),
        ({"eval_strategy": "no", "load_best_model_at_end": False}, "give save_steps"),
        ({"metric_for_best_model": "loss"}, "expected one of log_loss, accuracy, calibration_error"),
        ({"lr_scheduler_type": "cosin"}, "expected one of linear, cosine"),
        ({"layerwise_lr_decay": 1.1}, "above 0, at most 1"),
        ({"folds": ()}, "folds is"),
        ({"folds": ("0",)}, "folds is"),
    ],
)
def test_a_contradiction_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        KFoldSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "plan"),
    [
        ({}, StepPlan(200, 20, 50, 50, 4)),
        ({"num_train_epochs": 0.5, "warmup_steps": 7}, StepPlan(50, 7, 13, 13, 1)),
        ({"max_steps": 30, "eval_steps": 10, "logging_steps": 5}, StepPlan(30, 3, 10, 10, 5)),
        ({"eval_strategy": "epoch", "save_strategy": "epoch"}, StepPlan(200, 20, 100, 100, 4)),
        ({"eval_steps": 20, "save_steps": 50}, StepPlan(200, 20, 20, 40, 4)),  # saved where it was evaluated
        ({"load_best_model_at_end": False, "eval_steps": 20, "save_steps": 50}, StepPlan(200, 20, 20, 50, 4)),
        ({"load_best_model_at_end": False, "eval_strategy": "no", "save_strategy": "no"},
         StepPlan(200, 20, None, None, 4)),
        ({"max_steps": 3}, StepPlan(3, 1, 1, 1, 1)),
    ],
)  # fmt: skip
def test_shares_become_steps(changes, plan):
    assert KFoldSettings(**changes).steps(100) == plan


def test_settings_go_through_json():
    settings = KFoldSettings(folds=[1, 0], config_overrides={"hidden_dropout_prob": 0.0})
    assert KFoldSettings(**json.loads(json.dumps(settings.as_dict()))) == settings


def test_names_are_those_of_training_arguments():
    """Whoever knows transformers knows these; what it does not have is listed here."""
    transformers = pytest.importorskip("transformers")
    ours = {"mixed_precision", "group_by_length", "swap_augmentation", "freeze_embeddings", "freeze_layers",
            "layerwise_lr_decay", "config_overrides", "eval_max_rows", "early_stopping_patience",
            "early_stopping_threshold", "folds", "keep_weights"}  # fmt: skip
    theirs = set(transformers.TrainingArguments.__dataclass_fields__) | {"gradient_checkpointing"}
    assert set(KFoldSettings.__dataclass_fields__) - theirs == ours - theirs


def test_nothing_in_a_step_on_a_gpu_waits_for_the_step_before(tmp_path):
    pytest.importorskip("transformers")
    settings = KFoldSettings()
    given = {"folder": tmp_path, "seed": 0, "precision": "no"}
    on_gpu, on_cpu = (training_arguments(settings, settings.steps(10), cpu=cpu, **given) for cpu in (False, True))
    assert on_gpu.accelerator_config.non_blocking and on_gpu.dataloader_pin_memory
    assert not on_gpu.logging_nan_inf_filter and on_gpu.optim == "adamw_torch_fused"
    assert not on_cpu.accelerator_config.non_blocking and not on_cpu.dataloader_pin_memory


@pytest.mark.parametrize("waits", [False, True])
def test_batches_are_sent_as_the_trainer_was_told(waits):
    """The loader that both Trainers use; accelerate sends tensors with what it was made with."""
    torch, sent = pytest.importorskip("torch"), []

    class Batch(torch.Tensor):
        def to(self, *_, **how):
            sent.append(how["non_blocking"])
            return self

    accelerator = SimpleNamespace(device=torch.device("cpu"), device_placement=True, non_blocking=not waits)
    loader = torch.utils.data.DataLoader(range(3), collate_fn=lambda rows: torch.tensor(rows).as_subclass(Batch))
    assert len(list(local_loader(accelerator, loader))) == 3
    assert sent == [not waits] * 3


def test_the_work_of_a_step_is_counted_as_transformers_counts_it():
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    sizes = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, num_attention_heads=2))
    ours, theirs = lean_trainer_class().__new__(lean_trainer_class()), SimpleNamespace(model=model)
    ours.model = model
    for rows in (2, 3):
        inputs = {"input_ids": torch.zeros(rows, 7, dtype=torch.long)}
        wanted = transformers.Trainer.floating_point_ops(theirs, inputs)
        assert ours.floating_point_ops(inputs) == wanted > 0
