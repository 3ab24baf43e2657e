"""Two GPUs against one: judges, folds, fine-tuning, and what a killed worker costs.

The rows and random weights are those of preference.py, deberta.py and sft.py. Loading and compiling are counted apart.
A part that fails is reported, and the others still run.

    python benchmarks/two_gpus.py                  # two GPUs; about 8 minutes
    python benchmarks/two_gpus.py --only pipeline  # one part; the results of the others are kept
    python benchmarks/two_gpus.py --quick          # cut models; with fewer than two GPUs tiny ones on the CPU
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _report import ROOT, benchmark_parser, commit, save

PARTS = ("copies", "two_models", "kill", "pipeline", "folds", "sft")
KEYS = ("scaling_copies", "speedup_two_models", "scaling_pipeline", "pipeline_vs_nf4_copies", "scaling_folds",
        "scaling_sft", "rows_checked")  # fmt: skip
LIMIT = 300
"""Seconds after which a part counts as failed."""


def find_devices(quick: bool) -> tuple[str, str]:
    """Two GPUs; the CPU twice for a rehearsal on a machine without them."""
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() > 1:
        return ("cuda:0", "cuda:1")
    if not quick:
        sys.exit("two GPUs are needed; --quick rehearses every part on the CPU")
    torch.set_num_threads(1)  # there are two of everything
    return ("cpu", "cpu")


def run_parts(names: list[str], machine: Any, done: Callable[[str, dict, str | None], None]) -> None:
    """Run the parts in their order; ``done`` is told each one's figures, and its error or None."""
    from _two_gpus_pipeline import pipeline
    from _two_gpus_scoring import ExactJudges
    from _two_gpus_training import Training

    with Training(machine, both={"folds", "sft"} <= set(names)) as training:
        if machine.tiny and "sft" in names:
            training.rehearse()
        with ExactJudges(machine, notebook="two_models" in names) as exact:
            for name in [name for name in PARTS[:3] if name in names]:
                done(name, *attempt(name, getattr(exact, name)))
        if "pipeline" in names:
            done("pipeline", *attempt("pipeline", lambda: pipeline(machine)))
        for name in [name for name in PARTS[4:] if name in names]:
            done(name, *attempt(name, getattr(training, name)))


def attempt(name: str, part: Callable[[], dict[str, float]]) -> tuple[dict[str, float], str | None]:
    """Run one part: its figures, and what went wrong, which is printed too."""
    print(f"{name}:", flush=True)
    started, figures, wrong = time.perf_counter(), {}, None
    try:
        with at_most(LIMIT):
            figures = {key: round(value, 4) for key, value in part().items()}
        print(f"  {figures}", flush=True)
    except Exception as error:
        traceback.print_exc()
        wrong = f"{type(error).__name__}: {error}"
        print(f"  FAILED: {wrong}", flush=True)
    print(f"  ({time.perf_counter() - started:.0f} s)", flush=True)
    return figures, wrong


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in this thread after that time."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def keep(name: str, figures: dict[str, float], error: str | None, details: dict[str, Any]) -> None:
    """Put a part into results/two_gpus.json; the others keep what they had, with the commit they had it on."""
    file = ROOT / "benchmarks" / "results" / "two_gpus.json"
    parts = json.loads(file.read_text(encoding="utf-8"))["details"]["parts"] if file.is_file() else {}
    parts[name] = {"commit": commit(), "figures": figures, "error": error, "details": details.get(name)}
    found = {key: value for part in PARTS if part in parts for key, value in parts[part]["figures"].items()}
    headline = ", ".join(f"{key} {found[key]:g}" for key in KEYS if key in found) or "no part was finished"
    packages = ("torch", "transformers", "accelerate", "bitsandbytes", "peft", "triton")
    save("two_gpus", found, headline=headline, packages=packages,
         details={"parts": parts, "load_seconds": details.get("load_seconds")})  # fmt: skip


def main() -> int:
    """Measure, print, save; 1 where a part failed."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (may be given several times)")
    args: argparse.Namespace = parser.parse_args()
    # Many processes compile at once, and each would start a compiler for every core.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    devices = find_devices(args.quick)
    from _two_gpus_pools import Machine

    started, flat, failed = time.perf_counter(), {}, {}
    with tempfile.TemporaryDirectory(prefix="two-gpus-", ignore_cleanup_errors=True) as scratch:
        machine = Machine(devices, args.quick, Path(scratch))

        def done(name: str, figures: dict[str, float], error: str | None) -> None:
            flat.update(figures)
            failed.update({name: error} if error else {})
            if not args.quick:  # at once: what is measured stays, whatever ends this process
                keep(name, figures, error, machine.details)

        run_parts(args.only or list(PARTS), machine, done)
    print(f"{time.perf_counter() - started:.0f} s in all", flush=True)
    print(json.dumps({**flat, **({"failed": failed} if failed else {})}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
