"""Judges of the two-GPU benchmark, as worker processes build them, and the notebook's two threads.

The weights are those of preference.py. Building warms a judge up: every shape of pack that the run will have is scored
once, so that what is timed afterwards neither loads nor compiles.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _judges import (
    cast_parameters,
    lmsys_rows,
    notebook_loop,
    quantise,
    random_judge,
    with_lora,
)

from kaggle_utils.inference.dispatch import cut_packs
from kaggle_utils.models.attention import PATHS, choose_attention
from kaggle_utils.models.gelu import use_sigmoid_gelu
from kaggle_utils.models.last_layer import pool_size
from kaggle_utils.models.nf4 import expand_layers, fold_nf4
from kaggle_utils.models.packed import PackedClassifier, pack_sizes
from kaggle_utils.models.pipeline import split_layers

__all__ = ["CAP_GIB", "NOTEBOOK", "exact_judge", "notebook_threads", "rows_of", "t4_judge"]

CAP_GIB = 15.0
NOTEBOOK = {"gemma": "nf4", "llama": "int8"}
"""How the notebook quantises its two models."""
PACK = {"fp16": 8192, "nf4": 16_384}  # 4-bit weights are expanded once a pack, so larger packs pay
T4_PATHS = tuple(path for path in PATHS if path not in ("flex", "varlen"))
_BUILDING = threading.Lock()  # default dtypes and seeds belong to the whole process


def rows_of(count: int, *, tiny: bool, pack: int = PACK["fp16"]) -> list[np.ndarray]:
    """The rows of preference.py, without those of a last pack that is not full: it would have a shape of its own."""
    if tiny:
        return lmsys_rows(count, 2000, longest=512)
    rows = lmsys_rows(count, 120_000)
    packs = cut_packs(np.array([len(row) for row in rows]), range(count), max_tokens=pack, padded=False)
    if sum(len(rows[i]) for i in packs[-1]) <= pack // 2:
        rows = [row for i, row in enumerate(rows) if i not in set(packs[-1])]
    return rows


class LoggedClassifier(PackedClassifier):
    """Notes each pack that it begins in a file: process and rows."""

    log: Path | None = None

    def launch(self, rows: Any) -> torch.Tensor:
        if self.log is not None:
            with self.log.open("a", encoding="ascii") as file:
                file.write(f"{os.getpid()} {len(rows)}\n")
        return super().launch(rows)


def exact_judge(
    *, device: str, kind: str, tiny: bool, layers: int | None, count: int, log: str | None = None
) -> PackedClassifier:
    """The notebook's quantised weights expanded once, its adapter merged, bfloat16, compiled ("ours, exact")."""
    with _BUILDING:
        model = _notebooks(kind, NOTEBOOK[kind], device, tiny, layers)
        if NOTEBOOK[kind] == "int8" and device != "cpu":  # what is on a GPU already is quantised by the first forward
            notebook_loop(model, [np.arange(5, 45)], device)
        model = model.get_base_model()
        dtype = torch.float32 if tiny else torch.bfloat16
        expand_layers(model, dtype=dtype)
        cast_parameters(model, dtype)
        use_sigmoid_gelu(model)
        _free(device)
        scorer = LoggedClassifier(model, max_tokens=512 if tiny else PACK["fp16"], compile=not tiny)
    _warm_up(scorer, rows_of(count, tiny=tiny))
    scorer.log = Path(log) if log else None
    return scorer


