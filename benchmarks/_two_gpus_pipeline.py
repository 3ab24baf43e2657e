"""The part of the two-GPU benchmark on T4-like cards: float16 models cut over both devices, or nf4 copies on each.

All under a cap of 15 GiB a device and without the kernels that a T4 does not have. What the engine's own placement
chooses for such cards is asked too, from the same configurations.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from _judges import random_judge
from _two_gpus_judges import CAP_GIB, NOTEBOOK, PACK, rows_of, t4_judge
from _two_gpus_pools import Machine, best, load_all, placed

from kaggle_utils.data.probabilities import softmax
from kaggle_utils.inference.placement import ModelNeed, choose_placement
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.specs import ScorerSpec
from kaggle_utils.models.memory import estimate_memory
from kaggle_utils.models.rooms import DeviceRoom

__all__ = ["default_placements", "pipeline"]


def pipeline(machine: Machine) -> dict[str, float]:
    """Each model in two stages against one device without a cap, and against nf4 copies under the same cap."""
    seconds: dict[str, dict[str, float]] = {}
    answers: dict[str, dict[str, np.ndarray]] = {}
    with ExitStack() as stack:
        pools = {key: stack.enter_context(_pool(machine, *key)) for key in _runs()}
        taken, notes = load_all(list(pools.values()))
        print(f"  loaded and compiled in {taken:.0f} s; {'; '.join(notes)}", flush=True)
        for (kind, how), pool in pools.items():
            rows = rows_of(machine.count(240), tiny=machine.tiny)
            run = best(pool, list(pool.specs.values()), rows, f"{kind}, {how}")
            seconds.setdefault(how, {})[kind] = run.report.seconds
            answers.setdefault(how, {})[kind] = softmax(*run.logits.values())
    placements = default_placements()
    total = {how: sum(by_kind.values()) for how, by_kind in seconds.items()}
    figures = {
        "scaling_pipeline": total["one"] / total["pipeline"],
        "pipeline_vs_nf4_copies": total["nf4"] / total["pipeline"],
    }
    for kind in NOTEBOOK:
        figures[f"scaling_pipeline_{kind}"] = seconds["one"][kind] / seconds["pipeline"][kind]
        figures[f"pipeline_vs_nf4_copies_{kind}"] = seconds["nf4"][kind] / seconds["pipeline"][kind]
        apart = np.abs(answers["pipeline"][kind] - answers["one"][kind])  # of the same weights
        figures[f"pipeline_max_abs_dp_{kind}"] = float(apart.max())
    if peaks := [float(word) for note in notes if "stages" in note or "nf4" in note for word in _numbers(note)]:
        figures["peak_gib_under_cap"] = max(peaks)
    faster = "the pipeline" if figures["pipeline_vs_nf4_copies"] > 1 else "nf4"
    placements["faster here"] = faster
    for what, text in placements.items():
        print(f"  2xT4 by default, {what}: {text}", flush=True)
    machine.details["pipeline"] = {"seconds": seconds, "load_seconds": round(taken, 1), "notes": notes,
                                   "placement_on_2xT4": placements}  # fmt: skip
    return figures


def default_placements() -> dict[str, str]:
    """What the engine chooses by default for both judges on two T4s, in float16 and in nf4, with its reason."""
    rooms = [DeviceRoom(f"cuda:{number}", int(CAP_GIB * 2**30), (7, 5)) for number in range(2)]
    found = {}
    for how, pack in PACK.items():
        needs = []
        for kind in NOTEBOOK:
            config = random_judge(kind, device="meta").config.to_dict()
            scheme = "none" if how == "fp16" else how
            whole, staged = (
                estimate_memory(config, quantization=scheme, dtype="float16", pack_tokens=pack, compiled=True,
                                lora_rank=16 if how == "nf4" else 0, folded=how == "nf4", stages=stages,
                                path="ragged", num_labels=3)
                for stages in (1, 2)
            )  # fmt: skip
            needs.append(ModelNeed(kind, whole.weights, whole.activations, whole.peak_while_loading, (staged.highest,)))
        chosen = choose_placement(needs, rooms, allow_pipeline=True)
        found[how] = f"{chosen.name} ({chosen.reason})"
    return found


def _runs() -> list[tuple[str, str]]:
    return [(kind, how) for kind in NOTEBOOK for how in ("pipeline", "one", "nf4")]


def _pool(machine: Machine, kind: str, how: str) -> WorkerPool:
    """Workers of one model in one way; each model alone, so that nothing but it is under the cap."""
    both, number = machine.devices, list(NOTEBOOK).index(kind)
    devices = {"pipeline": [",".join(both)], "one": [both[number]], "nf4": list(both)}[how]
    name = f"{kind} {'nf4' if how == 'nf4' else 'in stages' if how == 'pipeline' else 'whole'}"
    kwargs: dict[str, Any] = {"kind": kind, "how": "nf4" if how == "nf4" else "fp16", "capped": how != "one",
                              "count": machine.count(240), **machine.size}  # fmt: skip
    spec = ScorerSpec(name, t4_judge, kwargs)
    orders = [[name]] * len(devices)
    return WorkerPool([spec], devices=devices, workers=machine.kind, placement=placed("copies", devices, orders))


def _numbers(note: str) -> list[str]:
    return note.rpartition("peak ")[2].split()[:-1] if "peak " in note else []
