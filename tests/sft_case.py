"""A small fine-tuning run with everything on, the same in every process, and a hook that kills it in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kaggle_utils.training.lora import LoraSettings
from kaggle_utils.training.sft import train_sft
from kaggle_utils.training.sft_settings import SftSettings

KILLED_STEP = 9

ROWS = [
    {"instruction": f"Is {name} a living thing?", "output": answer}
    for name, answer in [("a fox", "Yes, it is."), ("a thing", "No."), ("a person", "Yes, a person is."),
                         ("the keyword", "No, it is a word."), ("a dog", "Yes."), ("a place", "No, never.")]
] * 4  # fmt: skip
HELD_OUT = ROWS[:6]


def case_settings(**changes) -> SftSettings:
    """12 steps in four epochs, checkpoints after 4, 8 and 12, noise and dropout on."""
    return SftSettings(**{
        "max_length": 96, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "num_train_epochs": 2,
        "max_steps": 12, "eval_steps": 4, "learning_rate": 5e-3, "neftune_noise_alpha": 5.0, "logging_steps": 1,
        "weight_decay": 0.01, **changes,
    })  # fmt: skip


def run_case(model: Path, folder: Path, **changes):
    """Run it, or what is left of it."""
    import torch

    torch.set_num_threads(1)
    lora = LoraSettings(r=4, lora_dropout=0.1, target_modules=("q_proj", "v_proj", "down_proj"))
    given = {"settings": case_settings(), "lora": lora, "eval": HELD_OUT, "progress": False, **changes}
    return train_sft(model, ROWS, output_dir=folder, **given)


def run_and_die(model: Path, folder: Path) -> None:
    """Run it in a process of its own, until the backward pass of a step kills that."""
    _die_in_step(KILLED_STEP)
    run_case(model, folder)


def _die_in_step(step: int) -> None:
    """Kill this process in the backward pass of a step."""
    from accelerate import Accelerator

    plain, passes = Accelerator.backward, iter(range(2 * step - 1))

    def backward(self, loss, **options):
        if next(passes, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, loss, **options)

    Accelerator.backward = backward
