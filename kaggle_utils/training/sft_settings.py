"""What decides a supervised fine-tuning run besides the rows: every knob under the field's standard names.

It promises that settings which contradict each other are refused when they are made, all of them at once. It knows no
rows and no devices. Names that k-fold training has too mean the same here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from kaggle_utils.training.kfold_settings import MIXED_PRECISION, StepPlan, plan_steps

__all__ = ["OVER_LONG", "SftSettings"]

OVER_LONG = ("drop", "cut_prompt", "error")
"""What happens to rows of more than ``max_length`` tokens. A response is never cut: a model trained on one that breaks
off learns to break off. ``cut_prompt`` takes tokens out of the middle of the longest text in the prompt."""

_STRATEGIES = ("steps", "epoch", "no")
_SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "polynomial",
              "inverse_sqrt")  # fmt: skip


@dataclass(frozen=True)
class SftSettings:
    """How to fine-tune on instructions and responses.

    >>> SftSettings(max_length=1024, num_train_epochs=2).lr_scheduler_type
    'cosine'
    """

    template: str | None = None
    """How rows are written: a name of ``chat.templates`` ("gemma2", "llama3", ...), "alpaca" or "alpaca-ja", None for
    the tokenizer's own chat template. Use the same one to generate."""
    max_length: int = 2048
    """Most tokens of a row, and the size of a pack."""
    over_long: str = "drop"
    """One of :data:`OVER_LONG`."""
    response_only: bool = True
    """Learn the responses only; False: the prompts too."""
    packing: bool = True
    """Put several rows into one of ``max_length`` tokens, without attention between them; False: padded batches."""
    attention: str = "auto"
    """The attention implementation by transformers' name; "auto" takes the fastest one that keeps packed rows apart on
    this model and device, which is measured at the start."""
    group_by_length: bool = False
    """Without packing: rows of like length share a batch."""
    learning_rate: float = 2e-4
    """At its highest. 1e-4 to 3e-4 suit LoRA; full fine-tuning wants about a tenth of it."""
    lr_scheduler_type: str = "cosine"
    """A schedule of transformers: linear, cosine, constant_with_warmup, ..."""
    warmup_steps: float = 0.03
    """Linear warm-up: below 1 a share of all steps, else a number of steps."""
    weight_decay: float = 0.0
    """Of matrices; biases and norms have none."""
    optim: str = "adamw_torch_fused"
    """Optimizer, by transformers' name; "paged_adamw_8bit" takes a quarter of the memory (bitsandbytes, GPU)."""
    adam_beta1: float = 0.9
    """First-moment decay of Adam."""
    adam_beta2: float = 0.999
    """Second-moment decay of Adam."""
    adam_epsilon: float = 1e-8
    """Added to Adam's divisor."""
    max_grad_norm: float = 1.0
    """Gradients are cut to this norm; 0: never."""
    num_train_epochs: float = 1.0
    """Passes over the rows."""
    max_steps: int = -1
    """Optimizer steps instead of epochs; -1: epochs count."""
    per_device_train_batch_size: int = 1
    """Packs (without packing: rows) of one forward pass in training."""
    gradient_accumulation_steps: int = 8
    """Forward passes of one optimizer step; each token of a step counts the same, whatever pass it is in. Processes
    that a launcher starts share them, or the packs of each."""
    per_device_eval_batch_size: int = 2
    """Packs (without packing: rows) of one forward pass in evaluations."""
    neftune_noise_alpha: float | None = None
    """Noise on the embeddings in training (NEFTune); 5 is common. Scaled by each row's own length, packed or not."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass: less memory, about a third more time."""
    mixed_precision: str = "auto"
    """One of ``MIXED_PRECISION``: bf16 on GPUs that compute it in hardware, fp16 on older ones, none on a CPU."""
    eval_strategy: str = "steps"
    """When to evaluate, where there are rows for it: steps, epoch, no."""
    eval_steps: float = 0.25
    """For "steps": below 1 a share of all steps, else a number of steps."""
    eval_max_rows: int | None = 1000
    """Rows of an evaluation, the same ones every time; None: all of them."""
    save_strategy: str = "steps"
    """When to write a checkpoint: steps, epoch, no."""
    save_steps: float | None = None
    """For "steps", counted like ``eval_steps``; None: as often as evaluations."""
    load_best_model_at_end: bool = True
    """Keep the weights of the lowest evaluation loss, where there are rows to evaluate; False: the last."""
    early_stopping_patience: int | None = None
    """Stop after this many evaluations in a row without a lower loss; None: never."""
    early_stopping_threshold: float = 0.0
    """Lower has to be lower by more than this."""
    logging_steps: float = 0.02
    """Steps between points of the loss curve, counted like ``eval_steps``."""
    seed: int = 42
    """Of the adapter's weights, the order of rows, dropout and noise."""

    def __post_init__(self) -> None:
        if problems := [*_out_of_range(self), *_unknown(self), *_contradictions(self)]:
            raise ValueError("settings that cannot be trained with:\n" + "\n".join(f"  - {p}" for p in problems))

    def as_dict(self) -> dict[str, Any]:
        """All of them, fit for JSON."""
        return asdict(self)

    def without_evaluation(self) -> SftSettings:
        """The same for a run that has no rows to evaluate: the last weights are kept."""
        return replace(
            self,
            eval_strategy="no",
            load_best_model_at_end=False,
            early_stopping_patience=None,
            save_steps=self.save_steps or (self.eval_steps if self.save_strategy == "steps" else None),
        )

    def steps(self, steps_per_epoch: int) -> StepPlan:
        """Turn epochs and shares into whole optimizer steps.

        >>> SftSettings(num_train_epochs=2, warmup_steps=0.1).steps(50)
        StepPlan(total=100, warmup=10, evaluate=25, save=25, log=2)
        """
        return plan_steps(self, steps_per_epoch)


