"""Three parts of the two-GPU benchmark that share loaded judges: copies, two models at once, and a killed worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from _two_gpus_judges import NOTEBOOK, exact_judge, notebook_threads, rows_of
from _two_gpus_pools import Machine, best, load_all, placed, sleeping_judge, timed

from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["ExactJudges"]


class ExactJudges:
    """Both judges in exact arithmetic, loaded when a part first needs them; a context manager.

    Two pools: ``own`` as the engine places two models on two devices (one on each), ``shared`` with both on both.
    """

    def __init__(self, machine: Machine, *, notebook: bool) -> None:
        """Load nothing yet; with ``notebook``, its program will load beside the judges."""
        self._machine, self._stack, self._wants_notebook = machine, ExitStack(), notebook
        self._log = machine.scratch / "packs.log"
        self._pools: dict[str, WorkerPool] = {}
        self._notebook: Any = None

    def __enter__(self) -> ExactJudges:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._notebook is not None and hasattr(self._notebook[1], "kill"):
            self._notebook[1].kill()

    def copies(self) -> dict[str, float]:
        """One judge copied to both devices against one device."""
        pools, specs = self._loaded(), self._specs()
        rows = self._rows(600)
        one = best(pools["own"], specs[:1], rows, "gemma on one device")
        two = best(pools["shared"], specs[:1], rows, "gemma copied to both")
        self._keep("copies", one=one, two=two)
        apart = np.abs(one.logits["gemma"] - two.logits["gemma"]).max()
        return {
            "scaling_copies": one.report.seconds / two.report.seconds,
            "rows_per_s_one_gpu": len(rows) / one.report.seconds,
            "rows_per_s_copies": len(rows) / two.report.seconds,
            "idle_share_copies": self._idle(two),
            "max_abs_dlogit_copies": float(apart),
        }

    def two_models(self) -> dict[str, float]:
        """Both models at once, against the notebook's two threads and against the slower one alone."""
        pools, specs = self._loaded(), self._specs()
        line = self._notebook[0]
        if isinstance(self._notebook[2], Exception):
            raise self._notebook[2]
        rows = self._rows(200)
        alone = {spec.name: best(pools["own"], [spec], rows, f"{spec.name} alone on its device") for spec in specs}
        slower = max(alone, key=lambda name: alone[name].report.seconds)
        own = best(pools["own"], specs, rows, "both, a device for each (the engine's default)")
        shared = best(pools["shared"], specs, rows, "both on both devices, one queue")
        self._keep("two_models", own=own, shared=shared, **{f"alone_{name}": run for name, run in alone.items()})
        line.send("go")
        if not isinstance(runs := line.recv(), list):
            raise runs
        self._machine.details["two_models"]["notebook_seconds"] = runs
        for what, run in zip(("the notebook's two threads", "the same, every shape seen"), runs, strict=True):
            print(f"  {what:58} {2 * len(rows) / run['both']:7.1f} rows/s  {run}", flush=True)
        seconds = shared.report.seconds
        figures = {
            "speedup_two_models": runs[0]["both"] / seconds,
            "speedup_two_models_seen_shapes": runs[1]["both"] / seconds,
            "speedup_two_models_one_each": runs[0]["both"] / own.report.seconds,
            "time_over_slower_alone": seconds / alone[slower].report.seconds,
            "time_over_slower_alone_one_each": own.report.seconds / alone[slower].report.seconds,
        }
        for name, run in (("idle_share", shared), ("idle_share_one_each", own)):
            for number, tally in enumerate(run.report.devices.values()):
                figures[f"{name}_gpu{number}"] = 1 - tally.seconds / run.report.seconds
        return figures

    def kill(self) -> dict[str, float]:
        """SIGKILL for one of two workers in mid-run: the other finishes, and every row is there once."""
        machine = self._machine
        rows = rows_of(machine.count(300, 300, tiny=80), tiny=machine.tiny)
        if machine.tiny:  # the shared workers are threads there; processes that need no torch start faster
            spec = ScorerSpec("gemma", sleeping_judge, {"log": str(self._log)}, fingerprint="two_gpus sleeping")
            placement = placed("copies", machine.devices, [["gemma"]] * 2)
            pool = self._stack.enter_context(WorkerPool([spec], devices=machine.devices, placement=placement))
            load_all([pool])
        else:
            spec, pool = self._specs()[0], self._loaded()["shared"]
        expected = timed(pool, [spec], rows).logits["gemma"]
        self._log.write_text("", encoding="ascii")
        killed = threading.Thread(target=_kill_in_mid_run, args=(pool.workers[1].pid, self._log), daemon=True)
        killed.start()
        store = machine.scratch / "killed.sqlite"
        result = timed(pool, [spec], rows, restarts=0, store=store)
        print("  " + result.report.to_text().replace("\n", "\n  "), flush=True)
        found, report = result.logits["gemma"], result.report
        if not any("lost" in note for note in report.notes):
            raise RuntimeError("the run was over before the worker was killed; give it more rows")
        right = np.abs(found - expected).max(axis=1) <= 0.02 * np.abs(expected).max()
        computed = sum(int(line.split()[1]) for line in self._log.read_text(encoding="ascii").splitlines())
        doubled = sum(tally.rows for tally in report.devices.values()) - len(rows)
        with sqlite3.connect(store) as database:
            stored = database.execute("SELECT COUNT(*) FROM results").fetchone()[0]
        machine.details["kill"] = {
            "rows_equal_to_the_byte": int((found == expected).all(axis=1).sum()), "rows_stored": stored,
            "rows_computed_again": computed - len(rows), "notes": report.notes, "seconds": report.seconds,
            "rows_by_device": {label: tally.rows for label, tally in report.devices.items()},
        }  # fmt: skip
        figures = {"rows_checked": int(right.sum()), "rows_lost": len(rows) - int(right.sum()), "rows_doubled": doubled}
        if figures["rows_lost"] or doubled or stored != len(rows):
            raise RuntimeError(f"rows were lost or doubled: {figures}, {machine.details['kill']}")
        return figures

    def _rows(self, full: int) -> list[np.ndarray]:
        return rows_of(self._machine.count(full), tiny=self._machine.tiny)

    def _specs(self) -> list[ScorerSpec]:
        size = {**self._machine.size, "count": self._machine.count(600), "log": str(self._log)}
        return [
            ScorerSpec(name, exact_judge, {"kind": name, **size}, fingerprint=f"two_gpus {name}", fits_beside=True)
            for name in NOTEBOOK
        ]

    def _loaded(self) -> dict[str, WorkerPool]:
        if not self._pools:
            devices, names = self._machine.devices, list(NOTEBOOK)
            orders = {"own": [[name] for name in names], "shared": [names, names]}
            self._pools = {
                name: self._stack.enter_context(
                    WorkerPool(
                        self._specs(),
                        devices=devices,
                        workers=self._machine.kind,
                        placement=placed("copies" if name == "shared" else "model-per-device", devices, order),
                    )
                )
                for name, order in orders.items()
            }
            if self._wants_notebook:
                self._start_notebook()
            seconds, _ = load_all(list(self._pools.values()))
            if self._wants_notebook:
                try:
                    said = self._notebook[0].recv()
                except EOFError:
                    said = RuntimeError("the notebook's process died while it loaded")
                self._notebook += (said,)
            print(f"  loaded and compiled in {seconds:.0f} s", flush=True)
            for worker, name in zip(self._pools["own"].workers, names, strict=True):
                # While a speed is not known, an idle worker loads the other's model to help; here it is to stay idle.
                self._pools["own"].speed.scored(worker.label, name, tokens=1_000_000, seconds=1e-3)
            self._machine.details["load_seconds"] = {"exact": round(seconds, 1)}
        return self._pools

    def _start_notebook(self) -> None:
        """The notebook's program in a process of its own (a thread in a rehearsal); it loads beside ours."""
        line, other = multiprocessing.Pipe()
        arguments = (other, list(self._machine.devices), self._machine.count(200), *self._machine.size.values())
        if self._machine.tiny:
            body: Any = threading.Thread(target=notebook_threads, args=arguments, daemon=True)
        else:
            body = multiprocessing.get_context("spawn").Process(target=notebook_threads, args=arguments, daemon=True)
        body.start()
        if not self._machine.tiny:
            other.close()  # so that its death is heard
        self._notebook = (line, body)

    def _keep(self, part: str, **runs: Any) -> None:
        """Every run's figures by device, for the results file."""
        self._machine.details[part] = {
            name: {
                "seconds": round(run.report.seconds, 3),
                "devices": {
                    label: {"rows": tally.rows, "tokens": tally.tokens, "packs": tally.packs,
                            "busy_seconds": round(tally.seconds, 3)}
                    for label, tally in run.report.devices.items()
                },
                "notes": run.report.notes,
            }
            for name, run in runs.items()
        }  # fmt: skip

    @staticmethod
    def _idle(run: Any) -> float:
        """The larger share of the devices."""
        return max(1 - tally.seconds / run.report.seconds for tally in run.report.devices.values())


def _kill_in_mid_run(process: int, log: Path, *, packs: int = 4) -> None:
    """Wait until the process has begun some packs, then kill it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        begun = Counter(line.split()[0] for line in log.read_text(encoding="ascii").splitlines() if line.strip())
        if begun[str(process)] >= packs:
            os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.005)
