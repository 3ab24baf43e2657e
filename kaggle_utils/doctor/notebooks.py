"""What one notebook would lack on this machine, and what to do about it.

It promises a remedy with everything that lacks. It reads no notebook: what each needs is in ``needs.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from kaggle_utils.doctor.devices import Probe
from kaggle_utils.doctor.finding import Finding
from kaggle_utils.doctor.needs import Need
from kaggle_utils.doctor.requirement import declared, fits, installed_version
from kaggle_utils.environment import input_dir, scratch_dir, where, working_dir

__all__ = ["notebook_findings"]

_PINNED = {"kaggle-environments": "==1.18.0"}  # the last release that holds llm_20_questions
_ADD = '"Add Input" in the right panel'


def notebook_findings(need: Need, probe: Probe) -> Iterator[Finding]:
    """Yield what ``need`` finds and lacks: inputs, GPUs, packages, disk."""
    yield from _inputs(need)
    yield from _gpus(need, probe)
    yield from _packages(need, probe)
    yield from _disk(need)


def _inputs(need: Need) -> Iterator[Finding]:
    competition = [need.competition] if need.reads_competition and need.competition else []
    for name in (*competition, *need.inputs):
        kind = "competition" if name in competition else "input"
        try:
            folder = input_dir(name)
        except (FileNotFoundError, ValueError) as error:
            ambiguous = isinstance(error, ValueError)
            value = str(error).split(";")[0] if ambiguous else "not attached"
            if where() == "notebook":
                remedy = f"attach {name} with {_ADD}, or write the name of yours into the notebook's settings"
            else:
                remedy = f"put it at {name} in the folder that KAGGLE_UTILS_INPUT_DIR names"
            yield Finding(need.notebook, f"{kind} {name}", value, "attached", remedy, "lack")
        else:
            empty = next(folder.iterdir(), None) is None
            remedy = "it is empty: attach it again" if empty else ""
            yield Finding(need.notebook, f"{kind} {name}", str(folder), "attached", remedy, "lack" if empty else "ok")


def _gpus(need: Need, probe: Probe) -> Iterator[Finding]:
    if not need.gpus:
        return
    cards = probe.gpus()
    broken = [c.name for c in cards if probe.stages.get(f"cuda:{c.index}", {}).get("computes") is False]
    value = ", ".join(card.name for card in cards) or "none"
    if not cards or broken:
        remedy = f'choose "GPU {need.gpu}" under "Settings" > "Accelerator"; on a CPU it only rehearses small models'
        value = f"{', '.join(broken)} does not compute with this torch" if broken else value
        yield Finding(need.notebook, "GPU", value, need.gpu, remedy, "lack")
    elif len(cards) < need.gpus:
        remedy = "it runs on fewer GPUs too, and takes longer"
        yield Finding(need.notebook, "GPU", value, need.gpu, remedy, "note")
    else:
        yield Finding(need.notebook, "GPU", value, need.gpu)


def _packages(need: Need, probe: Probe) -> Iterator[Finding]:
    wanted = declared() | _PINNED
    for name in need.packages:
        version, comparisons = installed_version(name), wanted.get(name, "")
        problem, remedy = _problem(name, version, comparisons, probe)
        level = "lack" if problem else "ok"
        yield Finding(need.notebook, name, problem or str(version), comparisons, remedy, level)


def _problem(name: str, version: str | None, comparisons: str, probe: Probe) -> tuple[str, str]:
    """Return what is wrong with a package and what to do, two empty strings where it is well."""
    alone = "--no-deps " if name == "kaggle-environments" else ""  # it asks for 90 packages that the game does not need
    install = "attach the wheels (submission-builder wheelhouse makes them) and run the first cell; online: "
    install += f"pip install {alone}'{name}{comparisons}'"
    if version is None:
        return "missing", install
    if not fits(version, comparisons):
        return f"{version} is installed", f"{install}, then restart the kernel"
    if name == "torch" and "error" in probe.torch:
        return f"{version} is installed, but {probe.torch['error']}", "restart the session; else install it again"
    if name == "bitsandbytes" and (error := probe.bitsandbytes_error()):
        remedy = 'use quantization="none" in the settings, or see what "python -m bitsandbytes" looks for'
        return f"{version} is installed, but {error}", remedy
    return "", ""


def _disk(need: Need) -> Iterator[Finding]:
    rooms = (("working folder", working_dir(), need.working_gb), ("scratch folder", scratch_dir(), need.scratch_gb))
    for what, folder, wanted in rooms:
        free = shutil.disk_usage(folder).free / 1e9
        value = f"{free:.1f} GB free in {folder}"
        if free >= wanted:
            yield Finding(need.notebook, what, value, f"{wanted:g} GB")
        else:
            variable = f"KAGGLE_UTILS_{what.split()[0].upper()}_DIR"
            remedy = f"remove what is not needed there, or set {variable} to a larger disk"
            yield Finding(need.notebook, what, value, f"{wanted:g} GB", remedy, "lack")
