"""The ``TrainingArguments`` that every training of ours has, under names that transformers 4.57 and 5 both know.

It promises that nothing in a step waits for the device, that checkpoints carry what a resumed run needs, and that
transformers prints and reports nothing by itself. What only folds or only fine-tuning set is added there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaggle_utils.training.kfold_settings import StepPlan
from kaggle_utils.training.step_shares import StepShare

__all__ = ["shared_arguments"]

_SAME = ("learning_rate", "lr_scheduler_type", "weight_decay", "optim", "adam_beta1", "adam_beta2", "adam_epsilon",
         "max_grad_norm", "per_device_eval_batch_size")  # fmt: skip


def shared_arguments(
    settings: Any, plan: StepPlan, *, folder: Path, precision: str, cpu: bool, share: StepShare
) -> dict[str, Any]:
    """Return keywords of ``TrainingArguments``.

    Args:
        settings: of the run, under transformers' names.
        plan: its steps.
        folder: where checkpoints go.
        precision: bf16, fp16 or no.
        cpu: do not use a GPU.
        share: of several processes that train together.
    """
    return {
        "output_dir": str(folder),
        **{name: getattr(settings, name) for name in _SAME},
        "per_device_train_batch_size": settings.per_device_train_batch_size // share.splits,
        "gradient_accumulation_steps": share.passes_each,
        "max_steps": plan.total,
        "warmup_steps": plan.warmup,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": cpu,
        "eval_strategy": "steps" if plan.evaluate else "no",
        "eval_steps": plan.evaluate,
        "save_strategy": "steps" if plan.save else "no",
        "save_steps": plan.save or plan.total,
        "logging_steps": plan.log,
        "logging_nan_inf_filter": False,  # it waits for the device in every step, and hides what diverged
        "restore_callback_states_from_checkpoint": True,  # else early stopping would count anew after a resume
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_pin_memory": not cpu,
        "accelerator_config": {"non_blocking": not cpu},  # else each batch's copy waits for the step before it
        "ddp_find_unused_parameters": False if share.processes > 1 else None,  # a walk in every step, to find none
        "disable_tqdm": True,
        "report_to": [],
    }