def t4_judge(
    *, device: str, kind: str, how: str, capped: bool, tiny: bool, layers: int | None, count: int
) -> PackedClassifier:
    """As on T4s: float16, no flex or varlen kernels, and ``capped`` to 15 GiB a device once it lies there.

    ``how`` is "fp16" (on one device, or cut into stages over several with commas between them) or "nf4".
    """
    places = device.split(",")
    with _BUILDING:
        if how == "nf4":
            model = _notebooks(kind, how, places[0], tiny, layers).get_base_model()
            fold_nf4(model)
        else:
            model = random_judge(kind, device=places[0], tiny=tiny, layers=layers)
            cast_parameters(model, torch.float32 if tiny else torch.float16)
        use_sigmoid_gelu(model)
        if len(places) > 1:
            split_layers(model, places)
    for place in places:
        _free(place)
        if capped and place != "cpu":
            total = torch.cuda.get_device_properties(place).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, CAP_GIB * 2**30 / total), place)
    torch.backends.cuda.enable_flash_sdp(False)  # this process has the attention kernels of a T4 from now on
    torch.backends.cuda.enable_cudnn_sdp(False)
    path = None if tiny else choose_attention(model.config, capability=(7, 5), allow=T4_PATHS)
    scorer = PackedClassifier(model, path=path, max_tokens=512 if tiny else PACK[how], compile=not tiny)
    _warm_up(scorer, rows_of(count, tiny=tiny, pack=PACK["fp16"]))
    gib = [torch.cuda.max_memory_allocated(place) / 2**30 for place in places if place != "cpu"]
    scorer.notes.append(f"peak {' '.join(f'{value:.2f}' for value in gib)} GiB")
    return scorer


def notebook_threads(line: Any, devices: list[str], count: int, tiny: bool, layers: int | None) -> None:
    """The notebook's program: load both models, say so, wait, then a thread for each; sends seconds or an error."""
    try:
        rows = rows_of(count, tiny=tiny)
        with _BUILDING:
            models = {
                kind: (_notebooks(kind, how, device, tiny, layers), device)
                for (kind, how), device in zip(NOTEBOOK.items(), devices, strict=True)
            }
        for model, device in models.values():
            _use(device)
            notebook_loop(model, rows[:8], device)
        line.send("loaded")
        line.recv()
        # First as a real run goes, meeting each shape for the first time; then again, every shape seen.
        line.send([_both(models, rows), _both(models, rows)])
    except Exception as error:
        line.send(error if isinstance(error, (RuntimeError, ValueError)) else RuntimeError(repr(error)))


def _both(models: dict[str, tuple[Any, str]], rows: list[np.ndarray]) -> dict[str, float]:
    """Seconds of each thread, and of both together."""
    seconds: dict[str, float] = {}

    def run(kind: str) -> None:
        model, device = models[kind]
        _use(device)  # the current device is a thread's own
        seconds[kind] = notebook_loop(model, rows, device)[0]

    threads = [threading.Thread(target=run, args=(kind,)) for kind in models]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) < len(models):
        raise RuntimeError(f"the notebook's threads gave {sorted(seconds)} only")
    return {**seconds, "both": time.perf_counter() - started}


def _notebooks(kind: str, how: str, device: str, tiny: bool, layers: int | None) -> Any:
    """The notebook's model, the same weights every time: quantised, with an unmerged adapter."""
    _use(device)
    return with_lora(quantise(random_judge(kind, device=device, tiny=tiny, layers=layers), how, device), kind)


def _warm_up(scorer: PackedClassifier, rows: list[np.ndarray]) -> None:
    """Score one pack of each shape that the rows give, and two at a time, as the engine has them."""
    lengths = np.array([len(row) for row in rows])
    shapes: dict[tuple[int, int], list[np.ndarray]] = {}
    for pack in cut_packs(lengths, range(len(rows)), max_tokens=scorer.max_tokens, padded=scorer.padded):
        used = int(lengths[list(pack)].sum())
        size = next((s for s in pack_sizes(scorer.max_tokens) if s >= used), used)
        shapes.setdefault((size, pool_size(len(pack))), [rows[i] for i in pack])
    running = [scorer.launch(pack) for pack in [*shapes.values(), *shapes.values()][:2]]
    for pack in [*shapes.values()][2:]:
        running.append(scorer.launch(pack))
        scorer.collect(running.pop(0))
    for handle in running:
        scorer.collect(handle)


def _use(device: str) -> None:
    if device != "cpu":
        torch.cuda.set_device(device)


def _free(device: str) -> None:
    """Give back what quantising left, and forget the peak."""
    import gc

    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
