"""One progress bar per device: rows, tokens a second, MFU where the peak is known, and when all will be done.

It promises figures that were measured, in a terminal and in a notebook, and no output at all when told so. It does not
know what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

__all__ = ["PEAK_FLOPS", "DeviceTally", "ProgressBars", "peak_flops_of", "progress_text"]

PEAK_FLOPS = {
    "T4": 65e12,
    "P100": 18.7e12,
    "V100": 125e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
}
"""Dense half-precision operations a second, by a word of the device's name, as the vendor's data sheets state them
(SXM cards where there are several). Matrix products measured on an H100 reach about 0.8 of it."""

_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}{postfix}]"


@dataclass
class DeviceTally:
    """What one device has done."""

    rows: int = 0
    """Distinct rows scored."""
    tokens: int = 0
    """Their tokens, without padding."""
    packs: int = 0
    """Packs scored."""
    seconds: float = 0.0
    """Time in which it had a pack to compute."""
    flops: float | None = 0.0
    """Operations of these tokens; None when unknown for some."""
    peak_flops: float | None = None
    """Operations a second that the device can do at most."""
    load_seconds: float = 0.0
    """Time for building scorers."""
    safer_rows: int = 0
    """Rows that went through a safer path; they are among :attr:`rows`, but not in its tokens, packs and seconds."""
    safer_seconds: float = 0.0
    """Time for these rows."""

    def add(self, *, rows: int, tokens: int, seconds: float, flops_per_token: float | None) -> None:
        """Count one pack."""
        self.rows += rows
        self.tokens += tokens
        self.packs += 1
        self.seconds += seconds
        self.flops = None if self.flops is None or flops_per_token is None else self.flops + tokens * flops_per_token

    def add_safer(self, *, rows: int, seconds: float) -> None:
        """Count rows of a safer path: seconds a row there say nothing about the scorer's speed."""
        self.rows += rows
        self.safer_rows += rows
        self.safer_seconds += seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second while it had work, safer paths aside."""
        return self.tokens / self.seconds if self.seconds > 0 else None

    @property
    def mfu(self) -> float | None:
        """Share of the device's peak that went into the model's own operations.

        >>> DeviceTally(tokens=1000, seconds=1.0, flops=2e12, peak_flops=8e12).mfu
        0.25
        """
        if not self.flops or not self.peak_flops or self.seconds <= 0:
            return None
        return self.flops / self.seconds / self.peak_flops


def peak_flops_of(hardware: str) -> float | None:
    """Look a device's name up in :data:`PEAK_FLOPS`; None where it is not there.

    >>> peak_flops_of("Tesla T4"), peak_flops_of("NVIDIA H100 80GB HBM3"), peak_flops_of("cpu")
    (65000000000000.0, 989000000000000.0, None)
    """
    words = hardware.replace("-", " ").split()
    return next((PEAK_FLOPS[word] for word in words if word in PEAK_FLOPS), None)


class ProgressBars:
    """Bars for a run; each counts its device's rows against all rows, so together they fill up."""

    def __init__(self, labels: Sequence[str], *, rows: int, enabled: bool = True) -> None:
        """Show one bar a label for ``rows`` rows in all; none where there is nothing to do or ``enabled`` is False."""
        self._bars = {}
        if enabled and rows:
            self._bars = {
                label: tqdm(total=rows, desc=label, position=i, bar_format=_FORMAT, unit="row", mininterval=0.5)
                for i, label in enumerate(labels)
            }

    def update(self, label: str, tally: DeviceTally, *, seconds_left: float | None, safer_left: int = 0) -> None:
        """Bring one device's bar up to its tally."""
        bar = self._bars.get(label)
        if bar is None:
            return
        bar.set_postfix_str(progress_text(tally, seconds_left=seconds_left, safer_left=safer_left), refresh=False)
        bar.update(tally.rows - bar.n)

    def note(self, label: str, text: str) -> None:
        """Show a few words on one device's bar."""
        bar = self._bars.get(label)
        if bar is not None and bar.postfix != text:
            bar.set_postfix_str(text)

    def close(self, *, finished: bool = False) -> None:
        """Leave the bars as they are; where nothing is left to do, each is full with its own device's rows.

        Otherwise a notebook would paint them red: no device has scored all rows.
        """
        for bar in self._bars.values():
            if finished and bar.n:
                bar.total = bar.n
                if hasattr(bar, "container"):
                    bar.container.children[1].max = bar.n
            bar.refresh()
            bar.close()


def progress_text(tally: DeviceTally, *, seconds_left: float | None, safer_left: int = 0) -> str:
    """Return the words behind a bar.

    >>> progress_text(DeviceTally(rows=8, tokens=12_000, seconds=2.0), seconds_left=3725, safer_left=3)
    '6,000 tok/s, safer path: 3 left, ETA 1:02:05'
    """
    parts = []
    if tally.tokens_per_second is not None:
        parts.append(f"{tally.tokens_per_second:,.0f} tok/s")
    if tally.mfu is not None:
        parts.append(f"MFU {tally.mfu:.2f}")
    if safer_left:
        parts.append(f"safer path: {safer_left:,} left")
    if seconds_left is not None:
        parts.append(f"ETA {tqdm.format_interval(round(seconds_left))}")
    return ", ".join(parts)
