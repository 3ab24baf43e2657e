"""Which model begins on which device, chosen from a memory estimate before anything is loaded.

It promises a choice that fits by the numbers it was given, with the reason in words, or an error that says what would
fit. It measures nothing, and it does not know how a pipeline is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PLACEMENTS", "DeviceRoom", "ModelNeed", "Placement", "PlacementError", "choose_placement"]

PLACEMENTS = ("model-per-device", "copies", "in-turn", "pipeline")
"""Two models on two devices; one model (or several together) on each; models one after another on the same devices;
one model cut into stages, one a device."""

_USABLE = 0.92
_CONTEXT = 512 << 20  # what a CUDA context and its libraries take before the first tensor


@dataclass(frozen=True)
class ModelNeed:
    """What a model takes on its device."""

    name: str
    """Name of its scorer."""
    weights_bytes: int
    """Weights as they lie on the device."""
    activation_bytes: int
    """What computing the largest pack takes on top."""
    peak_bytes: int = 0
    """Highest need while loading (merging an adapter, say), where that is more than both together."""

    @property
    def alone(self) -> int:
        """Bytes on a device of its own."""
        return max(self.weights_bytes + self.activation_bytes, self.peak_bytes)


@dataclass(frozen=True)
class DeviceRoom:
    """What a device has."""

    name: str
    """As the engine calls it: ``cuda:0`` or ``cpu``."""
    memory_bytes: int
    """All of its memory; for a CPU this worker's share of it."""

    @property
    def usable(self) -> int:
        """Bytes to plan with: a share stays for fragments, and some for the driver on a GPU."""
        return int(self.memory_bytes * _USABLE) - (_CONTEXT if self.name.startswith("cuda") else 0)


@dataclass(frozen=True)
class Placement:
    """Where models begin."""

    name: str
    """One of :data:`PLACEMENTS`."""
    orders: tuple[tuple[str, ...], ...]
    """For each device, which models it takes, in order. () for a device that is left out at first."""
    together: bool
    """All models fit on one device at once, so a helper need not drop its own (``ScorerSpec.fits_beside``)."""
    reason: str
    """Why, in words for the log."""


class PlacementError(ValueError):
    """Models that fit nowhere, all named."""


def choose_placement(
    models: Sequence[ModelNeed], devices: Sequence[DeviceRoom], *, allow_pipeline: bool = False
) -> Placement:
    """Choose where models begin.

    Args:
        models: at least one.
        devices: at least one, in the engine's order.
        allow_pipeline: cut a model that fits on no single device into stages.

    Raises:
        PlacementError: a model that fits on no device, with what it needs and what there is.

    >>> judges = [ModelNeed("gemma", 6 << 30, 3 << 30), ModelNeed("llama", 9 << 30, 3 << 30)]
    >>> t4s = [DeviceRoom("cuda:0", 15 << 30), DeviceRoom("cuda:1", 15 << 30)]
    >>> choose_placement(judges, t4s).orders
    (('gemma',), ('llama',))
    >>> choose_placement(judges, t4s[:1]).name
    'in-turn'
    """
    if not models or not devices:
        raise PlacementError(f"{len(models)} models on {len(devices)} devices; expected at least one of each")
    largest = max(device.usable for device in devices)
    homeless = [model for model in models if model.alone > largest]
    if homeless:
        return _pipeline(models, homeless, devices, allow_pipeline)
    names = tuple(model.name for model in models)
    together = all(_fit_together(models, device) for device in devices)
    if len(models) == 1:
        return _copies(models[0], devices)
    pairing = _pairing(models, devices)
    if pairing is not None:
        need = ", ".join(f"{m.name} {_gib(m.alone)}" for m in models)
        return Placement("model-per-device", pairing, together, f"{len(models)} models, a device for each: {need}")
    whole = [all(model.alone <= device.usable for model in models) for device in devices]
    orders = tuple(names if fits else tuple(m.name for m in models if m.alone <= d.usable)
                   for fits, d in zip(whole, devices, strict=True))  # fmt: skip
    if together:
        total = sum(m.weights_bytes for m in models) + max(m.activation_bytes for m in models)
        return Placement("copies", orders, True, f"{len(models)} models fit together on each device ({_gib(total)})")
    return Placement("in-turn", orders, False, f"{len(models)} models on {len(devices)} devices, one after another")


def _copies(model: ModelNeed, devices: Sequence[DeviceRoom]) -> Placement:
    fitting = [model.alone <= device.usable for device in devices]
    orders = tuple((model.name,) if fits else () for fits in fitting)
    reason = f"{model.name} needs {_gib(model.alone)} and fits on {sum(fitting)} of {len(devices)} devices"
    small = [f"{d.name} ({_gib(d.usable)} usable)" for d, fits in zip(devices, fitting, strict=True) if not fits]
    return Placement("copies", orders, False, reason + (f"; too small: {', '.join(small)}" if small else ""))


def _pairing(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> tuple[tuple[str, ...], ...] | None:
    """Give each model a device, in the given order where that fits, else the largest to the largest."""
    if len(models) > len(devices):
        return None
    by_need = sorted(range(len(models)), key=lambda i: -models[i].alone)
    by_room = sorted(range(len(devices)), key=lambda i: -devices[i].usable)
    in_order = [(i, i) for i in range(len(models))]
    for pairs in (in_order, list(zip(by_need, by_room, strict=False))):
        if all(models[m].alone <= devices[d].usable for m, d in pairs):
            owner = {d: models[m].name for m, d in pairs}
            names = [model.name for model in models]
            fits = {m.name: m.alone for m in models}
            # Devices beyond the models take copies, beginning with the model that needs most.
            spare = [names[i] for i in by_need]
            return tuple(
                (owner[d],) if d in owner else tuple(n for n in spare if fits[n] <= devices[d].usable)
                for d in range(len(devices))
            )
    return None


def _pipeline(
    models: Sequence[ModelNeed], homeless: Sequence[ModelNeed], devices: Sequence[DeviceRoom], allowed: bool
) -> Placement:
    count = len(devices)
    smallest = min(device.usable for device in devices)
    # Each stage holds its share of the layers, and activations of its own.
    stages_fit = all(m.weights_bytes / count + m.activation_bytes <= smallest for m in models)
    if allowed and count > 1 and stages_fit:
        need = ", ".join(f"{m.name} needs {_gib(m.alone)}" for m in homeless)
        names = tuple(model.name for model in models)
        return Placement("pipeline", (names,) * count, False, f"{need}, more than one device has; {count} stages fit")
    there = ", ".join(f"{d.name} {_gib(d.usable)} usable of {_gib(d.memory_bytes)}" for d in devices)
    lines = [f"{m.name} needs {_gib(m.alone)} (weights {_gib(m.weights_bytes)})" for m in homeless]
    remedy = "quantise it, make packs smaller"
    if count > 1 and stages_fit:
        remedy += f", or allow_pipeline=True ({count} stages would fit)"
    raise PlacementError(f"no device is large enough: {'; '.join(lines)}; there is: {there}. Next: {remedy}")


def _fit_together(models: Sequence[ModelNeed], device: DeviceRoom) -> bool:
    weights = sum(model.weights_bytes for model in models)
    return max(weights + max(m.activation_bytes for m in models), *(m.alone for m in models), 0) <= device.usable


def _gib(count: float) -> str:
    return f"{count / (1 << 30):.1f} GiB"
