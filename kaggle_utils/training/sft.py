"""Supervised fine-tuning: instructions and responses in, an adapter (or a model) that answers like them out.

It promises that a run which is killed goes on from its last checkpoint and ends, on a CPU, with the same weights bit by
bit; that a folder never holds two different runs; that disk use is bounded and checked first; and that settings,
versions, log and loss curve lie beside the result. Packing, template and end tokens are decided once, in ``sft_*.py``.

    result = train_sft("/kaggle/input/gemma-2-2b", "rows.jsonl", output_dir="run", eval="held_out.jsonl",
                       settings=SftSettings(template="gemma2", max_length=1024), lora=LoraSettings(quantization="nf4"))
    merge_and_save(result.model_folder, "/kaggle/input/gemma-2-2b", "merged")
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kaggle_utils.training.fold_workers import log_to
from kaggle_utils.training.lora import LoraSettings
from kaggle_utils.training.run_folder import alone, without_bars
from kaggle_utils.training.sft_data import encode_rows
from kaggle_utils.training.sft_model import BaseModel
from kaggle_utils.training.sft_prompts import sft_template
from kaggle_utils.training.sft_result import SftResult, read_sft
from kaggle_utils.training.sft_run import SftRun
from kaggle_utils.training.sft_settings import SftSettings
from kaggle_utils.training.team import Team, join_team, training_device

__all__ = ["Rows", "train_sft"]

_logger = logging.getLogger(__name__)

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A .jsonl file, or rows."""


def train_sft(
    model: Any,
    train: Rows,
    *,
    output_dir: str | os.PathLike[str],
    eval: Rows | None = None,
    settings: SftSettings | None = None,
    lora: LoraSettings | None = None,
    tokenizer: Any = None,
    fields: Mapping[str, str] | None = None,
    device_map: Any = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> SftResult:
    """Train, or go on where an earlier call with the same arguments stopped; a finished run is only read.

    Under ``torchrun`` or ``accelerate launch`` every process calls it with the same arguments and trains on its share
    of each step on its own GPU (DDP, or FSDP where the launcher says so); the first one writes, and all return the same
    result. An optimizer step has the same rows whatever the number of processes, so the loss curve is that of one
    process (but for dropout and noise, which each draws for itself): processes share the
    ``gradient_accumulation_steps`` passes of a step, or the rows of a pass. A run may go on with another number of
    processes. Several hosts need an ``output_dir`` that all share.

    Args:
        model: the folder of a causal language model, or one in memory (give its ``tokenizer``; it is changed).
        train: a .jsonl file, or rows; see :func:`~kaggle_utils.training.sft_data.read_conversation`.
        output_dir: of the run; made where it is not there.
        eval: rows that are held out, for the best weights and early stopping.
        settings: how to train.
        lora: train an adapter, over weights that may be quantised; None: train all weights.
        tokenizer: None: the folder's own.
        fields: names of the parts of a row, where they are not the usual ones.
        device_map: where the model lies; None: on this process's GPU, else the CPU.
        about: plain values that decide the rows, such as the filter's settings; kept with the results.
        progress: bars.

    Raises:
        ValueError: rows, names or settings that do not fit, before anything is trained.
        TeamError: under a launcher: another process failed, was given other rows, or does not see the folder.
        RunMismatchError: the folder holds a run of other rows, settings or weights.
        OSError: too little disk.
        RuntimeError: another process trains in this folder.
    """
    settings = settings or SftSettings()
    base = BaseModel(model, tokenizer)
    device, automatic = training_device()
    precision = automatic if settings.mixed_precision == "auto" else settings.mixed_precision
    if eval is None:
        settings = settings.without_evaluation()
    encoding = {"tokenizer": base.tokenizer, "template": sft_template(base.tokenizer, settings.template),
                "settings": settings, "fields": fields, "progress": progress}  # fmt: skip
    rows = encode_rows(train, **encoding)
    held_out = encode_rows(eval, **encoding) if eval is not None else None
    place = Path(output_dir)
    team = join_team(device)
    run = SftRun(
        place, base, rows, held_out, settings, lora, precision, device_map or _first_place(team), team, progress
    )
    with contextlib.ExitStack() as held, without_bars():
        team.first(lambda: _hold(held, place))
        run.claim(about)
        _logger.info("rows to train on: %s", rows.report.to_text())
        if not team.first(lambda: read_sft(place) is not None):
            run.train()
        team.check_shared(place / "result.json")
        result = read_sft(place)
        assert result is not None
        _logger.info("%s", result.to_text())
    return result


def _first_place(team: Team) -> str:
    """Where weights are loaded: parts of them go to the devices from there, where no device holds all of them."""
    return "cpu" if team.sharded else team.device


def _hold(held: contextlib.ExitStack, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    held.enter_context(log_to(place / "run.log"))
    held.enter_context(alone(place))
