"""transformers' Trainer for one fold: its arguments, its batches, its loss, and what it tells while it trains.

It promises that nothing which shuffles touches evaluation or prediction: ``train_sampling_strategy="group_by_length"``
would reorder ``Trainer.predict`` silently, so batches come from a sampler of ours that only training sees; of several
processes it gives each its share already. It does not decide when a fold is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.training.fold_batches import pad_rows
from kaggle_utils.training.fold_model import parameter_groups
from kaggle_utils.training.kfold_settings import KFoldSettings, StepPlan
from kaggle_utils.training.lean_trainer import lean_trainer_class
from kaggle_utils.training.metrics import prediction_metrics
from kaggle_utils.training.step_shares import Batches, StepShare, local_loader, share_step
from kaggle_utils.training.team import prepare_sharding
from kaggle_utils.training.trainer_arguments import shared_arguments
from kaggle_utils.training.trainer_progress import progress_callback

__all__ = ["fold_trainer", "training_arguments"]


def training_arguments(
    settings: KFoldSettings, plan: StepPlan, *, folder: Path, seed: int, precision: str, cpu: bool,
    share: StepShare | None = None,
) -> Any:  # fmt: skip
    """Return the ``TrainingArguments`` of a fold.

    Args:
        settings: of the run.
        plan: its steps.
        folder: of the fold.
        seed: of the fold.
        precision: bf16, fp16 or no.
        cpu: do not use a GPU.
        share: of several processes that train together.
    """
    best = settings.load_best_model_at_end
    share = share or share_step(settings.per_device_train_batch_size, settings.gradient_accumulation_steps, 1)
    return require("transformers", extra="llm").TrainingArguments(
        **shared_arguments(settings, plan, folder=folder, precision=precision, cpu=cpu, share=share),
        label_smoothing_factor=settings.label_smoothing_factor,
        load_best_model_at_end=best,
        metric_for_best_model=settings.metric_for_best_model if best else None,
        greater_is_better=settings.greater_is_better if best else None,
        seed=seed,
    )


def fold_trainer(
    model: Any,
    arguments: Any,
    settings: KFoldSettings,
    *,
    batches: Batches,
    train_rows: Any,
    eval_rows: Any,
    report: Callable[[int, int, str], None],
) -> Any:
    """Return the Trainer of a fold.

    Args:
        model: on any device.
        arguments: of :func:`training_arguments`.
        settings: of the run.
        batches: numbers of rows, for training only.
        train_rows: a map-style data set, see :class:`~kaggle_utils.training.fold_batches.EncodedRows`.
        eval_rows: the same for evaluations, or None.
        report: is told (steps done, all steps, what was measured last).
    """
    transformers = require("transformers", extra="llm")
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        data_collator=_collator(model),
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        compute_metrics=lambda given: prediction_metrics(_logits(given.predictions), np.asarray(given.label_ids)),
        preprocess_logits_for_metrics=lambda logits, _: _logits(logits).float(),
    )
    prepare_sharding(trainer)
    trainer.batches, trainer.settings = batches, settings
    trainer.model_accepts_loss_kwargs = False  # the loss is a mean over the batch; Trainer divides for accumulation
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(progress_callback(batches, arguments, report, shown=_SHOWN))
    if settings.early_stopping_patience is not None:
        trainer.add_callback(
            transformers.EarlyStoppingCallback(
                early_stopping_patience=settings.early_stopping_patience,
                early_stopping_threshold=settings.early_stopping_threshold,
            )
        )
    return trainer


@cache
def _trainer_class() -> type:
    """Made on first use, because importing transformers takes seconds."""
    torch = require("torch", extra="llm")

    class FoldTrainer(lean_trainer_class()):
        batches: Batches
        settings: KFoldSettings

        def get_train_dataloader(self) -> Any:
            loader = torch.utils.data.DataLoader(
                self.train_dataset,
                batch_sampler=self.batches,
                collate_fn=self.data_collator,
                pin_memory=self.args.dataloader_pin_memory,
            )
            return local_loader(self.accelerator, loader)

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels, weights = inputs["labels"], inputs.get("weight")
            outputs = model(**{name: tensor for name, tensor in inputs.items() if name not in ("labels", "weight")})
            smoothing = self.args.label_smoothing_factor if model.training else 0.0
            losses = partial(torch.nn.functional.cross_entropy, outputs.logits.float(), labels)
            if weights is None:
                loss = losses(label_smoothing=smoothing)
            else:  # of several processes: this one's part of the mean
                loss = (losses(label_smoothing=smoothing, reduction="none") * weights).sum()
            return (loss, outputs) if return_outputs else loss

        def create_optimizer(self, model=None):
            if self.optimizer is None:
                kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                groups = parameter_groups(
                    self.model,
                    learning_rate=self.args.learning_rate,
                    decay=self.settings.layerwise_lr_decay,
                    weight_decay=self.args.weight_decay,
                )
                self.optimizer = kind(groups, **options)
            return self.optimizer

    return FoldTrainer


_SHOWN = {name: name.removeprefix("eval_") for name in (
    "loss", "learning_rate", "grad_norm", "eval_log_loss", "eval_accuracy", "eval_calibration_error",
)}  # fmt: skip


def _logits(predictions: Any) -> Any:
    """Decoders also return caches."""
    return predictions[0] if isinstance(predictions, tuple | list) else predictions


def _collator(model: Any) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]:
    torch = require("torch", extra="llm")
    pad_id = model.config.pad_token_id or 0

    def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        padded = pad_rows([item["input_ids"] for item in items], pad_id=pad_id)
        labels = torch.tensor([item["labels"] for item in items])
        batch = {**{name: torch.from_numpy(array) for name, array in padded.items()}, "labels": labels}
        if "weight" in items[0]:
            batch["weight"] = torch.tensor([item["weight"] for item in items], dtype=torch.float32)
        if getattr(model, "takes_lengths", False):  # packed: then no step waits for the device to count tokens
            batch["lengths"] = [len(item["input_ids"]) for item in items]
        return batch

    return collate
