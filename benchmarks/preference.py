"""Two LLM judges on one device: the notebook's loop against the engine, on the same rows and the same weights.

Random weights at the shapes of Gemma-2-9B and Llama-3-8B, row lengths as in LMSYS. Three comparisons each:
exact (the notebook's 4- or 8-bit weights expanded once with the adapter merged, bfloat16, packed, compiled), fp8, and
the users' hardware emulated (float16, 15 GiB, no flex attention, no varlen kernels, no bfloat16).

    python benchmarks/preference.py            # one H100; about 7 minutes
    python benchmarks/preference.py --quick    # fewer rows; tiny models on a CPU
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import time
import warnings

import _judges
import numpy as np
import torch
from _judges import (
    cast_parameters,
    flops_per_token,
    lmsys_rows,
    matmul_rate,
    notebook_loop,
    quantise,
    random_judge,
    with_lora,
)
from _report import benchmark_parser, save

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.models.attention import PATHS, choose_attention
from kaggle_utils.models.fp8 import fp8_supported, to_fp8
from kaggle_utils.models.gelu import use_sigmoid_gelu
from kaggle_utils.models.nf4 import expand_layers, fold_nf4
from kaggle_utils.models.packed import PackedClassifier

CAP_GIB = 15.0
CAP_TOKENS = 16_384  # 4-bit weights are expanded once a pack, so larger packs pay
QUICK_LAYERS = 6  # of 42 and 32: what is measured a layer stays the same, and it is over in a minute
T4_PATHS = tuple(path for path in PATHS if path not in ("flex", "varlen"))


class Bench:
    """One device, one set of rows, and the figures as they come."""

    def __init__(self, quick: bool) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tiny = self.device == "cpu"
        self.layers = QUICK_LAYERS if quick and not self.tiny else None
        self.rows = lmsys_rows(8, 2000, longest=512) if self.tiny else lmsys_rows(64 if quick else 200, 120_000)
        self.tokens = sum(map(len, self.rows))
        self.rate = matmul_rate(self.device)
        self.figures: dict[str, float] = {}
        self.lines: list[dict[str, object]] = []
        self._started = time.perf_counter()
        mean = self.tokens / len(self.rows)
        print(f"{self.device}: {self.rate / 1e12:.1f} TFLOP/s; {len(self.rows)} rows, mean {mean:.0f} tokens")

    def judge(self, kind: str, how: str) -> torch.nn.Module:
        """The notebook's model, the same weights every time: quantised, with an unmerged adapter."""
        model = random_judge(kind, device=self.device, tiny=self.tiny, layers=self.layers)
        return with_lora(quantise(model, how, self.device), kind)

    def show(self, what: str, seconds: float, flops: float) -> float:
        """Print one line; returns rows a second."""
        speed = len(self.rows) / seconds
        peak = "" if self.tiny else f"  {torch.cuda.max_memory_allocated() / 2**30:5.1f} GiB"
        at = time.perf_counter() - self._started
        self.lines.append({"what": what, "rows_per_s": round(speed, 2), "mfu": round(self.mfu(seconds, flops), 4)})
        print(f"  {what:52} {speed:7.1f} rows/s  MFU {self.mfu(seconds, flops):.3f}{peak}  ({at:.0f} s)", flush=True)
        return speed

    def mfu(self, seconds: float, flops: float) -> float:
        """Share of the measured product rate that real tokens' linear layers took."""
        return self.tokens * flops / seconds / self.rate

    def engine(self, model, what: str, flops: float, **options) -> tuple[float, np.ndarray]:
        """Seconds and probabilities of our engine, mean of two runs after a warm-up (the loop is warm too)."""
        scorer = PackedClassifier(model, **({"max_tokens": 8192} | options))
        spec = ScorerSpec(what, lambda *, device: scorer, padded=scorer.padded)
        seconds = []
        for _ in range(3):
            with _judges.Timer(self.device) as timer:
                result = score_rows(
                    self.rows,
                    [spec],
                    devices=[self.device],
                    workers="threads",
                    max_tokens=scorer.max_tokens,
                    progress=False,
                )
            seconds.append(timer.seconds)
        taken = sum(seconds[1:]) / 2
        self.show(f"{what} ({scorer.path.name}; first run {seconds[0]:.0f} s)", taken, flops)
        logits = result.logits[what].astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return taken, odds / odds.sum(axis=1, keepdims=True)


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
    how = "nf4" if kind == "gemma" else "int8"
    size = "tiny" if bench.tiny else f"{bench.layers} layers" if bench.layers else "full size"
    flops = flops_per_token(random_judge(kind, device="meta", tiny=bench.tiny, layers=bench.layers))
    print(f"{kind}: {size}, {flops / 1e9:.2f} GFLOP a token")
    small = t4(bench, kind, flops)
    fresh_memory(bench.device)

    notebook = bench.judge(kind, how)
    fresh_memory(bench.device)
    notebook_loop(notebook, bench.rows[:8], bench.device)
    # Counted as a real run goes, meeting each shape for the first time. cuDNN plans its attention anew for every shape
    # (0.2 s each). Only Llama's loop uses it, so for that one a run over shapes that it has seen is told as well, and
    # one with the kernels that a T4 has.
    baseline, theirs = notebook_loop(notebook, bench.rows, bench.device)
    bench.show(f"the notebook's loop ({how}, unmerged LoRA)", baseline, flops)
    seen = old = baseline
    if kind == "llama":
        seen, _ = notebook_loop(notebook, bench.rows, bench.device)
        bench.show("the same again, every shape seen", seen, flops)
        with kernels_of_t4():
            old, _ = notebook_loop(notebook, bench.rows, bench.device)
        bench.show("the same with the kernels of a T4", old, flops)
    _, again = notebook_loop(notebook, bench.rows, bench.device, descending=False, batch=3)

    if bench.tiny:  # a CPU repacks nf4 weights in its first forward
        notebook = bench.judge(kind, how)
    dense = expanded(notebook.get_base_model(), bench)
    seconds, ours = bench.engine(dense, "ours, exact", flops, compile=not bench.tiny)
    bench.figures |= {
        f"speedup_{kind}": baseline / seconds,
        f"mfu_{kind}": bench.mfu(seconds, flops),
        f"mfu_notebook_{kind}": bench.mfu(baseline, flops),
        f"max_abs_dp_{kind}": float(np.abs(ours - theirs).max()),
        f"padded_fp16_runs_dp_{kind}": float(np.abs(theirs - again).max()),
    }
    bench.figures |= {f"speedup_{profile}_{kind}": baseline / taken for profile, taken in small.items()}
    if kind == "llama":
        bench.figures |= {"speedup_llama_seen_shapes": seen / seconds, "speedup_t4_llama_t4_kernels": old / small["t4"]}
    loose = peers(bench, kind, dense, flops, seconds)
    # The notebook's loop is float16 and ours bfloat16: what two padded runs in these two types differ by.
    bench.figures[f"padded_fp16_bf16_dp_{kind}"] = float(np.abs(loose - theirs).max())
    if kind == "gemma":
        fp8(bench, dense, baseline, ours, flops)


