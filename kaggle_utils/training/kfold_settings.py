"""What decides a k-fold run besides the rows: every knob under the field's standard names.

It promises that settings which contradict each other are refused when they are made, all of them at once, and that
shares of a run ("evaluate every quarter") become whole steps in one place. It knows no rows and no devices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["MIXED_PRECISION", "KFoldSettings", "StepPlan", "plan_steps"]

MIXED_PRECISION = ("auto", "bf16", "fp16", "no")
"""``auto``: bf16 on GPUs that compute it in hardware, fp16 on older ones (T4, P100), none on a CPU."""

_STRATEGIES = ("steps", "epoch", "no")
_METRICS = {"log_loss": False, "accuracy": True, "calibration_error": False}  # whether greater is better
_SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
              "inverse_sqrt")  # fmt: skip


@dataclass(frozen=True)
class StepPlan:
    """A run of one fold in optimizer steps."""

    total: int
    """All steps."""
    warmup: int
    """Of them, those with a rising learning rate."""
    evaluate: int | None
    """Steps from one evaluation to the next; None: never."""
    save: int | None
    """Steps from one checkpoint to the next; None: never, so that a killed fold begins anew."""
    log: int
    """Steps from one point of the loss curve to the next."""


@dataclass(frozen=True)
class KFoldSettings:
    """How every fold is trained. Names are those of ``transformers.TrainingArguments`` where it has them."""

    learning_rate: float = 2e-5
    """At its highest, for the head and, without ``layerwise_lr_decay``, for everything."""
    lr_scheduler_type: str = "cosine"
    """A schedule of transformers: linear, cosine, constant_with_warmup, ..."""
    warmup_steps: float = 0.1
    """Linear warm-up: below 1 a share of all steps, else a number of steps."""
    weight_decay: float = 0.01
    """Of matrices; biases and norms have none."""
    optim: str = "adamw_torch_fused"
    """Optimizer, by transformers' name."""
    adam_beta1: float = 0.9
    """First-moment decay of Adam."""
    adam_beta2: float = 0.999
    """Second-moment decay of Adam."""
    adam_epsilon: float = 1e-8
    """Added to Adam's divisor."""
    max_grad_norm: float = 1.0
    """Gradients are cut to this norm; 0: never."""
    num_train_epochs: float = 2.0
    """Passes over the rows."""
    max_steps: int = -1
    """Optimizer steps instead of epochs; -1: epochs count."""
    per_device_train_batch_size: int = 16
    """Rows of one forward pass in training."""
    gradient_accumulation_steps: int = 1
    """Forward passes of one optimizer step. Processes that a launcher starts share them, or the rows of each."""
    per_device_eval_batch_size: int = 32
    """Rows of one forward pass in evaluations while training."""
    label_smoothing_factor: float = 0.0
    """Share of the target that is spread over all classes."""
    mixed_precision: str = "auto"
    """One of :data:`MIXED_PRECISION`; weights and optimizer stay float32."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass: less memory, about a third more time."""
    group_by_length: bool = True
    """Rows of like length share a training batch. Prediction never sees this: rows keep their order there."""
    swap_augmentation: bool = False
    """Half of the rows read B first, the other half in the next epoch; labels change with them. Needs the rows in
    both orders."""
    freeze_embeddings: bool = False
    """Embeddings stay as they are."""
    freeze_layers: int = 0
    """This many of the lowest layers stay as they are."""
    layerwise_lr_decay: float = 1.0
    """Each layer below another learns at this share of its rate; 1: all at the same."""
    config_overrides: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the model's config, such as ``{"hidden_dropout_prob": 0.0}``."""
    eval_strategy: str = "steps"
    """When to evaluate: steps, epoch, no."""
    eval_steps: float = 0.25
    """For "steps": below 1 a share of all steps, else a number of steps. The end is evaluated in any case."""
    eval_max_rows: int | None = 1000
    """Rows of an evaluation, the same ones every time, drawn from the held-out ones; None: all of them."""
    save_strategy: str = "steps"
    """When to write a checkpoint: steps, epoch, no."""
    save_steps: float | None = None
    """For "steps", counted like ``eval_steps``; None: with every evaluation."""
    load_best_model_at_end: bool = True
    """Keep the weights of the best evaluation; False: the last. The best are chosen on held-out rows, so their
    figures are a little too good; with few evaluations it hardly shows."""
    metric_for_best_model: str = "log_loss"
    """log_loss, accuracy or calibration_error."""
    early_stopping_patience: int | None = None
    """Stop after this many evaluations in a row without a better one; None: never."""
    early_stopping_threshold: float = 0.0
    """What counts as better has to be better by more than this."""
    logging_steps: float = 0.02
    """Steps between points of the loss curve, counted like ``eval_steps``."""
    seed: int = 42
    """Of fold 0; fold k has ``seed + k``."""
    folds: tuple[int, ...] | None = None
    """Folds to run, such as ``(0,)``; None: all. Others can be run later, in the same folder."""
    keep_weights: bool = True
    """Keep each fold's model when its predictions are made."""

    def __post_init__(self) -> None:
        if problems := [*_out_of_range(self), *_unknown(self), *_contradictions(self)]:
            raise ValueError("settings that cannot be trained with:\n" + "\n".join(f"  - {p}" for p in problems))
        if self.folds is not None:
            object.__setattr__(self, "folds", tuple(self.folds))

    @property
    def greater_is_better(self) -> bool:
        """Of the metric for the best model."""
        return _METRICS[self.metric_for_best_model]

    def as_dict(self) -> dict[str, Any]:
        """All of them, fit for JSON."""
        return {**asdict(self), "folds": list(self.folds) if self.folds is not None else None}

    def steps(self, steps_per_epoch: int) -> StepPlan:
        """Turn epochs and shares into whole optimizer steps.

        >>> KFoldSettings(num_train_epochs=2, warmup_steps=0.1, eval_steps=0.25).steps(50)
        StepPlan(total=100, warmup=10, evaluate=25, save=25, log=2)
        """
        return plan_steps(self, steps_per_epoch)