def _out_of_range(settings: SftSettings) -> list[str]:
    positive = ("max_length", "learning_rate", "num_train_epochs", "per_device_train_batch_size", "adam_epsilon",
                "per_device_eval_batch_size", "gradient_accumulation_steps", "eval_steps", "logging_steps")  # fmt: skip
    not_negative = ("warmup_steps", "weight_decay", "max_grad_norm", "early_stopping_threshold", "seed")
    above_none = ("neftune_noise_alpha", "save_steps", "eval_max_rows", "early_stopping_patience")
    rules = [(name, "above 0", getattr(settings, name) > 0) for name in positive]
    rules += [(name, "0 or more", getattr(settings, name) >= 0) for name in not_negative]
    rules += [(name, "None or above 0", (value := getattr(settings, name)) is None or value > 0) for name in above_none]
    shares = ("adam_beta1", "adam_beta2")
    rules += [(name, "at least 0 and below 1", 0 <= getattr(settings, name) < 1) for name in shares]
    rules += [("max_steps", "-1 or at least 1", settings.max_steps == -1 or settings.max_steps >= 1)]
    return [f"{name} is {getattr(settings, name)!r}, expected {expected}" for name, expected, ok in rules if not ok]


def _unknown(settings: SftSettings) -> list[str]:
    choices = {"mixed_precision": MIXED_PRECISION, "eval_strategy": _STRATEGIES, "save_strategy": _STRATEGIES,
               "lr_scheduler_type": _SCHEDULES, "over_long": OVER_LONG}  # fmt: skip
    return [
        f"{name} is {getattr(settings, name)!r}, expected one of {', '.join(known)}"
        for name, known in choices.items()
        if getattr(settings, name) not in known
    ]


def _contradictions(settings: SftSettings) -> list[str]:
    problems = []
    best = settings.load_best_model_at_end
    if best and settings.eval_strategy != "no" and settings.save_strategy == "no":
        problems.append("load_best_model_at_end needs checkpoints: set save_strategy, or load_best_model_at_end=False")
    if settings.early_stopping_patience is not None and (not best or settings.eval_strategy == "no"):
        problems.append("early_stopping_patience needs load_best_model_at_end and an eval_strategy")
    if settings.group_by_length and settings.packing:
        problems.append("group_by_length is for padded batches: set packing=False, or group_by_length=False")
    if settings.lr_scheduler_type == "constant" and settings.warmup_steps:
        problems.append('lr_scheduler_type "constant" has no warm-up: use "constant_with_warmup", or warmup_steps=0')
    return problems