@contextlib.contextmanager
def kernels_of_t4():
    """Only the fused attention that cards before compute capability 8.0 have."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
        torch.backends.cuda.enable_cudnn_sdp(True)


def expanded(dense: torch.nn.Module, bench: Bench) -> torch.nn.Module:
    """Quantised weights expanded once with the adapter merged into them, as ``merge="merged"`` loads them."""
    dtype = torch.float32 if bench.tiny else torch.bfloat16
    expand_layers(dense, dtype=dtype)
    cast_parameters(dense, dtype)
    use_sigmoid_gelu(dense)
    fresh_memory(bench.device)
    return dense


def t4(bench: Bench, kind: str, flops: float) -> dict[str, float]:
    """Seconds of the engine as it would run on one T4: nf4, float16, 15 GiB, neither flex nor varlen kernels.

    It comes before the notebook's model is there, because the cap holds for everything in the process.
    """
    base = bench.judge(kind, "nf4").get_base_model()
    fold_nf4(base)
    use_sigmoid_gelu(base)
    profiles = {"t4": ((7, 5), T4_PATHS)}
    if kind == "gemma" and not bench.tiny:
        profiles["t4_flex"] = ((8, 0), PATHS)
    taken = {}
    for name, (capability, allow) in profiles.items():
        fresh_memory(bench.device, CAP_GIB)
        path = choose_attention(base.config, capability=capability, allow=allow)
        options = {"max_tokens": CAP_TOKENS, "compile": not bench.tiny}
        with kernels_of_t4():
            taken[name], _ = bench.engine(base, f"ours, {name}, nf4", flops, path=path, **options)
        if not bench.tiny:
            peak = torch.cuda.max_memory_allocated() / 2**30
            bench.figures["peak_gib_t4"] = max(peak, bench.figures.get("peak_gib_t4", 0.0))
    del base
    return taken


def peers(bench: Bench, kind: str, dense, flops: float, seconds: float) -> np.ndarray:
    """What a user would pick instead, on the same rows and the same bfloat16 weights; the last one's probabilities."""
    from transformers.models.gemma2 import modeling_gemma2  # noqa: F401 (loaded, so that "eager" is known)

    for layer in dense.model.layers:
        layer._compiled_call_impl = None
    for config in (dense.config, dense.model.config):
        config._attn_implementation = "eager" if kind == "gemma" else "sdpa"
    fresh_memory(bench.device)
    for name, run in (("Trainer.predict", _judges.trainer_predict), ("CrossEncoder's loop", _judges.cross_encoder)):
        run(dense, bench.rows[:8], bench.device)
        took, found = run(dense, bench.rows, bench.device)
        bench.show(f"{name} (bf16, merged)", took, flops)
        bench.figures[f"speedup_{kind}_vs_{name.split('.')[0].split(chr(39))[0].lower()}"] = took / seconds
    return found


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
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every cast of every layer
    bench = Bench(args.quick)
    for kind in ("gemma", "llama"):
        judge(bench, kind)
        fresh_memory(bench.device)
    figures = {name: round(value, 4) for name, value in bench.figures.items()}
    if not args.quick and not bench.tiny:
        headline = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        packages = ("torch", "transformers", "bitsandbytes", "peft", "triton")
        details = {
            "matmul_tflops": bench.rate / 1e12,
            "rows": len(bench.rows),
            "tokens": bench.tokens,
            "lines": bench.lines,
        }
        save("preference", figures, headline=headline, packages=packages, details=details)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
