"""DeBERTa-v3-large: the notebook's training and prediction against ours, on the same rows and the same weights.

Random weights at the real shape, row lengths as in LMSYS, cut at 512 tokens. Both sides train with transformers'
Trainer. The notebook pads every row to 512, trains in float16 with eager attention and predicts in float32 with the
Trainer's batch of 8; ours is the Trainer of ``run_kfold``: rows grouped by length and packed, bfloat16 over float32
weights, fused attention in compiled layers. It predicts through the engine in bfloat16.

    python benchmarks/deberta.py            # one H100; about 3 minutes
    python benchmarks/deberta.py --quick    # fewer rows; a tiny model on a CPU
"""

from __future__ import annotations

import copy
import gc
import json
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from _judges import lmsys_rows, matmul_rate
from _report import benchmark_parser, save

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.models.packed import PackedClassifier
from kaggle_utils.models.packed_deberta import pack_deberta
from kaggle_utils.training.fold_batches import EncodedRows, LengthGroupedBatches
from kaggle_utils.training.fold_trainer import fold_trainer, training_arguments
from kaggle_utils.training.kfold_settings import KFoldSettings

LONGEST = 512
BATCH = 32
LARGE = {"vocab_size": 128100, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
         "intermediate_size": 4096}  # fmt: skip
TINY = {"vocab_size": 1000, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 256}  # fmt: skip


