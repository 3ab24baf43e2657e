"""All checks on one page: as text for people, as JSON for scripts.

It promises every part, whatever happens in another; whether something lacks is judged by the notebooks asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from kaggle_utils.doctor.devices import CHECK, Probe, device_findings, probe_devices
from kaggle_utils.doctor.finding import Finding, isolated
from kaggle_utils.doctor.machine import input_findings, memory_and_disk_findings, version_findings
from kaggle_utils.doctor.needs import Need, chosen_needs
from kaggle_utils.doctor.notebooks import notebook_findings

__all__ = ["Report", "examine"]

_MARKS = {"ok": "  ", "note": "- ", "lack": "! "}
_WIDTH = 34


@dataclass(frozen=True)
class Report:
    """What all checks saw."""

    findings: tuple[Finding, ...]
    """In the order of the page."""
    needs: tuple[Need, ...]
    """The notebooks asked for."""

    @property
    def lacking(self) -> tuple[Finding, ...]:
        """What the notebooks asked for lack."""
        return tuple(found for found in self.findings if found.level == "lack")

    @property
    def ok(self) -> bool:
        """Whether nothing lacks."""
        return not self.lacking

    def to_json(self) -> str:
        """Return one JSON object: ``ok``, ``lacking`` (notebook -> what it lacks) and all ``findings``."""
        lacking: dict[str, list[str]] = {need.notebook: [] for need in self.needs}
        for found in self.lacking:
            lacking.setdefault(found.check, []).append(found.what)
        facts = {"ok": self.ok, "lacking": lacking, "findings": [found.to_json() for found in self.findings]}
        return json.dumps(facts, indent=1, ensure_ascii=False)

    def to_text(self, *, whole: bool = False) -> str:
        """Return the page; of the notebooks only what lacks and what to note, unless ``whole``."""
        notebooks = {need.notebook: need for need in self.needs}
        lines: list[str] = []
        for check in dict.fromkeys([*(found.check for found in self.findings), *notebooks]):
            findings = [found for found in self.findings if found.check == check]
            need = notebooks.get(check)
            lines += ["", _heading(check, need, findings)]
            shown = [found for found in findings if whole or need is None or found.level != "ok"]
            lines += [line for found in shown for line in _lines(found)]
        lines += ["", f"{len(self.lacking)} lack" if self.lacking else "nothing lacks"]
        return "\n".join(lines[1:])


def examine(notebooks: Sequence[str] | None = None, *, timeout: float = 120.0) -> Report:
    """Look at everything; seconds, most of them torch's import.

    Args:
        notebooks: names of notebooks to look after; None for all.
        timeout: seconds that the process which tries the devices may take.

    Raises:
        ValueError: a notebook is not known.
    """
    needs = chosen_needs(notebooks)
    found = isolated("versions", version_findings)
    probe = Probe()

    def devices():
        nonlocal probe
        probe = probe_devices(timeout=timeout)
        yield from device_findings(probe)

    found += isolated(CHECK, devices)
    found += isolated("memory and disk", memory_and_disk_findings)
    found += isolated("inputs", input_findings)
    for need in needs:  # what could not be looked at counts as lacking: a script must not go on from it
        found += isolated(need.notebook, partial(notebook_findings, need, probe), level="lack")
    return Report(tuple(found), tuple(needs))


def _heading(check: str, need: Need | None, findings: Sequence[Finding]) -> str:
    if need is None:
        return check
    lacking = sum(found.level == "lack" for found in findings)
    state = f"{lacking} of {len(findings)} lack" if lacking else "nothing lacks"
    return f"{check}: {state} ({need.gpu if need.gpus else 'no'} GPU, about {need.minutes} minutes)"


def _lines(found: Finding) -> list[str]:
    expected = f"  (expected: {found.expected})" if found.expected and found.level != "ok" else ""
    lines = [f"{_MARKS[found.level]}{found.what:{_WIDTH}} {found.value}{expected}"]
    if found.remedy:
        lines.append(f"    -> {found.remedy}")
    return lines
