"""What the devices here have: memory, and for a GPU what it can compute.

It promises the same numbers on every run on a machine: all of a device's memory, not what happens to be free. It asks
nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kaggle_utils.environment import Accelerator, accelerators

__all__ = ["DeviceRoom", "device_rooms", "host_memory"]

_USABLE = 0.92
_CONTEXT = 512 << 20  # what a CUDA context and its libraries take before the first tensor
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class DeviceRoom:
    """What a device has."""

    name: str
    """As the engine calls it: ``cuda:0`` or ``cpu``."""
    memory_bytes: int
    """All of its memory; where several workers share it, a worker's share."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None for a CPU, or where it is not known."""

    @property
    def usable(self) -> int:
        """Bytes to plan with: a share stays for fragments, and some for the driver on a GPU."""
        return int(self.memory_bytes * _USABLE) - (_CONTEXT if self.name.startswith("cuda") else 0)


def device_rooms(devices: Sequence[str | DeviceRoom] | None = None) -> list[DeviceRoom]:
    """Return what devices have.

    Args:
        devices: such as ``["cuda:0", "cuda:1"]`` or ``["cpu", "cpu"]``, a name for each worker; a
            :class:`DeviceRoom` stays as it is, to plan for a machine that is not this one. None: all GPUs, else the
            CPU.

    Raises:
        ValueError: no devices, or some that are not here, all named.
    """
    if devices is not None and (isinstance(devices, str) or not devices):
        raise ValueError(f"devices is {devices!r}, expected a list such as ['cuda:0', 'cuda:1'] or ['cpu']")
    cards = {}
    if devices is None or any(str(device).startswith("cuda") for device in devices):
        cards = {f"cuda:{card.index}": card for card in accelerators()}
    wanted = list(devices) if devices is not None else list(cards) or ["cpu"]
    names = ["cuda:0" if device == "cuda" else device for device in wanted]
    if absent := [name for name in names if not isinstance(name, DeviceRoom) and name != "cpu" and name not in cards]:
        there = ", ".join([*cards, "cpu"])
        raise ValueError(f"devices {absent} are not here; there are {there} (a pipeline is written device by device)")
    return [name if isinstance(name, DeviceRoom) else _shared(_room(name, cards), names.count(name)) for name in names]


def host_memory() -> int:
    """Return the bytes of memory that this machine, or the container around this process, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, *(_limit(Path(file), total) for file in _LIMITS))


def _limit(file: Path, total: int) -> int:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group here, or "max"
        return total


def _room(name: str, cards: dict[str, Accelerator]) -> DeviceRoom:
    if name == "cpu":
        return DeviceRoom(name, host_memory())
    return DeviceRoom(name, cards[name].memory_bytes, cards[name].capability)


def _shared(room: DeviceRoom, workers: int) -> DeviceRoom:
    return replace(room, memory_bytes=room.memory_bytes // workers)
