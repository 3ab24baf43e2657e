"""Cells of a knowledge table a second: prompts that share their beginnings against one prompt at a time.

On a GPU the shape of Gemma 2 2B with random weights in bfloat16 and a tokenizer trained on the spot; on a CPU the small
real model of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import ROOT

from kaggle_utils.inference.generation import HFGenerator
from kaggle_utils.inference.prefix_yes_no import PrefixYesNo
from kaggle_utils.q20.answerer.prompts import PROMPTS
from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.compiler import CellSource, compile_cells
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["gemma_generator", "question_texts", "small_generator", "speed"]

_SUBJECTS = [
    "a living thing", "made of metal", "made of wood", "a kind of food", "bigger than a car", "found in a kitchen",
    "used outdoors", "something that flies", "older than a hundred years", "expensive", "an animal with fur", "a tool",
    "a place that tourists visit", "something you can wear", "electronic", "found in the sea",
]  # fmt: skip
_FRAMES = ["Is it {}?", "Would most people say that it is {}?", "Could it be mistaken for {}?", "Is part of it {}?"]


def question_texts() -> list[str]:
    """64 questions of the usual length."""
    return [frame.format(subject) for frame in _FRAMES for subject in _SUBJECTS]


def small_generator() -> HFGenerator:
    """The real model of the tests, float32 on the CPU."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "small_model.py")], capture_output=True, text=True, check=True
    )
    return HFGenerator.from_folder(done.stdout.strip().splitlines()[-1], device_map="cpu", dtype="float32")


def gemma_generator(*, layers: int = 26, device: str = "cuda:0") -> HFGenerator:
    """Gemma 2 2B's shape with random weights in bfloat16, and a tokenizer trained on the questions."""
    import torch
    import transformers

    config = transformers.Gemma2Config(
        vocab_size=256_000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    finally:
        torch.set_default_dtype(torch.float32)
    return HFGenerator(model.eval(), _tokenizer(), template="gemma2", batch_size=64)


def speed(quick: bool, *, generator: HFGenerator | None = None) -> tuple[dict[str, float], list[str]]:
    """Return cells a second three ways, their ratios and the largest difference of P(yes)."""
    import torch

    on_gpu = torch.cuda.is_available()
    generator = generator or (gemma_generator() if on_gpu else small_generator())
    things, single, warm = (200, 128, 64) if on_gpu else (4, 16, 4)
    things, single = (things // 4, single // 4) if quick else (things, single)
    table = _table(things)
    asked = [
        PROMPTS["named"].conversation(word, kind, text)
        for word, kind in zip(table.objects.words, table.objects.categories, strict=True)
        for text in table.bank.texts
    ]
    scorer = PrefixYesNo(generator)
    scorer.yes_no(asked[:warm])  # compared with the plain way
    generator.yes_no(asked[:warm])
    step = np.random.default_rng(0).permutation(len(asked))[:single].tolist()
    alone, one = _timed(lambda: [generator.yes_no([asked[index]])[0] for index in step])
    batched, some = _timed(lambda: generator.yes_no(asked[: 2 * single]))
    with tempfile.TemporaryDirectory() as folder, CellJournal(Path(folder) / "cells.db") as journal:
        source = CellSource("benchmark", scorer)
        report = compile_cells(table, source, journal, batch=2048, progress=False)
        shared = journal.read(source.key, table.objects.words, table.bank.texts).ravel()
    figures = {
        "compile_cells_per_s": report.cells_per_second,
        "plain_batched_cells_per_s": len(some) / batched,
        "one_at_a_time_cells_per_s": len(one) / alone,
        "prefix_vs_one_at_a_time": report.cells_per_second * alone / len(one),
        "prefix_vs_batched": report.cells_per_second * batched / len(some),
        "prefix_largest_difference": float(np.abs(shared[step] - np.array(one)).max()),
        "prefix_packed": float(bool(scorer.packs)),
    }
    return figures, [f"{name:28} {value:10.4g}" for name, value in figures.items()]


def _timed(run: Callable[[], list[float]]) -> tuple[float, list[float]]:
    start = time.perf_counter()
    values = run()  # P(yes) come back as Python floats: nothing is still running on the GPU
    return time.perf_counter() - start, values


def _table(things: int) -> KnowledgeTable:
    keywords = load_keywords()[:things]
    objects = Objects([Thing(row.word, row.alts, row.category) for row in keywords])
    bank = QuestionBank([BankQuestion(text, "benchmark") for text in question_texts()])
    return KnowledgeTable(objects, bank, np.full((len(objects), len(bank)), 128, dtype=np.uint8))


def _tokenizer() -> Any:
    """A byte-level BPE with Gemma's control tokens; about as many tokens a question as the real one."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    words = [row.word for row in load_keywords()]
    corpus = [*question_texts(), *words, *(prompt.instruction for prompt in PROMPTS.values()), "yes no Yes No model"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(corpus * 4, trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet))
    control = ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"]
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
