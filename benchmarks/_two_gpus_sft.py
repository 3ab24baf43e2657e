"""One process of the fine-tuning part of two_gpus.py: alone, or as torchrun starts it.

    python benchmarks/_two_gpus_sft.py FOLDER [--quick]

The rows and the model are those of sft.py (packed). A step has two passes of four packs: two processes take one each. A
short run comes first, which compiles.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import transformers
from sft import instruction_rows, random_llama, word_tokenizer

from kaggle_utils.training.lora import LoraSettings
from kaggle_utils.training.sft import train_sft
from kaggle_utils.training.sft_settings import SftSettings


def main(folder: Path, quick: bool) -> None:
    """Train twice; the first process writes what the second time gave."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    rank, tiny = int(os.environ.get("RANK", "0")), not torch.cuda.is_available()
    if tiny:
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    longest = 256 if tiny else 2048
    count = 48 if tiny else 400 if quick else 2000
    rows = instruction_rows(count, longest=min(1536, longest), median=40 if tiny else 220)
    settings = SftSettings(
        template="chatml", max_length=longest, gradient_accumulation_steps=2,
        per_device_train_batch_size=1 if tiny else 4, save_strategy="no",
        load_best_model_at_end=False, logging_steps=0.25,
    )  # fmt: skip
    tokenizer, result = word_tokenizer(), None
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("warm", rows[: 12 if tiny else 120]), ("run", rows)):
        result = train_sft(random_llama(tiny), part, output_dir=folder / name, settings=settings,
                           lora=LoraSettings(r=16), tokenizer=tokenizer, progress=False)  # fmt: skip
    if rank == 0:
        measured = {name: getattr(result, name) for name in ("tokens_per_second", "seconds", "steps", "train_loss",
                                                             "attention", "peak_gib")}  # fmt: skip
        (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--quick" in sys.argv)
