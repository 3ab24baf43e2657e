"""Two LLM judges on one device: the notebook's loop against the engine, on the same rows and the same weights.

Random weights at the shapes of Gemma-2-9B and Llama-3-8B, row lengths as in LMSYS. Three comparisons each:
exact (the notebook's 4- or 8-bit weights expanded once with the adapter merged, bfloat16, packed, compiled), fp8, and
the users' hardware emulated (float16, 15 GiB, no flex attention, no varlen kernels, no bfloat16).

    python benchmarks/preference.py            # one H100; about 6 minutes
    python benchmarks/preference.py --quick    # fewer rows; tiny models on a CPU
"""

from __future__ import annotations

import gc
import json
import warnings

import _judges
import numpy as np
import torch
from _judges import flops_per_token, lmsys_rows, matmul_rate, notebook_loop, quantise, random_judge, with_lora
from _report import benchmark_parser, save

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.models.attention import PATHS, choose_attention
from kaggle_utils.models.fp8 import fp8_supported, to_fp8
from kaggle_utils.models.gelu import use_sigmoid_gelu
from kaggle_utils.models.nf4 import expand_layers, fold_nf4
from kaggle_utils.models.packed import PackedClassifier

CAP_GIB = 15.0
T4_PATHS = tuple(path for path in PATHS if path not in ("flex", "varlen"))


class Bench:
    """One device, one set of rows, and the figures as they come."""

    def __init__(self, quick: bool) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tiny = self.device == "cpu"
        self.rows = lmsys_rows(8 if self.tiny else 64 if quick else 320, 2000 if self.tiny else 120_000)
        self.tokens = sum(map(len, self.rows))
        self.rate = matmul_rate(self.device)
        self.figures: dict[str, float] = {}
        mean = self.tokens / len(self.rows)
        print(f"{self.device}: {self.rate / 1e12:.1f} TFLOP/s; {len(self.rows)} rows, mean {mean:.0f} tokens")

    def show(self, what: str, seconds: float, flops: float) -> float:
        """Print one line; returns rows a second."""
        speed = len(self.rows) / seconds
        peak = "" if self.tiny else f"  {torch.cuda.max_memory_allocated() / 2**30:5.1f} GiB"
        print(f"  {what:46} {speed:7.1f} rows/s  MFU {self.mfu(seconds, flops):.3f}{peak}", flush=True)
        return speed

    def mfu(self, seconds: float, flops: float) -> float:
        """Share of the measured product rate that real tokens' linear layers took."""
        return self.tokens * flops / seconds / self.rate

    def engine(self, model, what: str, flops: float, **options) -> tuple[float, np.ndarray]:
        """Seconds and probabilities of our engine, best of two after a warm-up (as the notebook's loop is warm)."""
        scorer = PackedClassifier(model, max_tokens=8192, **options)
        spec = ScorerSpec(what, lambda *, device: scorer, padded=scorer.padded)
        seconds = []
        for _ in range(3):
            with _judges.Timer(self.device) as timer:
                result = score_rows(self.rows, [spec], devices=[self.device], workers="threads", progress=False)
            seconds.append(timer.seconds)
        self.show(f"{what} ({scorer.path.name})", min(seconds[1:]), flops)
        logits = result.logits[what].astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return min(seconds[1:]), odds / odds.sum(axis=1, keepdims=True)


def fresh_memory(device: str, cap_gib: float | None = None) -> None:
    """Drop what is unused, forget compiled graphs and peaks, and cap the device's memory."""
    gc.collect()
    torch._dynamo.reset()
    if device == "cpu":
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, cap_gib * 2**30 / total) if cap_gib else 1.0)