def plan_steps(settings: Any, steps_per_epoch: int) -> StepPlan:
    """Turn the epochs and shares of :class:`KFoldSettings`, or of settings with its names, into whole steps."""
    total = settings.max_steps if settings.max_steps > 0 else math.ceil(settings.num_train_epochs * steps_per_epoch)
    evaluate = _every(settings.eval_strategy, settings.eval_steps, total, steps_per_epoch)
    save = evaluate if settings.save_strategy == "steps" and settings.save_steps is None else None
    save = save or _every(settings.save_strategy, settings.save_steps or settings.eval_steps, total, steps_per_epoch)
    if settings.load_best_model_at_end and evaluate and save:
        save = evaluate * max(1, round(save / evaluate))  # the best can only be kept where it was both
    warmup = _count(settings.warmup_steps, total, at_least=0)
    return StepPlan(total, warmup, evaluate, save, _count(settings.logging_steps, total))


def _count(value: float, total: int, *, at_least: int = 1) -> int:
    return max(at_least, math.ceil(value * total - 1e-9) if value < 1 else round(value))


def _every(strategy: str, value: float, total: int, steps_per_epoch: int) -> int | None:
    if strategy == "no":
        return None
    return steps_per_epoch if strategy == "epoch" else _count(value, total)


def _out_of_range(settings: KFoldSettings) -> list[str]:
    positive = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
                "per_device_eval_batch_size", "adam_epsilon", "eval_steps", "logging_steps")  # fmt: skip
    not_negative = ("warmup_steps", "weight_decay", "max_grad_norm", "freeze_layers", "early_stopping_threshold",
                    "seed")  # fmt: skip
    shares = ("label_smoothing_factor", "adam_beta1", "adam_beta2")
    patience = settings.early_stopping_patience
    rules = [(name, "above 0", getattr(settings, name) > 0) for name in positive]
    rules += [(name, "0 or more", getattr(settings, name) >= 0) for name in not_negative]
    rules += [(name, "at least 0 and below 1", 0 <= getattr(settings, name) < 1) for name in shares]
    rules += [
        ("layerwise_lr_decay", "above 0, at most 1", 0 < settings.layerwise_lr_decay <= 1),
        ("max_steps", "-1 or at least 1", settings.max_steps == -1 or settings.max_steps >= 1),
        ("save_steps", "None or above 0", settings.save_steps is None or settings.save_steps > 0),
        ("eval_max_rows", "None or at least 1", settings.eval_max_rows is None or settings.eval_max_rows >= 1),
        ("early_stopping_patience", "None or at least 1", patience is None or patience >= 1),
        ("folds", "None or different numbers from 0", _are_folds(settings.folds)),
    ]
    return [f"{name} is {getattr(settings, name)!r}, expected {expected}" for name, expected, ok in rules if not ok]


def _are_folds(folds: Any) -> bool:
    if folds is None:
        return True
    whole = isinstance(folds, list | tuple) and all(type(fold) is int and fold >= 0 for fold in folds)
    return whole and 0 < len(folds) == len(set(folds))


def _unknown(settings: KFoldSettings) -> list[str]:
    choices = {"mixed_precision": MIXED_PRECISION, "eval_strategy": _STRATEGIES, "save_strategy": _STRATEGIES,
               "metric_for_best_model": tuple(_METRICS), "lr_scheduler_type": _SCHEDULES}  # fmt: skip
    return [
        f"{name} is {getattr(settings, name)!r}, expected one of {', '.join(known)}"
        for name, known in choices.items()
        if getattr(settings, name) not in known
    ]


def _contradictions(settings: KFoldSettings) -> list[str]:
    problems = []
    if settings.eval_strategy == "no" and settings.load_best_model_at_end:
        problems.append("load_best_model_at_end needs evaluations: set eval_strategy, or load_best_model_at_end=False")
    if settings.save_strategy == "no" and settings.load_best_model_at_end:
        problems.append("load_best_model_at_end needs checkpoints: set save_strategy, or load_best_model_at_end=False")
    if settings.early_stopping_patience is not None and not settings.load_best_model_at_end:
        problems.append("early_stopping_patience needs load_best_model_at_end: without it the last, worse weights stay")
    if settings.save_strategy == "steps" and settings.save_steps is None and settings.eval_strategy == "no":
        problems.append("save_steps is None (with every evaluation), and eval_strategy is 'no': give save_steps")
    if settings.lr_scheduler_type == "constant" and settings.warmup_steps:
        problems.append('lr_scheduler_type "constant" has no warm-up: use "constant_with_warmup", or warmup_steps=0')
    return problems
