"""Which module of a model lies on which device.

It promises maps that cover every module exactly once and an error that names everything wrong with a map. It knows
names only: neither how large a layer is nor how much memory a device has (``device_map="auto"`` weighs those).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["DeviceMapError", "even_device_map", "validate_device_map"]


class DeviceMapError(ValueError):
    """Everything wrong with a device map, reported at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the device map cannot be used:\n" + "\n".join(f"  - {p}" for p in self.problems))


def even_device_map(
    num_layers: int,
    devices: Sequence[int | str],
    *,
    prefix: str = "model",
    tied: bool = False,
    layers: str = "layers",
    first: Sequence[str] = ("embed_tokens", "rotary_emb"),
    last: Sequence[str] = ("norm",),
    head: str | None = "lm_head",
) -> dict[str, int | str]:
    """Share a decoder's layers out evenly, in order, over ``devices``.

    Args:
        num_layers: number of decoder layers.
        devices: where they go, in order; devices beyond the number of layers stay empty.
        prefix: name of the module that holds the layers (``"model"`` in Llama, Gemma, Mistral, Qwen and Phi-3).
        tied: the output head shares the embedding's weight and must lie with it. The head then weighs on the first
            device, so layers that do not divide evenly go to the last devices; otherwise they go to the first.
        layers: name of the list of layers inside ``prefix``.
        first: modules inside ``prefix`` that run before the layers.
        last: modules inside ``prefix`` that run after them.
        head: the output head's name, or None where there is none.

    >>> even_device_map(3, [0, 1])
    {'model.embed_tokens': 0, 'model.rotary_emb': 0, 'model.layers.0': 0, 'model.layers.1': 0, 'model.layers.2': 1,
     'model.norm': 1, 'lm_head': 1}
    >>> even_device_map(3, [0, 1], tied=True)["model.layers.1"], even_device_map(3, [0, 1], tied=True)["lm_head"]
    (1, 0)

    Raises:
        ValueError: no device, no layer, or a device named twice.
    """
    if num_layers < 1 or not devices or len(set(devices)) != len(devices):
        raise ValueError(
            f"cannot share {num_layers} layers over devices {list(devices)}; "
            "expected at least one layer and at least one device, each named once"
        )
    used = list(devices[: min(num_layers, len(devices))])
    placement: dict[str, int | str] = {f"{prefix}.{name}": used[0] for name in first}
    counts = _even_counts(num_layers, len(used), surplus_last=tied)
    owners = [device for device, count in zip(used, counts, strict=True) for _ in range(count)]
    placement.update({f"{prefix}.{layers}.{i}": device for i, device in enumerate(owners)})
    placement.update({f"{prefix}.{name}": used[-1] for name in last})
    if head is not None:
        placement[head] = used[0] if tied else used[-1]
    return placement


def _even_counts(total: int, parts: int, *, surplus_last: bool) -> list[int]:
    """Split ``total`` into ``parts`` counts that differ by one at most.

    >>> _even_counts(7, 3, surplus_last=False), _even_counts(7, 3, surplus_last=True)
    ([3, 2, 2], [2, 2, 3])
    """
    share, surplus = divmod(total, parts)
    counts = [share + 1] * surplus + [share] * (parts - surplus)
    return counts[::-1] if surplus_last else counts


def validate_device_map(
    device_map: Mapping[str, int | str], module_names: Iterable[str], devices: Iterable[int | str]
) -> None:
    """Check that ``device_map`` puts every module on exactly one device that exists.

    Args:
        device_map: module name -> device. A name covers the module and everything below it; ``""`` covers the model.
        module_names: names of the modules that need a place, such as the owners of parameters and buffers.
        devices: devices that exist; ``0`` and ``"cuda:0"`` are the same.

    >>> validate_device_map({"a": 0, "b": "cpu"}, ["a.x", "a.y", "b"], [0, "cpu"])
    >>> validate_device_map({"a": 3, "c": 0}, ["a.x", "b"], [0])
    Traceback (most recent call last):
    kaggle_utils.models.device_map.DeviceMapError: the device map cannot be used:
      - on no device: b
      - no such module: c
      - no such device: 3 (for a); there are: 0

    Raises:
        DeviceMapError: modules on no device or on several, names of no module, devices that do not exist.
    """
    names = list(module_names)
    known = list(devices)
    problems: list[str] = []
    owners = {name: [key for key in _ancestors(name) if key in device_map] for name in names}
    if missing := [name for name, keys in owners.items() if not keys]:
        problems.append(f"on no device: {_shorten(missing)}")
    if twice := [f"{name} (by {' and '.join(map(repr, keys))})" for name, keys in owners.items() if len(keys) > 1]:
        problems.append(f"placed more than once: {_shorten(twice)}")
    covering = {key for keys in owners.values() for key in keys}
    if unknown := [key for key in device_map if key not in covering]:
        problems.append(f"no such module: {_shorten(unknown)}")
    allowed = {_canonical(device) for device in known}
    for device in dict.fromkeys(device_map.values()):
        if _canonical(device) not in allowed:
            modules = [name or "the whole model" for name, place in device_map.items() if place == device]
            there = ", ".join(map(str, known)) or "none"
            problems.append(f"no such device: {device} (for {_shorten(modules)}); there are: {there}")
    if problems:
        raise DeviceMapError(problems)


def _ancestors(name: str) -> list[str]:
    """Name all map keys that would cover ``name``.

    >>> _ancestors("a.b")
    ['', 'a', 'a.b']
    """
    parts = name.split(".") if name else []
    return [""] + [".".join(parts[: i + 1]) for i in range(len(parts))]


def _canonical(device: int | str) -> str:
    text = str(device)
    if text == "cuda":
        return "cuda:0"
    return f"cuda:{text}" if text.isdigit() else text


def _shorten(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
