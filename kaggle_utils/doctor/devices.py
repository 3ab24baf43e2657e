"""What the probe saw of torch, the GPUs and bitsandbytes, as findings.

It promises an answer within a time limit, whatever the libraries do: they run in a process of their own. Without torch
the driver is asked. What a card supports is judged by its compute capability, not by what torch would emulate.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kaggle_utils.doctor.finding import Finding
from kaggle_utils.doctor.probe import MARK
from kaggle_utils.environment import Accelerator, accelerators

__all__ = ["CHECK", "Probe", "device_findings", "probe_devices"]

CHECK = "GPUs"
"""The part of the page that these findings belong to."""

_SWITCH_ON = 'on Kaggle choose one under "Settings" > "Accelerator"; without, models run in float32 on the CPU'
_FLEX_FROM = (8, 0)  # as kaggle_utils.models.attention decides


@dataclass(frozen=True)
class Probe:
    """What the process said before it ended."""

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage -> its facts, ``error`` among them where it raised, crashed or hung."""

    @property
    def torch(self) -> dict[str, Any]:
        """Facts about torch; ``{"error": ...}`` where it does not work."""
        return self.stages.get("torch", {"error": "the probe said nothing"})

    def gpus(self) -> list[Accelerator]:
        """Return the GPUs that torch sees, or, where torch is missing, those that the driver names."""
        seen = {int(name[5:]): facts for name, facts in self.stages.items() if name[:5] == "cuda:" and "name" in facts}
        if not seen and "No module named 'torch'" in self.torch.get("error", ""):
            return accelerators()
        return [
            Accelerator(i, g["name"], g["memory"], tuple(g["capability"]), bf16=tuple(g["capability"]) >= (8, 0))
            for i, g in seen.items()
        ]

    def bitsandbytes_error(self) -> str | None:
        """Return what went wrong when a layer was quantised, None where it works on every device."""
        tried = {name: facts for name, facts in self.stages.items() if name.startswith("bitsandbytes")}
        if not tried:
            return f"not tried: torch: {self.torch.get('error', 'unknown')}"
        return next((facts["error"] for facts in tried.values() if "error" in facts), None)


def probe_devices(*, timeout: float = 120.0, source: str | None = None) -> Probe:
    """Run the probe in a process of its own, for at most ``timeout`` seconds; most of them import torch.

    Args:
        timeout: seconds; a first import from a cold disk takes up to a minute.
        source: another program to run in its place.
    """
    source = source or Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-c", source], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
        output, status = done.stdout, done.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    except subprocess.TimeoutExpired as late:
        output, how = late.stdout or b"", f"did not end within {timeout:g} s"
    return Probe(_stages(output.decode("utf-8", "replace"), how))


def _stages(output: str, how: str) -> dict[str, dict[str, Any]]:
    stages: dict[str, dict[str, Any]] = {}
    begun: str | None = None
    for line in output.splitlines():
        if not line.startswith(MARK):
            continue
        facts = json.loads(line[len(MARK) :])
        begun = facts.get("begin")
        if begun is None:
            stages[facts.pop("end")] = facts
    if begun is not None:
        stages[begun] = {"error": f"the process {how}"}
    elif not stages:
        stages["torch"] = {"error": f"the process {how} and said nothing"}
    return stages


def device_findings(probe: Probe) -> Iterator[Finding]:
    """Yield what torch, each GPU and bitsandbytes are like."""
    yield _torch_finding(probe)
    cards = probe.gpus()
    if not cards:
        yield Finding(CHECK, "GPU", "none", remedy=_SWITCH_ON, level="note")
    for card in cards:
        yield from _card_findings(card, probe)
    yield from _bitsandbytes_findings(probe)


def _torch_finding(probe: Probe) -> Finding:
    torch = probe.torch
    if "error" in torch:
        remedy = "restart the session, or install torch again; what needs no model works without it"
        return Finding(CHECK, "torch", torch["error"], "imports", remedy, level="note")
    value = f"{torch['version']}, imported in {torch['seconds']:g} s"
    return Finding(CHECK, "torch", value + ("" if torch["cuda"] else ", without CUDA"))


def _card_findings(card: Accelerator, probe: Probe) -> Iterator[Finding]:
    from kaggle_utils.models.fp8 import fp8_supported  # the one place that knows; imports no torch

    facts = probe.stages.get(f"cuda:{card.index}", {})
    capability = f"{card.capability[0]}.{card.capability[1]}"
    say = partial(Finding, CHECK)
    name = f"cuda:{card.index}"
    yield say(name, f"{card.name}, {card.memory_bytes / 2**30:.1f} GiB, compute capability {capability}")
    if facts and not facts.get("computes", True):
        built = ", ".join(probe.torch.get("built_for", ()))
        remedy = f"choose another accelerator (this torch was built for {built}), or a torch built for this card"
        problem = facts.get("error_of_product", "a product came out wrong")
        yield say(f"{name} computes", problem, "a correct product", remedy, level="note")
    bf16 = "in hardware" if card.bf16 else "no"
    yield say(
        f"{name} bfloat16", bf16, "8.0 or newer", "" if card.bf16 else "float16 is used, by itself", _kind(card.bf16)
    )
    flex = _flex_missing(card.capability, probe.torch)
    otherwise = "packed rows attend row by row instead, by itself"
    yield say(f"{name} flex attention", flex or "yes", "8.0 or newer", otherwise if flex else "", _kind(not flex))
    fp8 = fp8_supported(card.capability)
    yield say(
        f"{name} fp8", "in hardware" if fp8 else "no", "8.9 or newer", "" if fp8 else 'use "nf4" or "none"', _kind(fp8)
    )


def _kind(good: bool) -> str:
    return "ok" if good else "note"


def _flex_missing(capability: tuple[int, int], torch: dict[str, Any]) -> str:
    """Return what flex attention misses, nothing where it works."""
    missing = ["a newer card"] if capability < _FLEX_FROM else []
    missing += [] if torch.get("flex") else ["torch 2.5"]
    missing += [] if torch.get("triton") else ["triton"]
    missing += [] if shutil.which("gcc") or shutil.which("cc") or shutil.which("clang") else ["a C compiler"]
    return f"no: it needs {', '.join(missing)}" if missing else ""


def _bitsandbytes_findings(probe: Probe) -> Iterator[Finding]:
    for name, facts in probe.stages.items():
        if not name.startswith("bitsandbytes"):
            continue
        error = facts.get("error")
        if error is None:
            value = f"works: NF4 product {facts['relative_error']:.0%} off, {facts['seconds']:g} s"
            yield Finding(CHECK, name, value, "about 9 % off")
        else:
            remedy = 'quantization="none" needs no bitsandbytes; else attach the wheels and run the first cell'
            if "No module named" not in error:
                remedy = 'run "python -m bitsandbytes" to see what it looks for, or use quantization="none"'
            yield Finding(CHECK, name, error, "a layer of 64 x 64 quantised to NF4 multiplies", remedy, "note")