def judge(bench: Bench, kind: str) -> None:
    """All comparisons of one model."""
    print(f"{kind}: {'tiny' if bench.tiny else 'full'} shape")
    device, flops_of = bench.device, {}
    how = "nf4" if kind == "gemma" else "int8"
    model = random_judge(kind, device=device, tiny=bench.tiny)
    flops = flops_of[kind] = flops_per_token(model)
    notebook = with_lora(quantise(model, how, device), kind)
    fresh_memory(device)
    notebook_loop(notebook, bench.rows[:8], device)
    baseline, theirs = notebook_loop(notebook, bench.rows, device)
    bench.show(f"the notebook's loop ({how}, unmerged LoRA)", baseline, flops)
    _, again = notebook_loop(notebook, bench.rows, device, descending=False, batch=3)  # the same rows, padded otherwise
    noise = float(np.abs(theirs - again).max())

    if kind == "llama":  # LLM.int8 gains nothing from packs; on a small card nf4 is the choice
        small = with_lora(quantise(random_judge(kind, device=device, tiny=bench.tiny), "nf4", device), kind)
    else:
        small = notebook
    t4(bench, kind, small, baseline, flops)
    if kind == "llama":
        del small
    fresh_memory(device)

    dense = notebook.get_base_model()
    expand_layers(dense, dtype=torch.float32 if bench.tiny else torch.bfloat16)
    dense = dense.to(torch.float32 if bench.tiny else torch.bfloat16)
    use_sigmoid_gelu(dense)
    fresh_memory(device)
    seconds, ours = bench.engine(dense, "ours, exact", flops, compile=not bench.tiny)
    bench.figures |= {
        f"speedup_{kind}": baseline / seconds,
        f"mfu_{kind}": bench.mfu(seconds, flops),
        f"mfu_notebook_{kind}": bench.mfu(baseline, flops),
        f"max_abs_dp_{kind}": float(np.abs(ours - theirs).max()),
        f"padded_runs_dp_{kind}": noise,
    }
    peers(bench, kind, dense, flops, seconds)
    if kind == "gemma":
        fp8(bench, dense, baseline, ours, flops)


def t4(bench: Bench, kind: str, model, baseline: float, flops: float) -> None:
    """The engine as it would run on one T4: float16, 15 GiB, neither flex nor varlen kernels."""
    base = model.get_base_model()
    fold_nf4(base)
    use_sigmoid_gelu(base)
    fresh_memory(bench.device, CAP_GIB)
    path = choose_attention(base.config, capability=(7, 5), allow=T4_PATHS)
    seconds, _ = bench.engine(base, "ours, T4 profile", flops, path=path, compile=not bench.tiny)
    bench.figures[f"speedup_t4_{kind}"] = baseline / seconds
    if not bench.tiny:
        peak = torch.cuda.max_memory_allocated() / 2**30
        bench.figures["peak_gib_t4"] = max(peak, bench.figures.get("peak_gib_t4", 0.0))


def peers(bench: Bench, kind: str, dense, flops: float, seconds: float) -> None:
    """What a user would pick instead, on the same rows and the same bfloat16 weights."""
    from transformers.models.gemma2 import modeling_gemma2  # noqa: F401 (loaded, so that "eager" is known)

    for layer in dense.model.layers:
        layer._compiled_call_impl = None
    for config in (dense.config, dense.model.config):
        config._attn_implementation = "eager" if kind == "gemma" else "sdpa"
    fresh_memory(bench.device)
    for name, run in (("Trainer.predict", _judges.trainer_predict), ("CrossEncoder's loop", _judges.cross_encoder)):
        try:
            took = run(dense, bench.rows, bench.device)
        except torch.cuda.OutOfMemoryError:
            print(f"  {name}: out of memory")
            fresh_memory(bench.device)
            continue
        bench.show(f"{name} (bf16, merged)", took, flops)
        bench.figures[f"speedup_{kind}_vs_{name.split('.')[0].split(chr(39))[0].lower()}"] = took / seconds


def fp8(bench: Bench, dense, baseline: float, exact: np.ndarray, flops: float) -> None:
    """Row-wise fp8; the differences are those of random weights, which exaggerate them."""
    if bench.tiny or not fp8_supported(torch.cuda.get_device_capability()):
        print("  fp8: no hardware for it here")
        return
    to_fp8(dense)
    fresh_memory(bench.device)
    seconds, ours = bench.engine(dense, "ours, fp8", flops, compile=True)
    moved = np.abs(ours - exact).max(axis=1)
    quantiles = {f"p{q}": round(float(np.quantile(moved, q / 100)), 4) for q in (50, 90, 99, 100)}
    print(f"  |dp| of fp8 against exact, over rows: {quantiles}")
    bench.figures |= {"speedup_fp8": baseline / seconds, "mfu_fp8": bench.mfu(seconds, flops)}
    bench.figures |= {f"dp_fp8_{name}": value for name, value in quantiles.items()}


def main() -> None:
    """Measure, print, and save a full run."""
    args = benchmark_parser(__doc__.splitlines()[0]).parse_args()
    warnings.filterwarnings("ignore")
    bench = Bench(args.quick)
    for kind in ("gemma",) if args.quick and not bench.tiny else ("gemma", "llama"):
        judge(bench, kind)
        fresh_memory(bench.device)
    figures = {name: round(value, 4) for name, value in bench.figures.items()}
    if not args.quick and not bench.tiny:
        headline = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        packages = ("torch", "transformers", "bitsandbytes", "peft", "triton")
        save("preference", figures, headline=headline, packages=packages)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
