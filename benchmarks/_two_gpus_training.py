"""Two parts of the two-GPU benchmark that train: a fold on each device, and fine-tuning in two processes."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _judges import lmsys_rows
from _two_gpus_pools import Machine

from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.inference.fold_scoring import engine_logits
from kaggle_utils.models.packed_deberta import pack_deberta
from kaggle_utils.training.kfold import run_kfold
from kaggle_utils.training.kfold_settings import KFoldSettings

__all__ = ["Training", "packed", "step_seconds"]

_LINE = re.compile(r"^(\S+ \S+) (\d+) \w+ step (\d+) of (\d+): loss", re.MULTILINE)
_HELD_OUT = 32  # few, so that folds train nearly all of their time


def packed(model: Any) -> Any:
    """Fused attention in compiled layers, as a user would give ``prepare_model``."""
    return pack_deberta(model)


class Training:
    """Both parts. Where both run, one process fine-tunes on the second GPU while the folds need the first one only."""

    def __init__(self, machine: Machine, *, both: bool) -> None:
        self._machine, self._both = machine, both
        self._alone: subprocess.Popen[str] | None = None
        self._pair: subprocess.Popen[str] | None = None

    def rehearse(self) -> None:
        """Start what takes longest in a rehearsal; its speed is of no interest there."""
        self._pair = _start(self._machine, 2)

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        for body in (self._alone, self._pair):
            if body is not None:
                _end(body)

    def folds(self) -> dict[str, float]:
        """Two folds of DeBERTa-v3-large, one on each device, and one after another on one device."""
        from deberta import BATCH, LONGEST, random_model

        machine = self._machine
        model = machine.scratch / "deberta"
        random_model(machine.tiny).save_pretrained(model)
        batch, longest = (4, 64) if machine.tiny else (BATCH, LONGEST)
        steps = 6 if machine.tiny else 24 if machine.quick else 72
        held_out = 4 if machine.tiny else _HELD_OUT
        count = 2 * held_out + batch * (4 if machine.tiny else 24)
        rows = TokenRows.of(
            row.astype(np.int32) for row in lmsys_rows(count, 900 if machine.tiny else 128_000, longest=longest)
        )
        assigned = np.full(count, 2)  # the third fold is only trained on
        assigned[:held_out], assigned[held_out : 2 * held_out] = 0, 1
        settings = KFoldSettings(
            learning_rate=1e-5, max_steps=steps, per_device_train_batch_size=batch, eval_strategy="no",
            save_strategy="no", load_best_model_at_end=False, keep_weights=False, folds=(0, 1),
            logging_steps=2 if machine.tiny else 8,  # each waits for the device; a real run logs fifty times in all
        )  # fmt: skip
        measured: dict[str, dict[str, Any]] = {}
        # At once first: it compiles what the other finds in the compiler's cache, so the ratio of the walls errs down.
        for name, devices in (("at_once", list(machine.devices)), ("in_turn", [machine.devices[0]])):
            if name == "in_turn" and self._both and not machine.tiny:
                self._alone = _start(machine, 1)
            place, started = machine.scratch / f"folds-{name}", time.perf_counter()
            result = run_kfold(
                model, rows, np.arange(count) % 3, assigned, folder=place, settings=settings, num_labels=3,
                devices=devices, predict=engine_logits, prepare_model=packed, progress=False,
            )  # fmt: skip
            wall = time.perf_counter() - started
            recorded = [result.fold_metrics[fold]["training_seconds"] for fold in (0, 1)]
            stepping = step_seconds((place / "run.log").read_text(encoding="utf-8"))
            if len(stepping) != 2:
                raise RuntimeError(f"the log of {name} has {len(stepping)} folds, expected 2")
            measured[name] = {"wall": round(wall, 1), "recorded": recorded, "stepping": stepping}
            print(f"  {name:8} {measured[name]}", flush=True)
        machine.details["folds"] = {"steps": steps, **measured}
        turn, both = measured["in_turn"], measured["at_once"]
        return {
            "scaling_folds": sum(turn["stepping"]) / max(both["stepping"]),
            "scaling_folds_recorded": sum(turn["recorded"]) / max(both["recorded"]),
            "scaling_folds_wall": turn["wall"] / both["wall"],
        }

    def sft(self) -> dict[str, float]:
        """LoRA fine-tuning by one process and by two under torchrun: tokens a second."""
        machine = self._machine
        if machine.tiny:  # saves importing everything once more
            from _two_gpus_sft import main

            main(machine.scratch / "sft-1", quick=True)
            one = _read(machine, 1)
        else:
            alone, self._alone = self._alone or _start(machine, 1), None
            one = _finish(machine, alone, 1)
        self._pair = self._pair or _start(machine, 2)
        results = {1: one, 2: _finish(machine, self._pair, 2)}
        machine.details["sft"] = {str(processes): found for processes, found in results.items()}
        for processes, found in results.items():
            print(f"  {processes} processes: {found}", flush=True)
        return {
            "scaling_sft": results[2]["tokens_per_second"] / results[1]["tokens_per_second"],
            "sft_tokens_per_second_one": results[1]["tokens_per_second"],
            "sft_tokens_per_second_two": results[2]["tokens_per_second"],
        }


def step_seconds(log: str) -> list[float]:
    """Seconds of each fold from a third of its steps to the last, by the times in a run's log.

    Start-up, loading and compiling lie before that, and would weigh far more here than in a real run of hours.
    """
    fold: dict[str, list[tuple[int, float]]] = {}
    found: list[float] = []
    for moment, process, step, total in _LINE.findall(log):
        at = datetime.datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f").timestamp()
        seen = fold.setdefault(process, [])
        if seen and int(step) <= seen[-1][0]:
            seen.clear()
        seen.append((int(step), at))
        if int(step) == int(total):
            first = next((number, when) for number, when in seen if number >= int(total) / 3)
            found.append(round(at - first[1], 3))
            seen.clear()
    return found


def _start(machine: Machine, processes: int) -> subprocess.Popen[str]:
    """One process on the second GPU, or a launcher with one on each."""
    place = machine.scratch / f"sft-{processes}"
    place.mkdir(exist_ok=True)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--master_addr=127.0.0.1",
                    f"--master_port={_free_port()}"]  # fmt: skip
    command += [str(Path(__file__).with_name("_two_gpus_sft.py")), str(place), *["--quick"] * machine.quick]
    environment = dict(os.environ)
    if machine.tiny:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif processes == 1:
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")[1].strip()
    with (place / "said.txt").open("w", encoding="utf-8") as said:
        # A group of its own, so that a launcher that is given up takes its processes along.
        return subprocess.Popen(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


def _finish(machine: Machine, body: subprocess.Popen[str], processes: int) -> dict[str, Any]:
    try:
        code = body.wait(timeout=180)
    except BaseException:
        _end(body)
        raise
    if code:
        said = (machine.scratch / f"sft-{processes}" / "said.txt").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"fine-tuning in {processes} processes ended with {code}:\n{said[-3000:]}")
    return _read(machine, processes)


def _read(machine: Machine, processes: int) -> dict[str, Any]:
    return json.loads((machine.scratch / f"sft-{processes}" / "measured.json").read_text(encoding="utf-8"))


def _end(body: subprocess.Popen[str]) -> None:
    if body.poll() is None:
        os.killpg(body.pid, signal.SIGKILL)
        body.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
