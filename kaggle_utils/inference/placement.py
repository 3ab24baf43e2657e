"""Which model begins on which device, chosen from a memory estimate before anything is loaded.

It promises a choice that fits by the numbers it was given, with the reason in words, or an error that says what would
fit. It measures nothing, and it does not know how a pipeline is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaggle_utils.models.rooms import DeviceRoom

__all__ = ["PLACEMENTS", "ModelNeed", "Placement", "PlacementError", "choose_placement"]

PLACEMENTS = ("model-per-device", "copies", "in-turn", "pipeline")
"""Two models on two devices; one model (or several together) on each; models one after another on the same devices;
models cut into stages, one a device."""


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
    stages: tuple[int, ...] | None = None
    """Bytes on the fullest device of a pipeline of 2, 3, ... devices; () for a model that cannot be cut. None: an
    equal share of the weights, and all of the activations."""

    @property
    def alone(self) -> int:
        """Bytes on a device of its own."""
        return max(self.weights_bytes + self.activation_bytes, self.peak_bytes)

    def staged(self, count: int) -> int | None:
        """Bytes on the fullest of ``count`` devices that share the model; None where it cannot be cut so."""
        if count == 1:
            return self.alone
        if self.stages is None:
            return -(-self.weights_bytes // count) + self.activation_bytes
        return self.stages[count - 2] if count - 2 < len(self.stages) else None


@dataclass(frozen=True)
class Placement:
    """Where models begin."""

    name: str
    """One of :data:`PLACEMENTS`."""
    devices: tuple[str, ...]
    """What the engine takes as ``devices``: a worker each. The devices of a pipeline are one worker's:
    ``("cuda:0,cuda:1",)``."""
    orders: tuple[tuple[str, ...], ...]
    """For each of :attr:`devices`, which models it takes, in order. () for a device that is left out at first."""
    together: bool
    """All models fit on one device at once, so a helper need not drop its own (``ScorerSpec.fits_beside``)."""
    reason: str
    """Why, in words for the log."""


class PlacementError(ValueError):
    """Models that fit nowhere, all named."""


def choose_placement(
    models: Sequence[ModelNeed], devices: Sequence[DeviceRoom], *, name: str = "auto", allow_pipeline: bool = False
) -> Placement:
    """Choose where models begin.

    Args:
        models: at least one.
        devices: at least one, in the engine's order.
        name: one of :data:`PLACEMENTS` to have that one, or ``"auto"``: a device for each model where there are
            enough, else copies where all models fit together, else one after another.
        allow_pipeline: under ``"auto"``, cut models into stages if one of them fits on no single device.

    Raises:
        PlacementError: a model that fits on no device, with what it needs and what there is, or a placement by name
            that does not fit.

    >>> judges = [ModelNeed("gemma", 6 << 30, 3 << 30), ModelNeed("llama", 9 << 30, 3 << 30)]
    >>> t4s = [DeviceRoom("cuda:0", 15 << 30), DeviceRoom("cuda:1", 15 << 30)]
    >>> choose_placement(judges, t4s).orders
    (('gemma',), ('llama',))
    >>> choose_placement(judges, t4s[:1]).name
    'in-turn'
    >>> choose_placement([ModelNeed("gemma", 18 << 30, 3 << 30)], t4s, allow_pipeline=True).devices
    ('cuda:0,cuda:1',)
    """
    if not models or not devices:
        raise PlacementError(f"{len(models)} models on {len(devices)} devices; expected at least one of each")
    if problems := _named_wrongly(name, models, devices):
        raise PlacementError("; ".join(problems))
    if name == "pipeline":
        if (placement := _pipeline(models, devices, "asked for by the caller")) is None:
            raise _no_room(models, models, devices)
        return placement
    largest = max(device.usable for device in devices)
    if homeless := [model for model in models if model.alone > largest]:
        if name == "auto" and allow_pipeline:
            need = ", ".join(f"{m.name} needs {_gib(m.alone)}" for m in homeless)
            if (placement := _pipeline(models, devices, f"{need}, more than one device has")) is not None:
                return placement
        raise _no_room(homeless, models, devices)
    choices = {"model-per-device": _per_device, "copies": _copies, "in-turn": _in_turn}
    for choice in (name,) if name != "auto" else choices:
        if (placement := choices[choice](models, devices)) is not None:
            return placement
    raise PlacementError(f"placement {name!r} does not fit: {_needs(models)}; there is: {_there(devices)}. "
                         "Next: name='auto'")  # fmt: skip


def _named_wrongly(name: str, models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> list[str]:
    """What is wrong before sizes are looked at."""
    problems = []
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        problems.append(f"models are called {names}; give each its own name")
    there = f"there is {len(models)} on {', '.join(device.name for device in devices)}"
    if name not in ("auto", *PLACEMENTS):
        problems.append(f"unknown placement {name!r}; expected 'auto' or one of {', '.join(PLACEMENTS)}")
    if name == "pipeline" and len(devices) < 2:
        problems.append(f"placement 'pipeline' cuts models over at least 2 devices; {there}. Next: name='auto'")
    if name == "model-per-device" and not 1 < len(models) <= len(devices):
        problems.append(
            f"placement {name!r} takes at least 2 models, and a device for each; {there}. Next: name='auto', or "
            "'copies' for one model on several devices"
        )
    return problems


def _per_device(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> Placement | None:
    """Give each model a device, in the given order where that fits, else the largest to the largest."""
    if not 1 < len(models) <= len(devices):
        return None
    by_need = sorted(range(len(models)), key=lambda i: -models[i].alone)
    by_room = sorted(range(len(devices)), key=lambda i: -devices[i].usable)
    in_order = [(i, i) for i in range(len(models))]
    for pairs in (in_order, list(zip(by_need, by_room, strict=False))):
        if all(models[m].alone <= devices[d].usable for m, d in pairs):
            owner = {d: models[m].name for m, d in pairs}
            # Devices beyond the models take copies, beginning with the model that needs most.
            orders = tuple(
                (owner[d],) if d in owner else tuple(models[i].name for i in by_need if models[i].alone <= room.usable)
                for d, room in enumerate(devices)
            )
            together = _all_together(models, devices)
            helping = "beside its own" if together else "in place of its own, where that pays"
            reason = (
                f"{len(models)} models, a device for each: {_needs(models)}; whoever is done first helps, {helping}"
            )
            return Placement("model-per-device", _names(devices), orders, together, reason)
    return None


def _copies(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> Placement | None:
    if len(models) == 1:
        model = models[0]
        fitting = [model.alone <= device.usable for device in devices]
        orders = tuple((model.name,) if fits else () for fits in fitting)
        reason = f"{model.name} needs {_gib(model.alone)} and fits on {sum(fitting)} of {len(devices)} devices"
        small = [f"{d.name} ({_gib(d.usable)} usable)" for d, fits in zip(devices, fitting, strict=True) if not fits]
        reason += f"; too small: {', '.join(small)}" if small else ""
        return Placement("copies", _names(devices), orders, False, reason)
    if not _all_together(models, devices):
        return None
    total = sum(m.weights_bytes for m in models) + max(m.activation_bytes for m in models)
    names = tuple(model.name for model in models)
    reason = f"{len(models)} models fit together on each device ({_gib(total)})"
    return Placement("copies", _names(devices), (names,) * len(devices), True, reason)


def _in_turn(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> Placement:
    orders = tuple(tuple(m.name for m in models if m.alone <= device.usable) for device in devices)
    there = "one device" if len(devices) == 1 else f"{len(devices)} devices"
    reason = f"{len(models)} models on {there}, one after another: {_needs(models)}"
    return Placement("in-turn", _names(devices), orders, _all_together(models, devices), reason)


def _pipeline(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom], why: str) -> Placement | None:
    """As few stages as fit, and as many pipelines as that leaves devices for."""
    for count in range(2, len(devices) + 1):
        groups = [devices[i : i + count] for i in range(0, len(devices) - count + 1, count)]
        smallest = min(device.usable for group in groups for device in group)
        staged = [model.staged(count) for model in models]
        if any(need is None or need > smallest for need in staged):
            continue
        names = tuple(model.name for model in models)
        texts = tuple(",".join(device.name for device in group) for group in groups)
        share = ", ".join(f"{m.name} {_gib(need)}" for m, need in zip(models, staged, strict=True) if need)
        order = "" if len(models) == 1 else ", models one after another"
        reason = f"{why}: {count} stages, on each device {share}{order}"
        return Placement("pipeline", texts, (names,) * len(groups), False, reason)
    return None


def _no_room(
    homeless: Sequence[ModelNeed], models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]
) -> PlacementError:
    remedy = "quantise it, make packs smaller"
    if (pipeline := _pipeline(models, devices, "")) is not None:
        remedy += f", or allow_pipeline=True ({pipeline.devices[0].count(',') + 1} stages would fit)"
    return PlacementError(f"no device is large enough: {_needs(homeless)}; there is: {_there(devices)}. Next: {remedy}")


def _all_together(models: Sequence[ModelNeed], devices: Sequence[DeviceRoom]) -> bool:
    # The last one is loaded, or scores, while the others lie there.
    need = sum(m.weights_bytes for m in models) + max(m.alone - m.weights_bytes for m in models)
    return all(need <= device.usable for device in devices)


def _names(devices: Sequence[DeviceRoom]) -> tuple[str, ...]:
    return tuple(device.name for device in devices)


def _needs(models: Sequence[ModelNeed]) -> str:
    return ", ".join(f"{m.name} needs {_gib(m.alone)} (weights {_gib(m.weights_bytes)})" for m in models)


def _there(devices: Sequence[DeviceRoom]) -> str:
    return ", ".join(f"{d.name} {_gib(d.usable)} usable of {_gib(d.memory_bytes)}" for d in devices)


def _gib(count: float) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 29 else f"{count / (1 << 20):.1f} MiB"
