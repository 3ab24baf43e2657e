"""Fine-tuning with rows packed against rows padded: tokens of rows a second, same Trainer, same rows, same model.

Random weights at the shape of SmolLM2-1.7B with LoRA on every linear layer in bfloat16, rows as long as Japanese
instructions with their answers (log-normal, median 220 tokens). The padded side is what plain fine-tuning does: rows in
random order, each batch padded to its longest. Both sides see about as many real tokens in a step and recompute
activations (gradient checkpointing), without which the padded side does not fit. Filler counts for neither.

    python benchmarks/sft.py            # one H100; about 2 minutes
    python benchmarks/sft.py --quick    # fewer rows; a tiny model on a CPU
"""

from __future__ import annotations

import gc
import json
import tempfile
import warnings
from typing import Any

import numpy as np
import torch
import transformers
from _report import benchmark_parser, save

from kaggle_utils.training.lora import LoraSettings
from kaggle_utils.training.sft import train_sft
from kaggle_utils.training.sft_result import SftResult
from kaggle_utils.training.sft_settings import SftSettings

SMOLLM2_2B = {"vocab_size": 49152, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
              "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 64}  # fmt: skip
TINY = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
WORDS = 2000
CONTROL = ["<|im_start|>", "<|im_end|>", "<unk>", "system", "user", "assistant"]


def word_tokenizer() -> Any:
    """One token a word, so that rows have the lengths that they are meant to have."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = [*CONTROL, *(f"w{i}" for i in range(WORDS))]
    core = Tokenizer(models.WordLevel({text: number for number, text in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<|im_end|>",
                                                   pad_token="<unk>")  # fmt: skip
    wrapped.add_special_tokens({"additional_special_tokens": CONTROL[:2]})
    return wrapped


def instruction_rows(count: int, *, longest: int, median: float) -> list[dict[str, str]]:
    """Instructions of a fifth to two fifths of a row, and answers of random words."""
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.normal(np.log(median), 0.75, count)).clip(16, longest - 12).astype(int)
    rows = []
    for length in lengths:
        words = [f"w{i}" for i in generator.integers(0, WORDS, length)]
        asked = max(4, int(length * generator.uniform(0.2, 0.4)))
        rows.append({"instruction": " ".join(words[:asked]), "output": " ".join(words[asked:])})
    return rows


def random_llama(tiny: bool) -> torch.nn.Module:
    """A Llama with transformers' own initialisation, where it is trained."""
    config = transformers.LlamaConfig(**(TINY if tiny else SMOLLM2_2B), max_position_embeddings=8192,
                                      tie_word_embeddings=True)  # fmt: skip
    torch.manual_seed(0)
    if not torch.cuda.is_available():
        return transformers.LlamaForCausalLM(config)
    with torch.device("cuda"):
        return transformers.LlamaForCausalLM(config).to(torch.bfloat16)


class Bench:
    """One device and one set of rows."""

    def __init__(self, quick: bool) -> None:
        self.tiny = not torch.cuda.is_available()
        self.longest, self.packs = (256, 4) if self.tiny else (2048, 4)
        self.batch = 8 if self.tiny else 32
        if self.tiny:
            torch.set_num_threads(1)  # threads would only wait for each other
        self.rows = instruction_rows(96 if self.tiny else 400 if quick else 1600, longest=min(1536, self.longest),
                                     median=40 if self.tiny else 220)  # fmt: skip
        self.tokenizer = word_tokenizer()

    def train(self, packing: bool, *, rows: int | None = None) -> SftResult:
        """Train on the first ``rows``, one epoch."""
        settings = SftSettings(
            template="chatml", max_length=self.longest, packing=packing, gradient_accumulation_steps=1,
            per_device_train_batch_size=self.packs if packing else self.batch, save_strategy="no",
            load_best_model_at_end=False, logging_steps=0.25, gradient_checkpointing=not self.tiny,
        )  # fmt: skip
        fresh_memory()
        with tempfile.TemporaryDirectory() as folder:
            return train_sft(random_llama(self.tiny), self.rows[:rows], output_dir=folder, settings=settings,
                             lora=LoraSettings(r=16), tokenizer=self.tokenizer, progress=False)  # fmt: skip


def fresh_memory() -> None:
    """Drop what is unused and forget the peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure(bench: Bench) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures and details; each side is warmed up on a few steps first."""
    results = {}
    for name, packing in (("padded", False), ("packed", True)):
        bench.train(packing, rows=16 if bench.tiny else 160)
        results[name] = bench.train(packing)
        found = results[name]
        print(f"{name:7} {found.tokens_per_second:>10,.0f} tokens/s  {found.steps} steps in {found.seconds:.1f} s, "
              f"last loss {found.train_loss:.3f}, {found.attention}")  # fmt: skip
    packed, padded = results["packed"], results["padded"]
    figures = {
        "sft_packing_speedup": round(packed.tokens_per_second / padded.tokens_per_second, 3),
        "sft_tokens_per_second": packed.tokens_per_second,
        "sft_tokens_per_second_padded": padded.tokens_per_second,
        "sft_gib": packed.peak_gib or 0.0,
        "sft_gib_padded": padded.peak_gib or 0.0,
    }
    details = {"rows": packed.data["train"]["used"], "tokens": packed.data["train"]["tokens"],
               "attention": packed.attention, "attention_padded": padded.attention,
               "steps": packed.steps, "steps_padded": padded.steps}  # fmt: skip
    return figures, details


def main() -> None:
    """Measure, print, and save a full run."""
    args = benchmark_parser(__doc__.splitlines()[0]).parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    bench = Bench(args.quick)
    figures, details = measure(bench)
    if not args.quick and not bench.tiny:
        headline = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        save("sft", figures, headline=headline, packages=("torch", "transformers", "accelerate", "peft"),
             details=details)  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