def random_model(tiny: bool) -> torch.nn.Module:
    """microsoft/deberta-v3-large's config (or a tiny one) with transformers' own initialisation, float32."""
    config = transformers.DebertaV2Config(
        **(TINY if tiny else LARGE), max_position_embeddings=512, relative_attention=True, position_buckets=256,
        norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0,
        position_biased_input=False, layer_norm_eps=1e-7, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.DebertaV2ForSequenceClassification(config)


def linear_parameters(model: torch.nn.Module) -> int:
    """Weights of the encoder layers' matrices; a token costs two operations for each, three times that in training."""
    return sum(p.numel() for name, p in model.named_parameters() if ".layer." in name and p.ndim == 2)


class Rows(torch.utils.data.Dataset):
    """What the Trainer takes, padded to the longest at once, as the notebook's tokenisation does."""

    def __init__(self, rows: Sequence[np.ndarray], longest: int) -> None:
        self._rows, self._longest = rows, longest

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        filler = self._longest - len(row)
        mask = np.pad(np.ones(len(row), np.int64), (0, filler))
        return {"input_ids": np.pad(row, (0, filler)), "attention_mask": mask, "labels": index % 3}


class EpochTimer(transformers.TrainerCallback):
    """Seconds of each epoch, the device's queue included."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._mark()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._mark()

    def _mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [end - begin for begin, end in zip(self._marks[::2], self._marks[1::2], strict=True)]


class Bench:
    """One device and one set of rows."""

    def __init__(self, quick: bool) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tiny = self.device == "cpu"
        self.longest, self.batch = (96, 8) if self.tiny else (LONGEST, BATCH)
        self.model = random_model(self.tiny)
        count = 16 if self.tiny else self.batch * (4 if quick else 24)
        self.rows = lmsys_rows(count, self.model.config.vocab_size, longest=self.longest)
        self.tokens = sum(map(len, self.rows))
        self.losses: dict[str, list[float]] = {"theirs": [], "ours": []}  # of runs; labels mean nothing, so alike
        self.rate = matmul_rate(self.device)
        self.flops = 2.0 * linear_parameters(self.model)
        filled = self.tokens / (len(self.rows) * self.longest)
        print(f"{self.device}: {self.rate / 1e12:.1f} TFLOP/s; {len(self.rows)} rows of at most {self.longest} tokens, "
              f"{filled:.0%} of them real; {self.flops / 1e9:.3f} GFLOP a token")  # fmt: skip

    def mfu(self, seconds: float, passes: int) -> float:
        """Share of the measured product rate that real tokens' linear layers took."""
        return passes * self.flops * self.tokens / seconds / self.rate

    def show(self, what: str, seconds: float, passes: int) -> None:
        gib = "" if self.tiny else f"  {peak_gib():5.1f} GiB"
        rate, mfu = self.tokens / seconds, self.mfu(seconds, passes)
        print(f"  {what:44} {rate:10.0f} tokens/s  MFU {mfu:.3f}{gib}", flush=True)

    def train(self, ours: bool, *, batches: int = 1) -> float:
        """Seconds of one epoch, the median after the first, in which the compiler meets its shapes."""
        fresh_memory()
        timer = EpochTimer()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._ours(Path(folder), batches) if ours else self._theirs(folder)
            trainer.add_callback(timer)
            self.losses["ours" if ours else "theirs"].append(round(trainer.train().training_loss, 4))
        return float(np.median(timer.seconds[1:]))

    @property
    def _epochs(self) -> int:
        return 2 if self.tiny else 4

    def _theirs(self, folder: str) -> transformers.Trainer:
        """The notebook's Trainer."""
        arguments = transformers.TrainingArguments(
            folder, num_train_epochs=self._epochs, per_device_train_batch_size=self.batch, learning_rate=1e-5,
            weight_decay=0.01, warmup_steps=2, save_strategy="no", report_to="none", logging_strategy="no",
            use_cpu=self.tiny, disable_tqdm=True, seed=0, fp16=not self.tiny,
        )  # fmt: skip
        return transformers.Trainer(
            copy.deepcopy(self.model), arguments, train_dataset=Rows(self.rows, self.longest),
            data_collator=transformers.default_data_collator,
        )  # fmt: skip

    def _ours(self, folder: Path, batches: int) -> transformers.Trainer:
        """What ``run_kfold`` trains a fold with."""
        settings = KFoldSettings(
            num_train_epochs=self._epochs, per_device_train_batch_size=batches * self.batch, learning_rate=1e-5,
            weight_decay=0.01, warmup_steps=2, eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
            logging_steps=1_000_000,
        )  # fmt: skip
        grouped = LengthGroupedBatches(
            [np.array(list(map(len, self.rows)))], batch_size=settings.per_device_train_batch_size, seed=0
        )
        arguments = training_arguments(
            settings, settings.steps(len(grouped)), folder=folder, seed=0, precision="no" if self.tiny else "bf16",
            cpu=self.tiny,
        )  # fmt: skip
        return fold_trainer(
            pack_deberta(copy.deepcopy(self.model)), arguments, settings, batches=grouped,
            train_rows=EncodedRows([self.rows], [np.arange(len(self.rows)) % 3]), eval_rows=None,
            report=lambda *_: None,
        )  # fmt: skip

    def predict_theirs(self) -> tuple[float, np.ndarray]:
        """The notebook's ``Trainer(model).predict``: float32, batches of 8, everything padded."""
        fresh_memory()
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(folder, report_to="none", use_cpu=self.tiny, disable_tqdm=True)
            trainer = transformers.Trainer(self.model, arguments)
            data = Rows(self.rows, self.longest)
            trainer.predict(torch.utils.data.Subset(data, range(8)))
            return self._timed(lambda: trainer.predict(data).predictions, times=1)

    def predict_ours(self) -> tuple[float, np.ndarray]:
        """The engine over packed rows, bfloat16 weights."""
        fresh_memory()
        model = copy.deepcopy(self.model).to(self.device, torch.float32 if self.tiny else torch.bfloat16)
        scorer = PackedClassifier(model, max_tokens=2048 if self.tiny else 32_768, compile=not self.tiny)
        spec = ScorerSpec("ours", lambda *, device: scorer, padded=scorer.padded)
        run = lambda: score_rows(  # noqa: E731
            self.rows, [spec], devices=[self.device], workers="threads", max_tokens=scorer.max_tokens, progress=False
        ).logits["ours"]
        run()  # compiles
        return self._timed(run, times=3)

    def _timed(self, run: Any, *, times: int) -> tuple[float, np.ndarray]:
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            logits = run()
            seconds.append(time.perf_counter() - started)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        return float(np.median(seconds)), odds / odds.sum(axis=1, keepdims=True)


def fresh_memory() -> None:
    """Drop what is unused and forget the peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def measure(bench: Bench) -> dict[str, float]:
    """All figures; the notebook's way first."""
    figures: dict[str, float] = {}
    seconds, peaks = {}, {}
    for name, ours in (("theirs", False), ("ours", True)):
        seconds[name] = bench.train(ours)
        peaks[name] = peak_gib()
        what = "ours: packed, fused, compiled, bf16" if ours else "the notebook: padded to 512, eager, fp16"
        bench.show(f"train, {what}", seconds[name], 3)
        print(f"    mean loss {bench.losses[name][-1]:.4f}")
    figures |= {"train_speedup": seconds["theirs"] / seconds["ours"], "train_mfu": bench.mfu(seconds["ours"], 3),
                "train_mfu_notebook": bench.mfu(seconds["theirs"], 3),
                "train_gib": peaks["ours"], "train_gib_notebook": peaks["theirs"]}  # fmt: skip
    if not bench.tiny:  # where launching a step takes longer than computing it, a larger one hides that
        double = bench.train(ours=True, batches=2)
        bench.show("train, ours: the same, 64 rows a step", double, 3)
        figures["train_speedup_64_rows"] = seconds["theirs"] / double
        figures["train_gib_64_rows"] = peak_gib()
    slow, exact = bench.predict_theirs()
    peaks["theirs"] = peak_gib()
    bench.show("predict, the notebook: Trainer, float32, 8", slow, 1)
    fast, close = bench.predict_ours()
    bench.show("predict, ours: engine, packed, bfloat16", fast, 1)
    figures |= {"predict_speedup": slow / fast, "predict_mfu": bench.mfu(fast, 1),
                "predict_mfu_notebook": bench.mfu(slow, 1), "max_abs_dp": float(np.abs(exact - close).max()),
                "predict_gib": peak_gib(), "predict_gib_notebook": peaks["theirs"]}  # fmt: skip
    return {name: round(value, 4) for name, value in figures.items()}


def main() -> None:
    """Measure, print, and save a full run."""
    args = benchmark_parser(__doc__.splitlines()[0]).parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with more in sight the Trainer would cut each batch up
    bench = Bench(args.quick)
    figures = measure(bench)
    if not args.quick and not bench.tiny:
        headline = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        save("deberta", figures, headline=headline, packages=("torch", "transformers", "accelerate", "triton"),
             details={"rows": len(bench.rows), "tokens": bench.tokens, "batch": bench.batch,
                      "train_loss": bench.losses})  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
